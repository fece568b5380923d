"""The keys, checks and rules of the statistics' assets."""

from datetime import timedelta

import dagster as dg

from lab_pipeline.dagster_ext.internals import get_smallest_cron_interval
from lab_pipeline.statistics.catalog import FORMAT

STATISTICS = {
    "overview": "Runs by status, tokens, callers, trades, mean and median net return, win rate.",
    "pnl": "Net returns by day, week, month, token, caller and strategy.",
    "distribution": "How returns, trades a run, holding times and all-time highs are spread.",
    "correlation": "How what was known before the entry goes with what came after it, over calls.",
}
LEADERBOARDS = {
    "runs": "Runs by pnl, Sharpe ratio, stability, win rate, profit factor, drawdown, or on the Pareto frontier.",
    "strategies": "Versions of strategies, by the medians of their runs.",
    "callers": "Callers by what their calls surely return: a few lucky calls do not lead.",
}
SOURCES = [dg.AssetKey(["backtest", name]) for name in ("trades", "paths", "equity", "summary", "nightly")]

TOTALS_AGREE, WIN_RATES, COUNTS = "totals_agree", "win_rates_are_shares", "counts_equal_the_manifests"
OVERVIEW_KEY = dg.AssetKey(["statistics", "overview"])
PNL_KEY = dg.AssetKey(["statistics", "pnl"])

CODE_VERSION = str(FORMAT)
"""Tables of an earlier format count as none, so the first `lab up` of a new one computes them."""


def asset_specs(cron: str) -> list[dg.AssetSpec]:
    """Describe the assets; each is to be fresh whenever the schedule has ticked.

    Statistics ask to be computed when a backtest has been published since; the leaderboards come with them.
    """
    freshness = dg.FreshnessPolicy.cron(
        deadline_cron=cron,
        lower_bound_delta=get_smallest_cron_interval(cron),  # the largest that the policy admits
    )
    specs = []
    for group, names in (("statistics", STATISTICS), ("leaderboard", LEADERBOARDS)):
        for name, description in names.items():
            specs.append(
                dg.AssetSpec(
                    [group, name],
                    deps=SOURCES if group == "statistics" else [["statistics", one] for one in STATISTICS],
                    description=description,
                    group_name=group,
                    kinds={"duckdb"},
                    code_version=CODE_VERSION,
                    freshness_policy=freshness,
                    automation_condition=_when_backtests_have_run() if group == "statistics" else None,
                )
            )
    return specs


def check_specs() -> list[dg.AssetCheckSpec]:
    """Describe the checks."""
    return [
        dg.AssetCheckSpec(
            TOTALS_AGREE,
            asset=PNL_KEY,
            description="Trades, wins and net returns of every grouping add up to the overview, to the last digit.",
        ),
        dg.AssetCheckSpec(WIN_RATES, asset=OVERVIEW_KEY, description="Every win rate lies between 0 and 1."),
        dg.AssetCheckSpec(
            COUNTS, asset=OVERVIEW_KEY, description="Every run has as many trades and paths as its manifest says."
        ),
    ]


def keys() -> list[dg.AssetKey]:
    """Return the keys of all assets of the statistics."""
    return [dg.AssetKey([group, name]) for group, names in
            (("statistics", STATISTICS), ("leaderboard", LEADERBOARDS)) for name in names]  # fmt: skip


def _when_backtests_have_run() -> dg.AutomationCondition[dg.AssetKey]:
    # not `eager`, which waits until no backtest runs: in a busy lab that is never
    updated = dg.AutomationCondition.any_deps_updated().since_last_handled()
    # what ran before the first look, as by `lab demo` before the first `lab up`, was never updated *since*
    first = dg.AutomationCondition.initial_evaluation()
    other = dg.AutomationCondition.code_version_changed()
    due = (updated | first | other) & ~dg.AutomationCondition.in_progress()
    return due.with_label("backtests have run since")


MINIMUM_SECONDS_BETWEEN = timedelta(seconds=30)
"""Backtests that end in quick succession are counted together."""
