"""A source of candles as an asset: a partition a day, whose backfill is the download of history."""

import warnings
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Self

import dagster as dg
import polars as pl
from pydantic import BaseModel, Field, model_validator

from lab_pipeline.dagster_ext.metadata_table import table
from lab_pipeline.dagster_ext.op_failure import failing_clearly
from lab_pipeline.defs.lake.events import candle_events
from lab_pipeline.defs.lake.metadata import CALLS_KEY
from lab_pipeline.domain.backtest import now
from lab_pipeline.domain.enums import Fault
from lab_pipeline.domain.timeframe import timeframe_ms
from lab_pipeline.fetch import (
    EXCHANGES,
    FILES,
    SOURCES,
    Fetched,
    Fetcher,
    FetchError,
    Ledger,
    Plan,
    open_source,
    remembered_as,
    within,
)
from lab_pipeline.fetch.windows import Span
from lab_pipeline.lake import QUALITY, quality
from lab_pipeline.lake.faults import FAULTS, find_faults
from lab_pipeline.operations.fetching import needed_candles
from lab_pipeline.operations.lab import Lab

GROUP = "source"
TRIES = 5
WORST_SHOWN, NAMED = 20, 5
GAPS, BEFORE_LAUNCH, STALE = "gaps", "before_launch", "stale"
CHECKS = {
    GAPS: "Counts the gaps of every token; thin markets have them, so they are allowed.",
    Fault.SPIKE: "No high is far above both candles beside it, and no low far below.",
    Fault.UNIT: "No price begins far from where the one before ended and stays there.",
    Fault.COPY: "No token has the prices of another.",
    Fault.FLAT: "Trades in a row move the price.",
    Fault.NO_VOLUME: "Counts candles in a row without a trade; vendors fill gaps with them, so they are allowed.",
    Fault.RESTATED: "Counts candles that came again with other values; vendors correct theirs, so they are allowed.",
    BEFORE_LAUNCH: "No candle is of before the token's first pool.",
    STALE: "Of the tokens whose calls are still running, one at least has candles of late.",
}
ALLOWED = {GAPS, Fault.NO_VOLUME, Fault.RESTATED}


class Asked(BaseModel):
    """What `dg scaffold defs` asks for."""

    source: str = Field(description=f"{', '.join(SOURCES[:-1])} or {SOURCES[-1]}.")
    timeframe: str = Field(description="Length of the candles: 1m, 5m, 1h, ...")
    start: str = Field(description="First day of which candles are fetched: 2025-01-31.")
    path: str | None = Field(default=None, description="Directory of freqtrade's data, or a DuckDB file.")
    exchange: str | None = Field(default=None, description="One of ccxt's exchanges, where it is the source.")


class Scaffolder(dg.Scaffolder[Asked]):
    """Writes the YAML, named as its directory."""

    @classmethod
    def get_scaffold_params(cls) -> type[Asked]:
        """Return what is asked for."""
        return Asked

    def scaffold(self, request: dg.ScaffoldRequest[Asked]) -> None:
        """Write it."""
        dg.scaffold_component(
            request, {"name": request.target_path.name, **request.params.model_dump(exclude_none=True)}
        )


@dg.scaffold_with(Scaffolder)
class CandleSource(dg.Component, dg.Model, dg.Resolvable):
    """Candles from a source over the network or on this machine, as far as calls need them: a partition a day.

    Its asset is `source/NAME`. A backfill of it downloads history; its schedule fetches the days that are over.
    """

    name: str = Field(description="Of the asset, `source/NAME`; letters, digits and `_`.", pattern=r"^[A-Za-z0-9_]+$")
    source: str = Field(description=f"{', '.join(SOURCES[:-1])} or {SOURCES[-1]}.")
    timeframe: str = Field(description="Length of the candles: 1m, 5m, 1h, ...")
    start: str = Field(description="First day of which candles are fetched: `2025-01-31`.")
    path: str | None = Field(default=None, description="Directory of freqtrade's data, or a DuckDB file.")
    exchange: str | None = Field(default=None, description="One of ccxt's exchanges, where it is the source.")
    chain: str | None = Field(default=None, description="Chain of tokens whose calls do not say it.")
    cron: str = Field(default="30 0 * * *", description="When the days that are over are fetched, in UTC.")
    days: int = Field(default=3, ge=1, le=100, description="How many of the latest days the schedule fetches.")
    days_per_run: int = Field(default=30, ge=1, le=10_000, description="Days that one run of a backfill fetches.")
    fresh_hours: float | None = Field(
        default=36, gt=0, le=100_000, description="Hours within which it should have been fetched; null for no limit."
    )
    stale_hours: float = Field(
        default=72, gt=0, le=100_000, description="Hours that the newest candle of a running call may be old."
    )
    retry_seconds: float = Field(
        default=60, gt=0, le=86_400, description="Before it is tried again, up to five times; doubled each time."
    )
    running: bool = Field(default=False, description="Whether the schedule is on before anybody switches it.")

    @model_validator(mode="after")
    def _can_be_fetched(self) -> Self:
        if self.source not in SOURCES:
            raise ValueError(f"source: there is no '{self.source}': use one of {', '.join(SOURCES)}")
        if (self.path is None) == (self.source in FILES):
            raise ValueError(f"path: {self.source} {'needs it' if self.path is None else 'has none'}")
        if (self.exchange is None) == (self.source == EXCHANGES):
            raise ValueError(f"exchange: {self.source} {'needs one' if self.exchange is None else 'has none'}")
        timeframe_ms(self.timeframe)
        date.fromisoformat(self.start)
        return self

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:  # noqa: ARG002 - Dagster's signature
        """Return the asset with its checks, its job and its schedule."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", dg.BetaWarning)  # of its backfill policy
            return _definitions(self)


def _definitions(choice: CandleSource) -> dg.Definitions:
    """Return the asset of a source, with its checks, its job and its schedule."""
    key = dg.AssetKey([GROUP, choice.name])
    days = dg.DailyPartitionsDefinition(start_date=choice.start)
    fresh = None if choice.fresh_hours is None else timedelta(hours=choice.fresh_hours)

    @dg.asset(
        key=key,
        group_name=GROUP,
        kinds={"parquet"},
        deps=[CALLS_KEY],
        partitions_def=days,
        backfill_policy=dg.BackfillPolicy.multi_run(choice.days_per_run),
        freshness_policy=None if fresh is None else dg.FreshnessPolicy.time_window(fail_window=fresh),
        retry_policy=dg.RetryPolicy(TRIES, choice.retry_seconds, dg.Backoff.EXPONENTIAL, dg.Jitter.PLUS_MINUS),
        pool=f"source_{remembered_as(choice.source, choice.exchange)}",
        config_schema={},
        description=f"{choice.timeframe} candles from {choice.source}: what calls need of each day and the lake lacks.",
    )
    def fetch_candles(context: dg.AssetExecutionContext, lab: dg.ResourceParam[Lab]) -> dg.MaterializeResult[None]:
        window = context.partition_time_window
        span = _ms(window.start), _ms(window.end)
        with failing_clearly(context.log):
            try:
                plan, fetched = _fetch(context, lab, choice, span)
            except FetchError as error:
                if not error.may_pass:
                    raise
                raise dg.Failure(str(error), allow_retries=True) from None
        return dg.MaterializeResult(metadata=_metadata(plan, fetched))

    @dg.multi_asset_check(
        name=f"{choice.name}_quality",
        specs=[dg.AssetCheckSpec(str(name), asset=key, description=text) for name, text in CHECKS.items()],
    )
    def check_candles(
        context: dg.AssetCheckExecutionContext, lab: dg.ResourceParam[Lab]
    ) -> Iterator[dg.AssetCheckResult]:
        with failing_clearly(context.log):
            found = list(evaluate(lab, choice, key))
        yield from found

    job = dg.define_asset_job(
        f"source_{choice.name}",
        selection=dg.AssetSelection.assets(key),
        description=f"Fetches candles from {choice.source}.",
    )

    @dg.schedule(
        job=job,
        name=f"source_{choice.name}_schedule",
        cron_schedule=choice.cron,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING if choice.running else dg.DefaultScheduleStatus.STOPPED,
        description=f"Fetches the latest {choice.days} days that are over from {choice.source}, once more if they have "
        "been fetched: what is young may be restated.",
    )
    def fetch_latest(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        tick = context.scheduled_execution_time
        over = days.get_partition_keys(current_time=tick)[-choice.days :]
        if not over:
            return dg.SkipReason(f"no day since {choice.start} is over")
        return [dg.RunRequest(f"{day}@{tick:%Y-%m-%dT%H:%M}", partition_key=day) for day in over]

    return dg.Definitions(assets=[fetch_candles], asset_checks=[check_candles], jobs=[job], schedules=[fetch_latest])


def evaluate(lab: Lab, choice: CandleSource, key: dg.AssetKey) -> Iterator[dg.AssetCheckResult]:
    """Look at the candles of all tokens that the source was asked for, and yield the result of each check."""
    ledger, known = Ledger(lab.settings.catalog_path), remembered_as(choice.source, choice.exchange)
    mints = sorted({mint for _, mint in ledger.asked(known, choice.timeframe)})
    is_there = bool(mints) and choice.timeframe in lab.lake.timeframes()
    measured, faults = pl.DataFrame(schema=QUALITY), pl.DataFrame(schema=FAULTS)
    if is_there:
        measured = quality(lab.lake, choice.timeframe).filter(pl.col("mint").is_in(mints))
        faults = find_faults(lab.lake, choice.timeframe, mints)

    def result(name: str, *, found: pl.DataFrame, **more: int | str) -> dg.AssetCheckResult:
        return dg.AssetCheckResult(
            passed=name in ALLOWED or found.is_empty(),
            asset_key=key,
            check_name=str(name),
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"tokens": len(mints), "found": found.height, **more, "first": table(found.head(WORST_SHOWN))},
        )

    gapped = measured.filter(pl.col("gaps") > 0).sort("gaps", "mint", descending=[True, False])
    yield result(GAPS, found=gapped, gaps=int(measured["gaps"].sum()))
    for fault in Fault:
        found = faults.filter(pl.col("fault") == fault)
        yield result(fault, found=found, candles=int(found["candles"].sum()))
    launched = ledger.launches(known)
    began = pl.DataFrame(
        {"mint": list(launched), "launch": list(launched.values())}, {"mint": pl.String, "launch": pl.Int64}
    )
    end = pl.col("first").to_physical() + timeframe_ms(choice.timeframe)
    early = measured.join(began, on="mint").filter(end <= pl.col("launch"))
    early = early.select("mint", "first", pl.col("launch").cast(pl.Datetime("ms", "UTC")))
    yield result(BEFORE_LAUNCH, found=early, with_launch=len(launched))
    yield result(STALE, found=_stale(lab, choice, measured))


def _stale(lab: Lab, choice: CandleSource, measured: pl.DataFrame) -> pl.DataFrame:
    """Return since when the tokens of running calls have no candle, if none of them has one of late.

    A token that nobody trades any more says nothing of its source; all of them together do.
    """
    until = _ms(now())
    late = until - int(choice.stale_hours * 3_600_000)
    nothing = measured.select("mint", stale_since="last").clear()
    if lab.lake.calls().is_empty():
        return nothing
    needed = needed_candles(lab, choice.timeframe, until, by_chain=False).tokens
    running = [token.mint for token in needed if token.spans[-1][0] < late < token.spans[-1][1]]
    last = measured.filter(pl.col("mint").is_in(running)).select("mint", stale_since="last").sort("stale_since", "mint")
    return nothing if (last["stale_since"].to_physical() >= late).any() else last.reverse()


def _fetch(context: dg.AssetExecutionContext, lab: Lab, choice: CandleSource, span: Span) -> tuple[Plan, Fetched]:
    ledger = Ledger(lab.settings.catalog_path)
    path = None if choice.path is None else Path(choice.path)
    with closing(open_source(choice.source, lab.settings, ledger, path, choice.exchange)) as source:
        fetcher = Fetcher(source, lab.lake, ledger, choice.timeframe)
        found = needed_candles(lab, choice.timeframe, fetcher.until_ms(), by_chain=source.by_chain, chain=choice.chain)
        if found.no_chain:
            context.log.warning(
                f"{len(found.no_chain):,} tokens left out, since no call says their chain: "
                f"{', '.join(found.no_chain[:NAMED])}"
            )
        plan = fetcher.plan(within(found.tokens, span))
        context.log.info(
            f"{len(plan.requests):,} windows, about {plan.estimate:,} requests, at least {plan.seconds:,.0f} s"
        )
        fetched = fetcher.carry_out(plan, lambda done, of: context.log.info(f"{done:,} of {of:,} windows"))
    if fetched.report is not None and fetched.report.partitions_written:
        for event in candle_events(lab.lake, fetched.report, lab.settings.min_coverage):
            context.log_event(event)
    return plan, fetched


def _metadata(plan: Plan, fetched: Fetched) -> dict[str, dg.MetadataValue]:
    report = fetched.report
    counts = {
        "windows": fetched.windows,
        "empty windows": fetched.empty,
        "read again": plan.read_again,
        "candles": fetched.candles,
        "left out": fetched.excluded,
        "added": 0 if report is None else report.added,
        "restated": 0 if report is None else report.changed,
    }
    metadata: dict[str, dg.MetadataValue] = {name: dg.MetadataValue.int(count) for name, count in counts.items()}
    if plan.cost is not None:
        metadata["cost"] = dg.MetadataValue.float(plan.cost)
    return metadata


def _ms(moment: datetime) -> int:
    return int(moment.astimezone(UTC).timestamp() * 1000)
