"""What a backtest is asked to do, before and after its references are looked up."""

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, PlainSerializer, WithJsonSchema, model_validator

from lab_pipeline.domain.conditions import MOST_CONDITIONS
from lab_pipeline.domain.enums import Fault
from lab_pipeline.domain.errors import FieldError, InvalidConfigError
from lab_pipeline.domain.identifiers import IDENTIFIER_RULE, is_identifier
from lab_pipeline.domain.model import Document, canonical_json, problem_at
from lab_pipeline.domain.strategy import StrategyConfig
from lab_pipeline.domain.text import shortened, shown
from lab_pipeline.domain.timeframe import Timeframe

MOST_NAMES = 10_000
MOST_PARAMS = 1_000
MOST_WINDOW_DAYS = 36_500
MOST_CANDLES = 10**12
MOST_SIGNALS = 2 * MOST_CONDITIONS
Name = Annotated[str, Field(min_length=1, max_length=1_000)]
Names = Annotated[tuple[Name, ...], Field(min_length=1, max_length=MOST_NAMES)]
Params = Annotated[dict[str, JsonValue], Field(max_length=MOST_PARAMS)]


def utc(moment: datetime) -> datetime:
    """Return the moment in UTC; one without an offset is taken to be UTC already."""
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{moment.isoformat()} is before the year 1 or after the year 9999 in UTC") from None


def iso(moment: datetime) -> str:
    """Write a UTC moment as ISO 8601 with milliseconds and Z."""
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def now() -> datetime:
    """Return the present in UTC, to the millisecond, which is as far as it is written."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _from_iso(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(f"write a time as 2018-01-10T00:00:00Z or a date as 2018-01-10, not {shown(value)}") from None


MOMENT_SCHEMA = {"type": "string", "format": "date-time", "examples": ["2018-01-10T00:00:00.000Z"]}
Moment = Annotated[
    datetime,
    BeforeValidator(_from_iso),
    AfterValidator(utc),
    PlainSerializer(iso, when_used="json"),
    WithJsonSchema(MOMENT_SCHEMA),  # one for what is read and for what is written
]


class FirstMention(Document):
    """Counts a call once, however often it is repeated.

    A call is left out if one that counts has named the same token in the days before it, among all calls of the lake.
    """

    by: Literal["token", "caller_token"]
    """Repeats of whom: of anybody (`token`) or of the caller alone (`caller_token`)."""
    window_days: Annotated[float, Field(gt=0, le=MOST_WINDOW_DAYS)]
    """Days after a call that counts in which the token is not news."""


class _Calls(Document):
    """Which calls, by any choice."""

    first_mention: FirstMention | None = Field(default=None, exclude_if=lambda rule: rule is None)
    """Leaves out repeats; every call counts by default."""
    without_faults: Annotated[tuple[Fault, ...], Field(max_length=len(Fault))] = Field(
        default=(), exclude_if=lambda faults: not faults
    )
    """Leaves out calls whose candles, from the longest look-back to the horizon, have such faults; none by default."""


class TokensUniverse(_Calls):
    """The calls on the named tokens."""

    type: Literal["tokens"] = "tokens"
    mints: Names
    """Tokens, as the lake names them."""


class CallersUniverse(_Calls):
    """The calls of the named callers."""

    type: Literal["callers"] = "callers"
    callers: Names
    """Callers, as the lake names them."""


class AllUniverse(_Calls):
    """Every call."""

    type: Literal["all"] = "all"


Universe = Annotated[TokensUniverse | CallersUniverse | AllUniverse, Field(discriminator="type")]


class TimeRange(Document):
    """Selects the calls: start <= called_at < end.

    Candles are read as far as the calls' windows reach, which may be past `end`: a call is simulated
    the same way whatever range it was selected by, so adjoining ranges add up.
    """

    start: Moment
    """Earliest call, inclusive, UTC."""
    end: Moment
    """Latest call, exclusive, UTC."""

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        if self.start >= self.end:
            raise problem_at("end", f"must be after start: {iso(self.end)} is not after {iso(self.start)}")
        return self


LAKE_VERSION = re.compile(r"v(\d{1,9})\.(\d{1,9})")
"""A version of the lake: of its candles, then of its calls."""


def _version_or_time(text: str) -> str:
    if LAKE_VERSION.fullmatch(text) is None:
        try:
            datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(
                f"must be a version of the lake, such as v12.5, or a time (ISO 8601): {shown(text)}"
            ) from None
    return text


AsOf = Annotated[str, Field(max_length=40), AfterValidator(_version_or_time)]
"""A version of the lake, such as `v12.5`, or a time, for the last version until then."""


class BacktestSpec(Document):
    """A request: which strategy on which calls.

    Fields left out mean the latest version, every call, and no change to the strategy.
    """

    strategy_id: Annotated[str, Field(min_length=1, max_length=200)]
    """Id of a stored strategy."""
    strategy_version: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,8}$")] | None = None
    """Version of the strategy; null for the latest."""
    universe: Universe = AllUniverse()
    """Which calls; all by default."""
    timeframe: Timeframe
    """Length of the candles to simulate on, such as `5m`."""
    range: TimeRange
    """Which calls, by time."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seeds everything random: what chance makes of the calls."""
    params: Params = Field(default_factory=dict)
    """Strategy fields to override, by path: `{"exit.stopLoss": 0.3, "exit.targets[0].multiple": 4}`."""
    as_of: Annotated[AsOf | None, Field(exclude_if=lambda as_of: as_of is None)] = None
    """The state of the lake to read: a version, such as `v12.5`, or a time, for the last one until then; null for the
    newest. Not part of the fingerprint: that has the rows that were read."""

    @model_validator(mode="after")
    def _names_can_be(self) -> Self:
        names = [(name, getattr(self.universe, name, ())) for name in ("mints", "callers")]
        for path, name in [(f"universe.{field}[{i}]", name) for field, some in names for i, name in enumerate(some)]:
            if not is_identifier(name):
                raise problem_at(path, IDENTIFIER_RULE)
        return self


class ResolvedSpec(Document):
    """A request with nothing left to look up: what the fingerprint and the manifest hold."""

    strategy_id: str
    """Id of the strategy."""
    strategy_version: str
    """Its version."""
    strategy: StrategyConfig
    """The configuration that is simulated, overrides applied."""
    universe: Universe
    """Which calls."""
    timeframe: Timeframe
    """Length of the candles."""
    range: TimeRange
    """Which calls, by time."""
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    """Seeds everything random."""
    params: Params
    """The overrides that were applied."""
    signals: Annotated[dict[str, str], Field(max_length=MOST_SIGNALS)] = Field(default_factory=dict)
    """By the name of each registered signal, what it is: the sha256 (hex) of its file, or package and version."""

    def fingerprint(self, snapshot: str, engine_version: str) -> str:
        """Return the sha256 (hex) that runs with the same result share.

        Args:
            snapshot: hash of the rows that the run read.
            engine_version: version of the simulation.
        """
        spec = self.to_json_dict()
        del spec["params"]  # they are in the strategy; how they were written is no part of the result
        if not self.signals:  # as it was before there were any
            del spec["signals"]
        parts = {"spec": spec, "snapshot": snapshot, "engineVersion": engine_version, "seed": self.seed}
        return hashlib.sha256(canonical_json(parts)).hexdigest()


def override(config: StrategyConfig, params: Mapping[str, JsonValue]) -> StrategyConfig:
    """Return the configuration with fields replaced by path and everything validated again.

    Raises:
        InvalidConfigError: naming the path of every field that does not exist or does not validate.

    >>> from lab_pipeline.domain.strategy import Exit
    >>> override(StrategyConfig(exit=Exit(stop_loss=0.2)), {"exit.stopLoss": 0.3}).exit.stop_loss
    0.3
    """
    document = config.to_json_dict()
    problems: list[FieldError] = []
    for path, value in params.items():
        try:
            _replace(document, path, value)
        except InvalidConfigError as error:
            problems += error.errors
    try:
        changed = StrategyConfig.parse(document, subject="params")
    except InvalidConfigError as error:
        problems += error.errors
    if problems:
        raise InvalidConfigError("params", problems)
    return changed


def _replace(document: dict[str, Any], path: str, value: JsonValue) -> None:
    *parents, last = path.replace("[", ".").replace("]", "").split(".")
    node: Any = document
    for part in parents:
        node = _child(node, part, path)
    _child(node, last, path)
    node[int(last) if isinstance(node, list) else last] = value


def _child(node: Any, part: str, path: str) -> Any:  # noqa: ANN401 - JSON has no narrower type
    if isinstance(node, dict) and part in node:
        return node[part]
    if isinstance(node, list) and part.isdecimal() and len(part) <= len(str(len(node))) and int(part) < len(node):
        return node[int(part)]
    if isinstance(node, dict):
        hint = f"'{shortened(part)}' is not one of {', '.join(node)}"
    elif isinstance(node, list):
        hint = f"there is no item {part} in a list of {len(node)}"
    else:
        hint = f"{shown(node)} has no fields; set its parent as a whole"
    raise InvalidConfigError("params", [FieldError(path, f"no such field of a strategy: {hint}")])
