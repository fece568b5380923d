"""The tear sheet: one HTML page that needs nothing but itself."""

from dataclasses import dataclass
from typing import Any, Protocol

import polars as pl
from markupsafe import Markup

from lab_pipeline.domain.backtest import ResolvedSpec
from lab_pipeline.domain.doubts import FEW_TRADES
from lab_pipeline.domain.enums import IntrabarPolicy, Outcome, SkipReason
from lab_pipeline.domain.strategy import StrategyConfig
from lab_pipeline.domain.summary import Summary
from lab_pipeline.domain.text import visible_json
from lab_pipeline.reports import certainty, charts, formats, tables
from lab_pipeline.reports.pages import template
from lab_pipeline.reports.wording import sentences, universe_text

CALLERS_SHOWN = 15
CALLERS_AT_MOST = 100
TRADES_SHOWN = 10
_SKIPPED = {
    SkipReason.NO_CASH: "for cash",
    SkipReason.NO_SLOT: "for a slot",
    SkipReason.MAX_PER_TOKEN: "for a token held already",
    SkipReason.COOLDOWN: "for a token sold just before",
    SkipReason.PAUSE_AFTER_LOSSES: "in a pause after losses",
    SkipReason.STOP_AT_DRAWDOWN: "after the drawdown that ends all buying",
}
_NOT_ENTERED = {
    Outcome.NO_CANDLES: "have no candles after the call",
    Outcome.NO_ENTRY: "never met the entry's condition",
    Outcome.NOT_LONG: "are not long",
    Outcome.FILTERED: "did not pass the filters",
    Outcome.NO_HISTORY: "have too few candles before the entry",
    Outcome.INVALID_PLAN: "came without a plan that can be followed",
    Outcome.STAKE_TOO_SMALL: "have a stake below the fixed fee",
    Outcome.NO_LIQUIDITY: "found nothing to trade with",
}


class RunResult(Protocol):
    """What a page is made from; the frames have the columns of `domain.frames`."""

    @property
    def trades(self) -> pl.DataFrame:
        """One row a trade, taken by the portfolio or not."""

    @property
    def paths(self) -> pl.DataFrame:
        """One row a call that entered."""

    @property
    def outcomes(self) -> pl.DataFrame:
        """One row a call."""

    @property
    def equity(self) -> pl.DataFrame:
        """One row a step of the series."""

    @property
    def fill_certainty(self) -> pl.DataFrame:
        """One row a lane."""

    @property
    def nulls(self) -> pl.DataFrame:
        """A row for the run, and one a caller."""

    @property
    def summary(self) -> Summary:
        """The headline numbers, shown as they are."""


def render_report(
    result: RunResult,
    spec: ResolvedSpec,
    *,
    fingerprint: str,
    snapshot: str,
    engine_version: str,
    repeats: int = 0,
    faulty: int = 0,
) -> str:
    """Render the tear sheet of a run.

    The page loads nothing, from this host or another, and holds no script, no date and no run id: equal runs have
    byte-identical pages. Times are UTC.

    Args:
        result: frames and summary of the run; any of the frames may be empty.
        spec: what was run.
        fingerprint: of the run, shown as it is; so are `snapshot` and `engine_version`.
        snapshot: hash of the rows that were read.
        engine_version: version of the simulation.
        repeats: calls that `universe.firstMention` left out.
        faulty: calls that `universe.withoutFaults` left out.

    Returns:
        A whole HTML document, under 200 kB.
    """
    universe = universe_text(spec.universe, repeats, faulty)
    made_of = {"fingerprint": fingerprint, "snapshot": snapshot, "engine_version": engine_version}
    return _PAGE.render(_shown(result, spec, universe=universe, files="", **made_of))


def render_sheet(
    result: RunResult, spec: ResolvedSpec, *, files: str, fingerprint: str, snapshot: str, engine_version: str
) -> Markup:
    """Render what is on the tear sheet of a run, without the page around it; arguments as of `render_report`.

    `files` is the address under which a run's tables can be had.
    """
    universe = universe_text(spec.universe, None, None)  # nothing that is published counts what was left out
    made_of = {"fingerprint": fingerprint, "snapshot": snapshot, "engine_version": engine_version}
    return Markup(_SHEET.render(_shown(result, spec, universe=universe, files=files, **made_of)))  # noqa: S704 - escaped by the template


def _shown(result: RunResult, spec: ResolvedSpec, **told: str) -> dict[str, Any]:
    callers = tables.by_caller(result.trades, result.outcomes, result.paths)
    return dict(
        spec=spec,
        summary=result.summary,
        conclusion=conclude(result),
        assumptions=list(certainty.assumptions(spec.strategy)),
        lanes=certainty.lane_tables(result.fill_certainty),
        thin_share=certainty.thin_share(result.fill_certainty),
        against_chance=[*certainty.against_chance(result.nulls), *certainty.by_luck(result.trades)],
        verdict=judge(result.summary),
        without_costs=not (spec.strategy.costs.fee_bps or spec.strategy.costs.slippage_bps),
        cautions=_cautions(result.summary, spec),
        nothing_traded=why_nothing_traded(result) if result.trades.is_empty() else None,
        final_equity=spec.strategy.portfolio.initial_capital * (1 + result.summary.total_return),
        expectancy_scale=_scale_of_expectancy(result.summary),
        charts=_charts(result, spec),
        tails=_tails(result.trades),
        callers=tables.with_chances(callers.head(CALLERS_AT_MOST), result.nulls).to_dicts(),
        callers_shown=CALLERS_SHOWN,
        callers_count=len(callers),
        caller_scale=_scale_of_callers(callers),
        exits=tables.by_exit_reason(result.trades).to_dicts(),
        outcomes=tables.by_outcome(result.outcomes).to_dicts(),
        best=tables.ranked(result.trades, TRADES_SHOWN, best=True).to_dicts(),
        worst=tables.ranked(result.trades, TRADES_SHOWN, best=False).to_dicts(),
        sentences=list(sentences(spec.strategy)),
        document=visible_json(spec.to_json_dict(), indent=2),
        **told,
    )


def conclude(result: RunResult) -> certainty.Conclusion:
    """Say in one sentence what a reader should conclude, of a run that other fills were not simulated of, too."""
    if result.fill_certainty.is_empty() and not result.trades.is_empty():
        return certainty.UNASKED
    return certainty.conclude(result.fill_certainty)


@dataclass(frozen=True)
class Verdict:
    """What the interval of the expectancy allows to say; `tone` is the CSS class of its colour."""

    text: str
    tone: str


def judge(summary: Summary) -> Verdict:
    """Say what the interval of a run's expectancy allows to say."""
    low, high = summary.expectancy_low, summary.expectancy_high
    if summary.expectancy is None:
        return Verdict("No trade to judge by", "flat")
    if low is None or high is None:
        return Verdict("Trades of one day have no interval", "down")
    if low > 0:
        return Verdict("The interval is above zero", "up")
    if high < 0:
        return Verdict("The interval is below zero", "down")
    return Verdict("Not distinguishable from luck", "down")


def in_few_words(summary: Summary) -> str:
    """Say what came of a run in the width of a column of a list: the number first."""
    if summary.expectancy is None:
        return "nothing was traded"
    mean, low, high = map(formats.signed_percent, (summary.expectancy, summary.expectancy_low, summary.expectancy_high))
    return f"{mean} a trade, {'no interval' if summary.expectancy_low is None else f'{low} to {high}'}"


@dataclass(frozen=True)
class Scale:
    """Limiter values on a bar of the page, in percent of its width; what lies outside is put at the end."""

    low: float
    high: float

    def at(self, value: float) -> float:
        """Return where the value is, from 0 to 100, to a hundredth."""
        return round(100 * min(1.0, max(0.0, (value - self.low) / (self.high - self.low))), 2)


def _cautions(summary: Summary, spec: ResolvedSpec) -> list[str]:
    found = []
    skipped = sum(summary.skipped.values())
    if skipped:
        reasons = ", ".join(f"{count:,} {_SKIPPED[reason]}" for reason, count in summary.skipped.items() if count)
        found.append(f"{skipped:,} of {summary.trades:,} trades skipped by the portfolio: {reasons}")
    if 0 < summary.trades < FEW_TRADES:
        found.append(f"Only {summary.trades} trade{'s' if summary.trades > 1 else ''}")
    if summary.ambiguous_candles:
        plural = "s" if summary.ambiguous_candles > 1 else ""
        found.append(f"{summary.ambiguous_candles:,} ambiguous candle{plural}, {_decided(summary, spec.strategy)}")
    if summary.ended_trades:
        plural = "s" if summary.ended_trades > 1 else ""
        found.append(f"{summary.ended_trades:,} trade{plural} sold at the last price, because the candles ended")
    return found


def _decided(summary: Summary, strategy: StrategyConfig) -> str:
    if strategy.intrabar is not IntrabarPolicy.FINER:
        return f"decided {formats.words(strategy.intrabar)}"
    return (
        f"{summary.ambiguous_resolved:,} decided by finer candles, {summary.ambiguous_unresolved:,} taken as stop first"
    )


def why_nothing_traded(result: RunResult) -> str:
    """Say why no call of a run without trades was entered."""
    summary = result.summary
    if not summary.calls:
        return "No call lies in this range and universe. Widen one of them, or ingest more calls."
    counts = dict(tables.by_outcome(result.outcomes).select("outcome", "calls").iter_rows())
    reasons = ", ".join(f"{counts[outcome]:,} {said}" for outcome, said in _NOT_ENTERED.items() if counts[outcome])
    return f"None of the {summary.calls:,} calls was entered: {reasons}."


def _charts(result: RunResult, spec: ResolvedSpec) -> dict[str, Markup]:
    drawn: dict[str, str] = {}
    if not result.equity.is_empty():
        capital = spec.strategy.portfolio.initial_capital
        drawn["equity"] = charts.equity_chart(result.equity, initial_capital=capital)
    if not result.trades.is_empty():
        if not result.fill_certainty.is_empty():
            drawn["certainty"] = charts.certainty_chart(result.fill_certainty)
        drawn["distribution"] = charts.distribution_chart(result.trades)
        drawn["running_mean"] = charts.running_mean_chart(result.trades)
        drawn["hours"] = charts.hours_chart(result.trades)
        drawn["excursions"] = charts.excursions_chart(result.trades)
    return {name: Markup(chart) for name, chart in drawn.items()}  # noqa: S704 - their text is escaped by the canvas


def _tails(trades: pl.DataFrame) -> str:
    if trades.is_empty():
        return ""
    returns = trades["net_return"].to_numpy()
    edges = charts.return_bins(returns)
    tails = (
        (int((returns < edges[0]).sum()), "below", edges[0], "worst", float(returns.min())),
        (int((returns > edges[-1]).sum()), "above", edges[-1], "best", float(returns.max())),
    )
    parts = [
        f"{count:,} {word} {formats.signed_percent(edge, 0)} ({extreme} {formats.signed_percent(value, 0)})"
        for count, word, edge, extreme, value in tails
        if count
    ]
    return f"The outermost bars hold {' and '.join(parts)}." if parts else ""


def _scale_of_expectancy(summary: Summary) -> Scale:
    marks = [value for value in (summary.expectancy_low, summary.expectancy, summary.expectancy_high) if value]
    return _padded(min([0.0, *marks]), max([0.0, *marks]))


def _scale_of_callers(callers: pl.DataFrame) -> Scale:
    # every mean and half of the intervals' ends: one wide interval must not shrink all the others to dots
    judged = callers.drop_nulls("low")
    low = [0.0, *judged["mean_return"], *judged.select(pl.median("low")).to_series().drop_nulls()]
    high = [0.0, *judged["mean_return"], *judged.select(pl.median("high")).to_series().drop_nulls()]
    return _padded(min(low), max(high))


def _padded(low: float, high: float) -> Scale:
    margin = 0.15 * ((high - low) or 1.0)
    return Scale(low - margin, high + margin)


_PAGE, _SHEET = template("report.html"), template("sheet.html")
