"""Sweeps over HTTP."""

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any

from pydantic import ConfigDict, Field, JsonValue
from pydantic.alias_generators import to_camel

from lab_pipeline.api.schemas.base import Answer, Moment
from lab_pipeline.api.schemas.runs import RunChange
from lab_pipeline.domain.errors import FieldError, InvalidConfigError
from lab_pipeline.domain.model import Document
from lab_pipeline.domain.strategy import StrategyConfig
from lab_pipeline.operations.notes import Notes
from lab_pipeline.operations.sweeps import SweepRun
from lab_pipeline.sweeps.holdout import Holdout
from lab_pipeline.sweeps.promoting import Promoted
from lab_pipeline.sweeps.spec import (
    FirstMentionSpec,
    KeepSpec,
    ObjectiveSpec,
    SearchSpec,
    SweepSpec,
    ValidationSpec,
    WalkSpec,
)

SWEEP_EXAMPLE = "5d1f0a37-6a0e-4f0b-9f53-0c1b1b0f4f10"
STRATEGY_ID = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
CAMEL = ConfigDict(alias_generator=to_camel)


def fields_of(model: type[Answer], row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an answer says of a row, null where it has no such column."""
    return {name: row.get(name) for name in model.model_fields}


class SearchRequest(SearchSpec):
    """Which sets of the space are tried."""

    model_config = CAMEL


class ObjectiveRequest(ObjectiveSpec):
    """What ranks the sets, and what one must have to win."""

    model_config = CAMEL


class WalkRequest(WalkSpec):
    """Windows of the walk forward, in days."""

    model_config = CAMEL


class ValidationRequest(ValidationSpec):
    """How far the winner is looked at."""

    model_config = CAMEL

    walk_forward: WalkRequest = WalkRequest()
    """The winner of one window, tried in the next."""


class KeepRequest(KeepSpec):
    """What is published of single sets."""

    model_config = CAMEL


class FirstMentionRequest(FirstMentionSpec):
    """Counts a call once, however often it is repeated."""

    model_config = CAMEL


class SweepRequest(SweepSpec):
    """A request: which strategy, which of its parameters, on which calls. As in a file, with names in camelCase."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        json_schema_extra={
            "examples": [
                {
                    "strategy": "ladder",
                    "timeframe": "5m",
                    "space": {
                        "exit.stopLoss": {"from": 0.05, "to": 0.5, "n": 10},
                        "entry.delayMinutes": [0, 1, 2],
                    },
                    "constraints": ["exit.targets[0].multiple - 1 > exit.stopLoss"],
                    "objective": {"minTrades": 30},
                }
            ]
        },
    )

    first_mention: FirstMentionRequest | None = Field(default=None, exclude_if=lambda rule: rule is None)
    """Leaves out repeats; every call counts by default."""
    search: SearchRequest = SearchRequest()
    """How sets are chosen from the space."""
    objective: ObjectiveRequest = ObjectiveRequest()
    """What decides which set wins."""
    validation: ValidationRequest = ValidationRequest()
    """How the winner is judged."""
    keep: KeepRequest = KeepRequest()
    """Which sets are published with all their trades."""

    @property
    def spec(self) -> SweepSpec:
        """The request as the lab keeps it."""
        return SweepSpec.parse(self.model_dump(mode="json", by_alias=False), subject="the request")

    @classmethod
    def of(cls, fields: dict[str, Any]) -> "SweepRequest | None":
        """Read what a sweep was asked for, by its names in a file; none where it makes no sense."""
        try:
            return cls.like(SweepSpec.parse(fields))
        except InvalidConfigError:
            return None

    @classmethod
    def like(cls, spec: SweepSpec) -> "SweepRequest":
        """Return the request of a sweep."""
        return cls.model_validate(spec.model_dump(), by_name=True, strict=False)


def as_requested(errors: list[FieldError] | tuple[FieldError, ...]) -> list[FieldError]:
    """Give the fields that errors name the names of the request; parameters of a strategy keep theirs."""
    return [FieldError(".".join(map(to_camel, one.path.split("."))), one.message) for one in errors]


class Promotion(Document):
    """A set to make a strategy of."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"as": "ladder-tight"}]})

    strategy_id: Annotated[str, Field(alias="as", pattern=STRATEGY_ID)]
    """Id of the strategy that gets it as a version, a new one or one there is."""
    despite_verdict: bool = False
    """Whether to do so though the verdict does not support the set."""


class Reveal(Document):
    """A look at the holdout."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"by": "Marta"}]})

    by: Annotated[str, Field(min_length=1, max_length=200)]
    """Name of the user who looks: it is recorded."""


class SweepChange(RunChange):
    """What to write about a sweep; what is left out or null stays as it is."""


class QueuedSweep(Answer):
    """A sweep that was asked for."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"sweepId": SWEEP_EXAMPLE, "status": "queued"}]})

    sweep_id: str
    """Of the sweep; it is Dagster's run id, too."""
    status: str
    """`queued`; for an idempotency key that was used before, where the sweep is by now."""


class InvalidSetItem(Answer):
    """A set of the space that is no strategy."""

    number: int
    """Which point of the space it is, from 0."""
    values: dict[str, JsonValue]
    """Its values, by path."""
    problems: list[str]
    """What is wrong with it."""


class SweepCost(Answer):
    """What a sweep would take."""

    sets: int
    """Sets that it evaluates; at most, where `exact` is false."""
    calls: int
    """Calls that select, on which each is evaluated."""
    days: int
    """Days of these calls."""
    callers: int
    """Callers of these calls."""
    candles: int
    """Candles that it reads, at most, each once."""
    memory_bytes: int
    """What its cells take."""
    memory_allowed_bytes: int
    """What they may take; more is a 422."""


class SweepDryRun(Answer):
    """What a sweep would be; nothing is started."""

    valid: bool
    """true: a request that could not run is a 422."""
    exact: bool
    """Whether the sets were made and counted. Of more than 10,000 only a sample is made, and their number is told."""
    method: str
    """How the space is searched."""
    asked: int
    """Points of the space that it tries."""
    duplicates: int | None
    """Points that repeat another's configuration; null where it is not exact."""
    excluded: int | None
    """Points that a constraint leaves out; null where it is not exact."""
    invalid: int | None
    """Points that are no strategies; null where it is not exact."""
    first_invalid: list[InvalidSetItem]
    """The first ten of these."""
    holdout_days: int
    """Last days with calls, which it does not look at."""
    repeats: int
    """Calls that `firstMention` leaves out, on all days."""
    faulty: int
    """Calls that `withoutFaults` leaves out, on all days."""
    strategy_version: str
    """Version of the strategy that it varies."""
    estimated_cost: SweepCost
    """What it would take."""
    unsaid: dict[str, str]
    """Parts of the verdict that it could not say, each with the reason."""


class SweepItem(Answer):
    """A sweep in the list."""

    sweep_id: str
    """Of the sweep; it is Dagster's run id, too."""
    strategy_id: str | None
    """Id of the strategy that is varied; null where somebody launched a sweep without one."""
    strategy_version: str | None
    """Its version; null where the latest was asked for and the sweep has not published."""
    timeframe: str | None
    """Length of the candles, such as `5m`."""
    status: str
    """`queued`, `running`, `completed`, `failed`, `canceled`, or the lower-case name of another status of Dagster's."""
    sets: int | None
    """Sets that were evaluated; null before it has published."""
    verdict: str | None
    """How far its winner can be believed, in words; null before it has published."""
    created_at: Moment
    """When it was asked for, UTC."""
    started_at: Moment | None
    """When its process began, UTC; null if it never did, or Dagster did not run it."""
    completed_at: Moment | None
    """When it ended, however it did, UTC; null before that."""

    @classmethod
    def fields(cls, sweep: SweepRun) -> dict[str, Any]:
        """Return what an answer says of a sweep."""
        published = sweep.published
        return {
            "sweep_id": sweep.sweep_id,
            "strategy_id": sweep.strategy_id,
            "strategy_version": sweep.strategy_version,
            "timeframe": sweep.timeframe,
            "status": sweep.status,
            "sets": published.sets if published else None,
            "verdict": published.verdict if published else None,
            "created_at": sweep.created_at,
            "started_at": sweep.started_at,
            "completed_at": sweep.completed_at,
        }


class SweepDetail(SweepItem):
    """A sweep, whole."""

    config: SweepRequest | None
    """What it was asked to do; null where that makes no sense."""
    error: str | None
    """Why it failed, in one line; null if it did not."""
    fingerprint: str | None
    """sha256 (hex) of what the result is made of: sweeps that share it have the same bytes; null before it is known."""
    snapshot: str | None
    """Hash of the calls and candles that it read; null before it has published."""
    holdout: "HoldoutAnswer | None"
    """The days that it holds out, and who has looked at them; null where there are none, or none known yet."""
    dagster_url: str | None
    """The run in the Dagster UI; null where Dagster knows of none."""
    name: str
    """What people call it; empty where nobody said."""
    labels: list[str]
    """Words to find it by."""
    notes: str
    """Whatever was worth remembering."""
    pinned: bool
    """Whether it is kept for ever, whatever retention says."""

    @staticmethod
    def written(notes: Notes) -> dict[str, Any]:
        """Return what an answer says of what was written about a sweep."""
        return {"name": notes.name, "labels": list(notes.labels), "notes": notes.text, "pinned": notes.pinned}


class SweepPage(Answer):
    """Sweeps, newest first."""

    sweeps: list[SweepItem]
    """The sweeps of this page."""
    next_cursor: str | None
    """Leads to the next page; null on the last."""


class SetItem(Answer):
    """A set of parameters and what it earned on the days that selected: as a backtest of it, to the last bit."""

    set_id: int
    """Its number in the space, from 0."""
    rank: int | None
    """Its place by the objective among those that may win, from 1; null where it may not."""
    eligible: bool
    """Whether it has enough trades, days and callers to win."""
    objective: float | None
    """What ranks it; null where there is none."""
    config_hash: str
    """sha256 (hex) of its configuration: that of a strategy's version, if there is one of it."""
    params: dict[str, float | str | None]
    """What is varied, by path; parts of a value each have their path, such as `exit.targets[0].multiple`."""
    trades: int
    """Trades."""
    entered: int
    """Calls with a trade."""
    wins: int
    """Trades with a gain, net."""
    win_rate: float | None
    """`wins` by `trades`."""
    expectancy: float | None
    """Mean net return of a trade."""
    expectancy_se: float | None
    """Standard error of that, clustered by day; null below two days with trades."""
    expectancy_lower: float | None
    """`expectancy` less 1.645 standard errors."""
    median_return: float | None
    """Approximate median net return of a trade."""
    profit_factor: float | None
    """Gains by losses."""
    hold_minutes: float | None
    """Mean time of a trade, in minutes."""
    ambiguous: int
    """Candles in which stop and target were both touched."""
    days: int
    """Days with a trade."""
    callers: int
    """Callers with a trade."""
    by_kernel: int
    """Calls that the kernel decided, for no table could."""
    plateau: float | None
    """Objective of its neighbourhood: 20 % quantile over the sets a step away; null where that is not known."""
    train_trades: int | None
    """Trades on the days that selected."""
    train_expectancy: float | None
    """Mean net return of these."""
    lane_min: float | None
    """Mean net return in the worst of the stress lanes; null for sets that were not run once more."""

    @classmethod
    def fields(cls, row: dict[str, Any]) -> dict[str, Any]:
        """Return what an answer says of a row of `sets.parquet`."""
        params = {name.removeprefix("p."): value for name, value in row.items() if name.startswith("p.")}
        return fields_of(SetItem, row) | {"params": params}


class SetPage(Answer):
    """Sets, in the order that was asked for."""

    sets: list[SetItem]
    """The sets of this page."""
    next_cursor: str | None
    """Leads to the next page; null on the last."""


class SetDay(Answer):
    """What a set earned on the calls of one day."""

    day: date
    """Of the calls, UTC."""
    trades: int
    """Trades."""
    net_sum: float
    """Sum of their net returns."""
    net_sumsq: float
    """Sum of the squares of these."""


class SetLane(Answer):
    """How a set fares under other assumptions about its fills."""

    lane: str
    """Name of the stress lane."""
    expectancy: float | None
    """Mean net return of a trade in it."""
    trades: int
    """Trades."""


class SetDetail(SetItem):
    """A set, whole."""

    config: StrategyConfig | None
    """The strategy that it is; null where the one that was swept is no longer as it was."""
    by_day: list[SetDay]
    """Every day with a trade, ascending."""
    lanes: list[SetLane]
    """Stress lanes, of a set that was run once more as a backtest; else empty."""


class Axis(Answer):
    """Values of one parameter in a heat map."""

    path: str
    """Of the parameter."""
    values: list[float | str | None]
    """Ascending; null, which stands for not set, comes first. Middles of equal parts, where `width` is set."""
    width: float | None
    """Of each part, where there are more than 50 numbers; else null."""


class HeatMapAnswer(Answer):
    """Two parameters against a figure. Rows are those of `y`, columns those of `x`."""

    x: Axis
    """Columns."""
    y: Axis
    """Rows."""
    z: str
    """The figure."""
    reduce: str
    """`best` or `median` of the sets of a cell."""
    values: list[list[float | None]]
    """The figure of the sets of a cell that may win; null where there is none."""
    sets: list[list[int]]
    """Sets of a cell."""
    eligible: list[list[int]]
    """Sets of a cell that may win."""


class CallerRule(Answer):
    """The best pair of a caller and a set."""

    caller: str
    """Whose calls."""
    set_id: int
    """Under which set."""
    objective: float | None
    """What ranks pairs, of this one."""
    p_value: float | None
    """One-sided, of a mean net return of 0, clustered by day."""
    q_value: float | None
    """The same, corrected for all pairs."""
    placebo_p: float | None
    """How often names of callers that were shuffled within each day gave as good a pair."""


class StopFillsAnswer(Answer):
    """The winner with stops as in the run (`as_run`), at their level (`level`) and at the candle's low (`low`)."""

    winners: dict[str, int | None]
    """Which set wins then."""
    objectives: dict[str, float | None]
    """The winner's objective then."""
    ranks: dict[str, int | None]
    """Its rank then."""
    survives: bool | None
    """Whether its objective stays above zero as run, at the level and at the low."""


class VerdictPart(Answer):
    """A part of the verdict."""

    part: str
    """Its name, as in `failed` and `unsaid`."""
    title: str
    """What people call it."""
    value: float | None
    """Its figure; null where it could not be said."""
    wanted: str
    """What the figure has to be."""
    passed: bool
    """Whether it is."""
    doubt: str
    """What it means if it is not."""
    unsaid: str | None
    """Why it could not be said; null where it was."""


class SelectionAnswer(Answer):
    """How far the winner of a sweep can be believed. Null is what does not exist or could not be said."""

    winner: int | None
    """Id of the set with the best objective among those that may win."""
    winner_values: dict[str, JsonValue] | None
    """What is varied of it, by path."""
    objective: str
    """What ranks the sets."""
    days: int
    """Days that select."""
    trials: int
    """Configurations that were ever tried for this strategy, of which the winner is the best."""
    trials_before: int
    """Of these, such as are no sets of this sweep."""
    effective_trials: float | None
    """As how many independent ones the sets count."""
    expectancy_low: float | None
    """Lower end of the 95 % interval of the winner's mean net return, clustered."""
    expectancy_high: float | None
    """Its upper end."""
    psr: float | None
    """Probabilistic Sharpe ratio."""
    dsr: float | None
    """Deflated Sharpe ratio, by `trials`; below 0.95 the winner is not distinguishable from luck."""
    dsr_effective: float | None
    """The same by `effective_trials`."""
    luck_sharpe: float | None
    """Sharpe ratio per day that the best of so many trials has by luck alone."""
    track_record_days: float | None
    """Days after which the winner's Sharpe ratio would be distinguishable from 0."""
    minimum_backtest_days: float | None
    """Days below which so many trials find the winner's Sharpe ratio by luck."""
    pbo: float | None
    """Probability that the best in one half of the days is below the median in the other."""
    pbo_loss: float | None
    """Probability that it loses there."""
    pbo_slope: float | None
    """Slope of the objective in one half on that in the other."""
    reality_check_p: float | None
    """P-value of White's test that no set earns anything."""
    spa_lower_p: float | None
    """P-value of Hansen's test, lower bound."""
    spa_consistent_p: float | None
    """The same, consistent."""
    spa_upper_p: float | None
    """The same, upper bound."""
    superior_sets: list[int] | None
    """Sets that earn something all the same, by StepM."""
    oos_expectancy: float | None
    """Mean net return of the walk forward, out of sample."""
    walk_forward_efficiency: float | None
    """That by the mean net return in training."""
    path_expectancies: list[float | None] | None
    """Mean net returns of the combinatorial purged paths."""
    plateau_set: int | None
    """Id of the set with the best neighbourhood."""
    plateau_ratio: float | None
    """Objective of that neighbourhood by that of the winner."""
    weakest_lane: str | None
    """Stress lane in which the winner fares worst."""
    weakest_lane_expectancy: float | None
    """Its mean net return there."""
    placebo_p: float | None
    """How often the same search on calls at other moments found as much."""
    front: list[int] | None
    """Where several objectives are weighed, ids of the sets that none other beats in all of them."""
    caller_rule: CallerRule | None
    """The best pair of a caller and a set."""
    stop_fills: StopFillsAnswer | None
    """The winner under other assumptions about its stops."""
    supported: bool
    """Whether nothing speaks against the winner."""
    failed: list[str]
    """Parts of the verdict that speak against it."""
    unsaid: list[str]
    """Parts for which there was too little."""
    verdict: str
    """The same in words."""
    parts: list[VerdictPart]
    """Every part, with its figure and what is wanted of it."""

    @classmethod
    def of(cls, document: dict[str, Any]) -> "SelectionAnswer":
        """Return what `selection.json` says."""
        return cls(**fields_of(cls, document))


class FoldItem(Answer):
    """A window of the walk forward."""

    fold: int
    """Its number, from 0."""
    train_start: Moment
    """First moment of the calls that chose, UTC."""
    train_end: Moment
    """Their end, exclusive, UTC."""
    test_start: Moment
    """First moment of the calls that tested, UTC."""
    test_end: Moment
    """Their end, exclusive, UTC."""
    kind: str
    """`rolling` or `anchored`: whether training moves on with the test, or begins with the first day."""
    purged_calls: int
    """Calls left out in training, whose windows reached into the test or which the embargo took."""
    set_id: int | None
    """The set that was chosen; null where none could be."""
    train_expectancy: float | None
    """Its mean net return in training."""
    test_expectancy: float | None
    """Its mean net return in the test."""
    test_trades: int
    """Its trades in the test."""


class FoldList(Answer):
    """The walk forward, window by window; empty where there were too few days for one."""

    folds: list[FoldItem]
    """The windows, ascending."""
    next_cursor: str | None
    """Always null: they are one page."""


class CallerItem(Answer):
    """What one caller's calls brought a set."""

    set_id: int
    """The set."""
    caller: str
    """The caller; `(other)` for all beyond the 1,000 with most calls."""
    trades: int
    """Trades on the caller's calls."""
    wins: int
    """Those with a gain, net."""
    expectancy: float | None
    """Their mean net return."""
    net_sum: float
    """Sum of their net returns."""
    net_sumsq: float
    """Sum of the squares of these."""
    p_value: float | None
    """Of the test that they earn nothing; null where it was not made."""
    q_value: float | None
    """The same, with the false discoveries among all tests under control."""

    @classmethod
    def of(cls, row: dict[str, Any]) -> "CallerItem":
        """Return what is said of a row of `callers.parquet`."""
        mean = {"expectancy": row["net_sum"] / row["trades"] if row["trades"] else None}
        return cls(**fields_of(cls, row) | mean)


class CallerPage(Answer):
    """Callers of sets, by set and then by name."""

    callers: list[CallerItem]
    """The rows of this page."""
    next_cursor: str | None
    """Leads to the next page; null on the last."""


class Look(Answer):
    """Somebody has looked at the holdout."""

    sweep_id: str
    """Of which sweep it was: those of the same strategy, and of strategies made of it, hold the same days."""
    at: Moment
    """When, UTC."""
    by: str
    """Name of the user."""


class HoldoutSet(Answer):
    """How a set fares on the days that were held out."""

    set_id: int
    """The set."""
    roles: list[str]
    """Why it was looked at: `winner`, `plateau`."""
    trades: int
    """Its trades there."""
    wins: int
    """Those with a gain, net."""
    expectancy: float | None
    """Their mean net return."""
    expectancy_low: float | None
    """Lower end of its 95 % interval, clustered."""
    expectancy_high: float | None
    """Its upper end."""
    selected_expectancy: float | None
    """Its mean net return on the days that selected it."""
    selected_trades: int
    """Its trades there."""


class HoldoutAnswer(Answer):
    """The days that a sweep has held out, which are opened once: every look is counted."""

    start: Moment
    """First moment of their calls, UTC."""
    end: Moment
    """Their end, exclusive, UTC."""
    seen: list[Look]
    """Every look, the earliest first."""
    sets: list[HoldoutSet]
    """What was seen."""

    @classmethod
    def of(cls, holdout: Holdout) -> "HoldoutAnswer":
        """Return what is known of a holdout that was opened."""
        seen = [Look(sweep_id=look.sweep_id, at=look.at, by=look.by) for look in holdout.looks]
        rows = holdout.result["sets"] if holdout.result else []
        sets = [HoldoutSet(**fields_of(HoldoutSet, row)) for row in rows]
        return cls(start=holdout.held.start, end=holdout.held.end, seen=seen, sets=sets)


class PromotedSet(Answer):
    """A set that has become a version of a strategy, which carries the verdict and the number of tries as tags."""

    strategy_id: str
    """Of the strategy."""
    version: str
    """The version that it is."""
    is_new: bool
    """Whether there was no such version before."""
    tags: list[str]
    """Of the strategy: the sweep, its verdict, how many tries."""

    @classmethod
    def of(cls, promoted: Promoted) -> "PromotedSet":
        """Return what is said of a version that was made of a set."""
        stored = promoted.stored
        return cls(
            strategy_id=stored.strategy.id,
            version=stored.version,
            is_new=promoted.is_new,
            tags=list(stored.strategy.tags),
        )
