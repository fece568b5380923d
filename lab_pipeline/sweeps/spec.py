"""What a sweep is asked to do."""

import hashlib
import json
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml  # type: ignore[import-untyped]  # it ships no types
from pydantic import ConfigDict, Field, JsonValue, field_validator, model_validator

from lab_pipeline.domain.backtest import (
    MOST_WINDOW_DAYS,
    AllUniverse,
    BacktestSpec,
    CallersUniverse,
    FirstMention,
    Moment,
    Names,
    TimeRange,
    TokensUniverse,
    Universe,
)
from lab_pipeline.domain.enums import Fault
from lab_pipeline.domain.errors import FieldError, InvalidConfigError, LabError
from lab_pipeline.domain.json_text import read_json
from lab_pipeline.domain.model import Document, canonical_json, problem_at
from lab_pipeline.domain.space import MOST_CONSTRAINTS, MOST_SETS
from lab_pipeline.domain.timeframe import Timeframe
from lab_pipeline.statistics.selection import Minimum, Objective, Validation, Walk, Windows

MOST_PATHS = 1_000
MOST_KEPT = 200
"""Sets that are run once more, files and all."""
MOST_LISTED = 10_000
MOST_CALLS = 10**9
MOST_BATCH = 10_000
LARGEST_FILE = 10_000_000
"""Bytes."""
Days = Annotated[int, Field(ge=1, le=100_000)]


class Part(Document):
    """A document whose names are written as people write configuration: snake_case."""

    model_config = ConfigDict(alias_generator=None)


Method = Literal["grid", "random", "sobol", "tpe", "cmaes", "nsga2"]
OPTIMISERS: tuple[Method, ...] = ("tpe", "cmaes", "nsga2")
"""They choose sets in view of how those before them fared; the others choose all at once."""


class SearchSpec(Part):
    """Which sets of the space are tried."""

    method: Method | None = None
    """`grid` is every combination; by default that, if there are at most `sets` of them, else `sobol`."""
    sets: Annotated[int, Field(ge=1, le=MOST_SETS)] = 4096
    """How many to draw; `sobol` draws the next power of two."""
    batch: Annotated[int, Field(ge=4, le=MOST_BATCH)] = 64
    """Sets that an optimiser proposes before it is told how they fared; the generation of `cmaes` and `nsga2`."""

    @property
    def optimises(self) -> bool:
        """Whether sets are chosen in view of how others fared."""
        return self.method in OPTIMISERS


Ranking = Literal["expectancy_lower", "expectancy", "sharpe"]


class ObjectiveSpec(Part):
    """What ranks the sets, and what one must have to win."""

    name: Ranking = "expectancy_lower"
    """Lower bound of the mean net return of a trade, that mean, or the Sharpe ratio of the days."""
    beside: Annotated[tuple[Ranking, ...], Field(max_length=2)] = ()
    """Of `nsga2`: objectives that it weighs against the first, which alone decides who wins."""
    min_trades: Annotated[int, Field(ge=1, le=MOST_CALLS)] = 30
    """Trades that a set must have to win."""
    min_days: Annotated[int, Field(ge=1, le=MOST_CALLS)] = 10
    """Days with a trade that it must have."""
    min_callers: Annotated[int, Field(ge=1, le=MOST_CALLS)] = 3
    """Callers with a trade that it must have."""

    @property
    def minimum(self) -> Minimum:
        """What a set must have."""
        return Minimum(self.min_trades, self.min_days, self.min_callers)

    @property
    def objective(self) -> Objective:
        """What ranks the sets."""
        return Objective(self.name)

    @property
    def all(self) -> tuple[Objective, ...]:
        """The same, and those beside it."""
        return tuple(map(Objective, (self.name, *self.beside)))


class WalkSpec(Part):
    """Windows of the walk forward, in days."""

    kind: Literal["anchored", "rolling"] = "rolling"
    """Whether training begins with the first day, or with as many days before each test."""
    train_days: Days = 30
    """Of training; at least, where it is anchored."""
    test_days: Days = 10
    """Of each test."""
    step_days: Days = 10
    """From one test to the next."""
    embargo_days: Annotated[int, Field(ge=0, le=100_000)] = 1
    """Left out between training and test."""

    @model_validator(mode="after")
    def _tests_every_day_once(self) -> Self:
        if self.step_days < self.test_days:
            step, test = (type(self).model_fields[name].alias or name for name in ("step_days", "test_days"))
            raise problem_at(step, f"must be at least {test}, else a day would be tested twice")
        return self


class ValidationSpec(Part):
    """How far the winner is looked at."""

    holdout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.2
    """Share of the days, the last ones, that the sweep does not look at."""
    walk_forward: WalkSpec = WalkSpec()
    """Windows of the walk forward."""
    cscv_blocks: Annotated[int, Field(ge=2, le=20, multiple_of=2)] | None = None
    """Blocks of days that are halved in every way; by the number of days where it is left out."""
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


class KeepSpec(Part):
    """What is published of single sets."""

    top: Annotated[int, Field(ge=1, le=MOST_KEPT)] = 20
    """Best sets that are run once more as backtests, files and all; so is the middle of the plateau."""
    shortlist: Annotated[int, Field(ge=0, le=MOST_LISTED)] = 0
    """Best sets whose accounts are told; those of `top` are in any case."""
    returns: bool = False
    """Whether the net return of every trade of every set is published, too."""


class FirstMentionSpec(Part):
    """Counts a call once, however often it is repeated."""

    by: Literal["token", "caller_token"]
    """Repeats of whom: of anybody (`token`) or of the caller alone (`caller_token`)."""
    window_days: Annotated[float, Field(gt=0, le=MOST_WINDOW_DAYS)]
    """Days after a call that counts in which the token is not news."""


class SweepSpec(Part):
    """A request: which strategy, which of its parameters, on which calls.

    Fields left out mean the latest version and every call.
    """

    strategy: Annotated[str, Field(min_length=1, max_length=200)]
    """Id of a stored strategy: what is not varied."""
    strategy_version: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,8}$")] | None = None
    """Its version; the latest by default."""
    timeframe: Timeframe
    """Length of the candles: 1m, 5m, 15m, 1h, ... as ingested."""
    start: Moment | None = None
    """Earliest call, inclusive, UTC."""
    end: Moment | None = None
    """Latest call, exclusive, UTC."""
    mints: Names | None = None
    """Calls on these tokens alone."""
    callers: Names | None = None
    """Calls of these callers alone."""
    first_mention: FirstMentionSpec | None = Field(default=None, exclude_if=lambda rule: rule is None)
    """Leaves out repeats; every call counts by default."""
    without_faults: Annotated[tuple[Fault, ...], Field(max_length=len(Fault))] = Field(
        default=(), exclude_if=lambda faults: not faults
    )
    """Leaves out calls whose candles, as far as any set may read them, have such faults; none by default."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Of the search, the resampling, and what chance makes of the calls."""
    space: Annotated[dict[str, JsonValue], Field(max_length=MOST_PATHS)]
    """Paths of the strategy and their values, as `lab_pipeline.domain.space` reads them."""
    constraints: Annotated[tuple[str, ...], Field(max_length=MOST_CONSTRAINTS)] = ()
    """That every set must pass."""
    search: SearchSpec = SearchSpec()
    """Which sets of the space are tried."""
    objective: ObjectiveSpec = ObjectiveSpec()
    """What ranks the sets, and what one must have to win."""
    validation: ValidationSpec = ValidationSpec()
    """How far the winner is looked at."""
    keep: KeepSpec = KeepSpec()
    """What is published of single sets."""
    calls_per_part: Annotated[int, Field(ge=1, le=MOST_CALLS)] | None = None
    """In Dagster, sweep in parts of about so many calls, an op each, side by side and to be resumed one by one; the
    result is the same."""

    @field_validator("objective", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:  # noqa: ANN401 - whatever was written
        """Take a list of objectives as the first and those beside it."""
        if isinstance(value, list) and value:
            return {"name": value[0], "beside": tuple(value[1:])}
        if isinstance(value, dict) and isinstance(value.get("beside"), list):
            return {**value, "beside": tuple(value["beside"])}  # strict, and no longer read as JSON
        return value

    @model_validator(mode="after")
    def _weighs_what_it_can(self) -> Self:
        names = self.objective.all
        if len(set(names)) < len(names):
            raise problem_at("objective", "names the same objective twice")
        if len(names) > 1 and self.search.method != "nsga2":
            raise problem_at("objective", "only search.method nsga2 weighs several objectives: name one, or set that")
        return self

    @model_validator(mode="after")
    def _selects_by_one(self) -> Self:
        if self.mints is not None and self.callers is not None:
            raise problem_at("callers", "give mints or callers, not both")
        return self

    @property
    def universe(self) -> Universe:
        """Which calls, whenever they are."""
        rule = self.first_mention
        first = None if rule is None else FirstMention(by=rule.by, window_days=rule.window_days)
        if self.mints is not None:
            return TokensUniverse(mints=self.mints, first_mention=first, without_faults=self.without_faults)
        if self.callers is not None:
            return CallersUniverse(callers=self.callers, first_mention=first, without_faults=self.without_faults)
        return AllUniverse(first_mention=first, without_faults=self.without_faults)

    def backtest(self, whole: TimeRange) -> BacktestSpec:
        """Return the backtest of the strategy as it is, on the calls of the sweep; `whole` is the lake's range."""
        start, end = self.start or whole.start, self.end or whole.end
        if start >= end:
            raise InvalidConfigError("sweep", [FieldError("end", "must be after start, and after the first call")])
        return BacktestSpec(
            strategy_id=self.strategy,
            strategy_version=self.strategy_version,
            universe=self.universe,
            timeframe=self.timeframe,
            range=TimeRange(start=start, end=end),
            seed=self.seed,
        )

    def fingerprint(self, *parts: str) -> str:
        """Return the sha256 (hex) that sweeps with the same result share; `parts` name the data and the versions."""
        request = self.model_dump(mode="json", exclude={"calls_per_part"})
        return hashlib.sha256(canonical_json([request, *parts])).hexdigest()


def read_spec(path: Path) -> SweepSpec:
    """Read a sweep from YAML, or from JSON if the name of its file ends so.

    Raises:
        InvalidConfigError: naming every field that is wrong.
        LabError: if the file cannot be read.
    """
    return SweepSpec.parse(read_request(path), subject=str(path))


def read_request(path: Path) -> dict[str, Any]:
    """Read the object that a file holds, be it a sweep or not; errors as of `read_spec`."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise LabError(f"{path} is larger than {LARGEST_FILE:,} bytes, which no sweep is")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise LabError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise LabError(f"{path} is no text in UTF-8") from None
    return parse_request(text, subject=str(path), language="JSON" if path.suffix == ".json" else "YAML")


def parse_request(text: str, *, subject: str, language: Literal["JSON", "YAML"] = "YAML") -> dict[str, Any]:
    """Read the object that a text is.

    Args:
        text: of a file.
        subject: what errors are about.
        language: of the text; what is JSON is YAML, too.

    Raises:
        InvalidConfigError: if it is none.
    """
    try:
        value = read_json(text) if language == "JSON" else yaml.load(text, _NamesOnce)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidConfigError(subject, [FieldError("", f"not valid {language}: {error}")]) from None
    if not isinstance(value, dict):
        raise InvalidConfigError(subject, [FieldError("", "must be an object: strategy, timeframe, space, ...")])
    try:
        plain: dict[str, Any] = json.loads(json.dumps(value, default=_plain))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidConfigError(subject, [FieldError("", str(error))]) from None
    return plain


class _NamesOnce(yaml.SafeLoader):  # type: ignore[misc]  # it has no type
    """Reads YAML, and refuses an object that gives a name twice, of which the last would hold unseen."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002 - yaml's own
        names = [one.value for one, _ in node.value if isinstance(one, yaml.ScalarNode)]
        for name in names:
            if names.count(name) > 1:
                said = f"{name} is given more than once"
                raise yaml.constructor.ConstructorError(None, None, said, node.start_mark)
        return super().construct_mapping(node, deep)


def _plain(value: Any) -> str:  # noqa: ANN401 - whatever YAML knows and JSON does not
    """Write a time, which YAML reads as one, as it was written."""
    if isinstance(value, date | datetime):
        return value.isoformat()
    raise TypeError(f"{value!r} is neither text, a number, a list nor an object")
