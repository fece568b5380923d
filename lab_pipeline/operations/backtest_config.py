"""The launchpad's form of a backtest, and what it means: nobody else converts between form and request.

`runs.tags` has how a form stands in Dagster's record, and the tags that a run has of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import dagster as dg
from pydantic import Field, TypeAdapter, field_validator

from lab_pipeline.domain.backtest import (
    MOST_CANDLES,
    BacktestSpec,
    CallersUniverse,
    FirstMention,
    ResolvedSpec,
    TokensUniverse,
    Universe,
    utc,
)
from lab_pipeline.domain.enums import Fault
from lab_pipeline.domain.errors import FieldError, InvalidConfigError
from lab_pipeline.domain.text import shown
from lab_pipeline.lake import Lake
from lab_pipeline.runs.backtest import full_range

NULL = "null"
"""Stands for null at the top of `params`, where Dagster's configuration admits none; no strategy field is text."""
UNIVERSE: TypeAdapter[Universe] = TypeAdapter(Universe)
CANDLES_PER_PART = 4_000_000
"""Takes longer to simulate than a process takes to start, and is a fraction of a gigabyte."""


class BacktestConfig(dg.Config):
    """What to simulate. Only the strategy and the timeframe must be given."""

    strategy: str = Field(description="Id of a strategy, such as `ladder`.")
    strategy_version: str | None = Field(default=None, description="Its version; the latest by default.")
    timeframe: str = Field(description="Length of the candles: 1m, 5m, 15m, 1h, ... as ingested.")
    start: str | None = Field(
        default=None,
        description="Simulate calls from this time on (ISO 8601, UTC): 2018-01-10 or 2018-01-10T12:00:00Z.",
    )
    end: str | None = Field(default=None, description="Simulate calls before this time.")
    mints: list[str] = Field(default=[], description="Only calls on these tokens; all by default.")
    callers: list[str] = Field(default=[], description="Only calls of these callers; all by default.")
    first_mention: str | None = Field(
        default=None,
        description="Leave out repeats of a call: `token:7` those of anybody on its token in 7 days, `caller_token:7` "
        "those of its caller alone.",
    )
    without_faults: list[str] = Field(
        default=[],
        description="Leave out calls whose candles have such faults: spike, unit, copy, flat, no_volume, restated.",
    )
    params: dict[str, Any] = Field(
        default={},
        description="Strategy fields to override, by path: `{exit.stopLoss: 0.25}`. Write `'null'` to clear a field.",
    )
    seed: int = Field(default=0, description="Seeds what chance makes of the calls.")
    as_of: str | None = Field(
        default=None,
        description="Read the lake as it was: a version such as v12.5, or the last one until a time (ISO 8601, UTC).",
    )
    candles_per_part: int | None = Field(
        default=None,
        gt=0,
        le=MOST_CANDLES,
        description="Simulate in parts of at least so many candles, an op each, which can run side by side; "
        "the result is the same. By default in one op, or, where ops have processes of their own, in parts of "
        f"{CANDLES_PER_PART:,}.",
    )

    @field_validator("params")
    @classmethod
    def _without_null(cls, params: dict[str, Any]) -> dict[str, Any]:
        return {path: NULL if value is None else value for path, value in params.items()}

    @classmethod
    def of(cls, spec: BacktestSpec | ResolvedSpec, version: str) -> Self:
        """Write a request as the launchpad would hold it, with the version that it means."""
        universe = spec.universe
        return cls(
            strategy=spec.strategy_id,
            strategy_version=version,
            timeframe=spec.timeframe,
            start=spec.range.start.isoformat(),
            end=spec.range.end.isoformat(),
            mints=list(universe.mints) if isinstance(universe, TokensUniverse) else [],
            callers=list(universe.callers) if isinstance(universe, CallersUniverse) else [],
            first_mention=None
            if universe.first_mention is None
            else f"{universe.first_mention.by}:{universe.first_mention.window_days!r}",
            without_faults=[fault.value for fault in universe.without_faults],
            params=spec.params,
            seed=spec.seed,
            as_of=spec.as_of if isinstance(spec, BacktestSpec) else None,
        )

    def fields(self) -> dict[str, Any]:
        """Return what the launchpad would hold: the fields that differ from their defaults."""
        return self.model_dump(exclude_defaults=True)

    def to_spec(self, lake: Lake) -> BacktestSpec:
        """Build the request; a range left open is that of the lake's calls.

        Raises:
            LabError: naming each field that cannot be used.
        """
        if self.mints and self.callers:
            raise InvalidConfigError("backtest", [FieldError("callers", "give mints or callers, not both")])
        start, end = self.start, self.end
        if start is None or end is None:
            extent = full_range(lake.at(self.as_of)).to_json_dict()
            start, end = start or extent["start"], end or extent["end"]
        return BacktestSpec.parse(
            {
                "strategyId": self.strategy,
                "strategyVersion": self.strategy_version,
                "universe": _universe(self.mints, self.callers, self.first_mention, self.without_faults),
                "timeframe": self.timeframe,
                "range": {"start": start, "end": end},
                "seed": self.seed,
                "params": _with_null(self.params),
                "asOf": self.as_of,
            },
            subject="backtest",
        )


@dataclass(frozen=True)
class Asked:
    """What a run was launched with, whoever launched it: None of what makes no sense.

    Attributes:
        universe: which calls.
        start: of the range, UTC; None for the first call, too.
        end: of the range, UTC; None for the last call, too.
        seed: of the resampling.
        params: overrides, by path.
    """

    universe: Universe | None
    start: datetime | None
    end: datetime | None
    seed: int | None
    params: dict[str, Any]

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Self:
        """Read the form's fields, of which nothing was checked."""
        mints, callers = fields.get("mints") or [], fields.get("callers") or []
        lists = isinstance(mints, list) and isinstance(callers, list)
        usable = lists and not (mints and callers) and all(isinstance(one, str) and one for one in mints + callers)
        seed, params = fields.get("seed", 0), fields.get("params", {})
        said = fields.get("first_mention")
        rule = _first_mention(said) if isinstance(said, str) else None
        faults = _faults(fields.get("without_faults", []))
        usable = usable and (said is None or rule is not None) and faults is not None
        return cls(
            universe=UNIVERSE.validate_python(_universe(mints, callers, said, faults or ()), by_alias=True)
            if usable
            else None,
            start=_moment(fields.get("start")),
            end=_moment(fields.get("end")),
            seed=seed if isinstance(seed, int) else None,
            params=_with_null({str(path): value for path, value in params.items()}) if isinstance(params, dict) else {},
        )


def _universe(
    mints: list[str], callers: list[str], first_mention: str | None, without_faults: Sequence[str]
) -> dict[str, Any]:
    """Return the universe of a form, in which at most one of the first two is filled in.

    Raises:
        InvalidConfigError: if the third says no rule.
    """
    rule: dict[str, Any] = {"withoutFaults": tuple(without_faults)} if without_faults else {}
    if first_mention is not None:
        found = _first_mention(first_mention)
        if found is None:
            problem = FieldError("firstMention", f"write token:DAYS or caller_token:DAYS, not {shown(first_mention)}")
            raise InvalidConfigError("backtest", [problem])
        rule["firstMention"] = found
    if mints:
        return {"type": "tokens", "mints": tuple(mints), **rule}
    return {"type": "callers", "callers": tuple(callers), **rule} if callers else {"type": "all", **rule}


def _faults(names: object) -> tuple[Fault, ...] | None:
    """Return the faults of these names; none if one of them is none."""
    try:
        return tuple(map(Fault, names)) if isinstance(names, list) else None
    except ValueError:
        return None


def _first_mention(text: str) -> dict[str, Any] | None:
    by, _, days = text.partition(":")
    try:
        rule = FirstMention(by=by, window_days=float(days))  # type: ignore[arg-type]  # whatever was written
    except ValueError:
        return None
    return rule.to_json_dict()


def _with_null(params: Mapping[str, Any]) -> dict[str, Any]:
    return {path: None if value == NULL else value for path, value in params.items()}


def _moment(text: object) -> datetime | None:
    try:
        return utc(datetime.fromisoformat(text)) if isinstance(text, str) else None
    except ValueError:
        return None
