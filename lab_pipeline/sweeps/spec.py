"""What a sweep is asked to do."""

import hashlib
import json
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml  # type: ignore[import-untyped]  # it ships no types
from pydantic import ConfigDict, Field, JsonValue, model_validator

from lab_pipeline.domain.backtest import (
    AllUniverse,
    BacktestSpec,
    CallersUniverse,
    Moment,
    Names,
    TimeRange,
    TokensUniverse,
    Universe,
)
from lab_pipeline.domain.errors import FieldError, InvalidConfigError, LabError
from lab_pipeline.domain.model import Document, canonical_json, problem_at
from lab_pipeline.domain.space import MOST_SETS
from lab_pipeline.domain.timeframe import Timeframe
from lab_pipeline.statistics.selection import Minimum, Objective, Validation, Walk, Windows

MOST_PATHS = 1_000
LARGEST_FILE = 10_000_000
"""Bytes."""
Days = Annotated[int, Field(ge=1, le=100_000)]


class Part(Document):
    """A document whose names are written as people write configuration: snake_case."""

    model_config = ConfigDict(alias_generator=None)


class SearchSpec(Part):
    """Which sets of the space are tried."""

    method: Literal["grid", "random", "sobol"] | None = None
    """`grid` is every combination; by default that, if there are at most `sets` of them, else `sobol`."""
    sets: Annotated[int, Field(ge=1, le=MOST_SETS)] = 4096
    """How many to draw; `sobol` draws the next power of two."""


class ObjectiveSpec(Part):
    """What ranks the sets, and what one must have to win."""

    name: Literal["expectancy_lower", "expectancy", "sharpe"] = "expectancy_lower"
    min_trades: Annotated[int, Field(ge=1)] = 30
    min_days: Annotated[int, Field(ge=1)] = 10
    min_callers: Annotated[int, Field(ge=1)] = 3

    @property
    def minimum(self) -> Minimum:
        """What a set must have."""
        return Minimum(self.min_trades, self.min_days, self.min_callers)

    @property
    def objective(self) -> Objective:
        """What ranks the sets."""
        return Objective(self.name)


class WalkSpec(Part):
    """Windows of the walk forward, in days."""

    kind: Literal["anchored", "rolling"] = "rolling"
    train_days: Days = 30
    test_days: Days = 10
    step_days: Days = 10
    embargo_days: Annotated[int, Field(ge=0, le=100_000)] = 1

    @model_validator(mode="after")
    def _tests_every_day_once(self) -> Self:
        if self.step_days < self.test_days:
            raise problem_at("step_days", "must be at least test_days, else a day would be tested twice")
        return self


class ValidationSpec(Part):
    """How far the winner is looked at."""

    holdout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.2
    """Share of the days, the last ones, that the sweep does not look at."""
    walk_forward: WalkSpec = WalkSpec()
    cscv_blocks: Annotated[int, Field(ge=2, le=20, multiple_of=2)] | None = None
    """By the number of days where it is left out."""
    placebo: Annotated[int, Field(ge=0, le=10_000)] = 200
    """Times that the whole search is done on calls at other moments; 0 for none, and then nothing is supported."""
    bootstrap: Annotated[int, Field(ge=100, le=100_000)] = 2000
    """Resamples of the tests of superiority."""

    @property
    def validation(self) -> Validation:
        """The same for the selection."""
        walk = self.walk_forward
        windows = Windows(Walk(walk.kind), walk.train_days, walk.test_days, walk.step_days, walk.embargo_days)
        return Validation(walk=windows, cscv_blocks=self.cscv_blocks, resamples=self.bootstrap)


class SweepSpec(Part):
    """A request: which strategy, which of its parameters, on which calls.

    Fields left out mean the latest version and every call.
    """

    strategy: Annotated[str, Field(min_length=1, max_length=200)]
    """Id of a stored strategy: what is not varied."""
    strategy_version: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,8}$")] | None = None
    timeframe: Timeframe
    start: Moment | None = None
    """Earliest call, inclusive, UTC."""
    end: Moment | None = None
    """Latest call, exclusive, UTC."""
    mints: Names | None = None
    """Calls on these tokens alone."""
    callers: Names | None = None
    """Calls of these callers alone."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Of the search, the resampling, and what chance makes of the calls."""
    space: Annotated[dict[str, JsonValue], Field(max_length=MOST_PATHS)]
    """Paths of the strategy and their values, as `lab_pipeline.domain.space` reads them."""
    constraints: tuple[str, ...] = ()
    """That every set must pass."""
    search: SearchSpec = SearchSpec()
    objective: ObjectiveSpec = ObjectiveSpec()
    validation: ValidationSpec = ValidationSpec()

    @model_validator(mode="after")
    def _selects_by_one(self) -> Self:
        if self.mints is not None and self.callers is not None:
            raise problem_at("callers", "give mints or callers, not both")
        return self

    def backtest(self, whole: TimeRange) -> BacktestSpec:
        """Return the backtest of the strategy as it is, on the calls of the sweep; `whole` is the lake's range."""
        universe: Universe = AllUniverse()
        if self.mints is not None:
            universe = TokensUniverse(mints=self.mints)
        elif self.callers is not None:
            universe = CallersUniverse(callers=self.callers)
        start, end = self.start or whole.start, self.end or whole.end
        if start >= end:
            raise InvalidConfigError("sweep", [FieldError("end", "must be after start, and after the first call")])
        return BacktestSpec(
            strategy_id=self.strategy,
            strategy_version=self.strategy_version,
            universe=universe,
            timeframe=self.timeframe,
            range=TimeRange(start=start, end=end),
            seed=self.seed,
        )

    def fingerprint(self, *parts: str) -> str:
        """Return the sha256 (hex) that sweeps with the same result share; `parts` name the data and the versions."""
        return hashlib.sha256(canonical_json([self.to_json_dict(), *parts])).hexdigest()


def read_spec(path: Path) -> SweepSpec:
    """Read a sweep from YAML, or from JSON if the name of its file ends so.

    Raises:
        InvalidConfigError: naming every field that is wrong.
        LabError: if the file cannot be read.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise LabError(f"{path} is larger than {LARGEST_FILE:,} bytes, which no sweep is")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise LabError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise LabError(f"{path} is no text in UTF-8") from None
    if path.suffix == ".json":
        return SweepSpec.parse(text, subject=str(path))
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidConfigError(str(path), [FieldError("", f"not valid YAML: {error}")]) from None
    if not isinstance(value, dict):
        raise InvalidConfigError(str(path), [FieldError("", "must be an object: strategy, timeframe, space, ...")])
    try:
        plain = json.loads(json.dumps(value, default=_plain))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidConfigError(str(path), [FieldError("", str(error))]) from None
    return SweepSpec.parse(plain, subject=str(path))


def _plain(value: Any) -> str:  # noqa: ANN401 - whatever YAML knows and JSON does not
    """Write a time, which YAML reads as one, as it was written."""
    if isinstance(value, date | datetime):
        return value.isoformat()
    raise TypeError(f"{value!r} is neither text, a number, a list nor an object")
