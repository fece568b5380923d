"""Statistics and leaderboards over HTTP."""

from lab_pipeline.api.schemas.base import Answer, Moment


class FillAssumptionsAnswer(Answer):
    """What some of the runs behind an answer assume of their fills."""

    fills: str
    """Its id; as `fills=` it selects those runs."""
    assumptions: str
    """In words, such as `stops 0.5 through, stop first, fee 30 bps`."""
    runs: int
    """How many runs that is."""


class Computed(Answer):
    """An answer made of computed numbers."""

    computed_at: Moment
    """When the numbers were computed."""
    fill_assumptions: list[FillAssumptionsAnswer]
    """What the runs that were counted assume of their fills, the most frequent first."""
    fills_note: str | None
    """Says so where they differ, and their numbers are therefore not comparable; null where they do not."""


class OverviewAnswer(Computed):
    """All runs in numbers; what is undefined without trades is null."""

    total_runs: int
    """Backtests, whatever became of them."""
    runs_by_status: dict[str, int]
    """How many are `queued`, `running`, `completed`, `failed`, `canceled`."""
    total_tokens: int
    """Tokens with a trade."""
    total_callers: int
    """Callers with a trade."""
    total_trades: int
    """Trades of all completed runs."""
    total_wins: int
    """Trades with a net return above zero."""
    total_pnl: float
    """Sum of the net returns of the trades."""
    avg_pnl: float | None
    """Mean net return of a trade."""
    median_pnl: float | None
    """Median net return of a trade, a fraction."""
    win_rate: float | None
    """Share of the trades that are wins, from 0 to 1."""


class PnlGroup(Answer):
    """Trades that have a day, week, month, token, caller or strategy in common."""

    key: str
    """`2025-01-31`, `2025-W05`, `2025-01`, or a name."""
    run_count: int
    """Runs with a trade in it."""
    trade_count: int
    """Its trades."""
    total_pnl: float
    """Sum of net returns."""
    avg_pnl: float
    """Mean net return of a trade, a fraction."""
    min_pnl: float
    """Lowest net return."""
    max_pnl: float
    """Highest net return."""
    win_rate: float
    """Share of its trades with a net return above zero, from 0 to 1."""
    fills: str | None
    """Id of what the runs assume of their fills; null where they differ, so that its numbers are a mixture."""


class PnlPage(Computed):
    """Groups in the order of their keys; those without a trade are absent."""

    groups: list[PnlGroup]
    """In the order of their keys."""
    next_cursor: str | None
    """Leads to the next page; null on the last."""


class BucketAnswer(Answer):
    """Values from `lower`, inclusive, to `upper`, exclusive; null for an open end."""

    bucket: str
    """Its name, made of its edges."""
    lower: float | None
    """First value in it; null for none."""
    upper: float | None
    """First value above it; null for none."""
    count: int
    """Values in it."""


class DistributionAnswer(Computed):
    """How values are spread, by metric."""

    distributions: dict[str, list[BucketAnswer]]
    """Buckets in ascending order, by what is spread: `pnl`, `trades`, `holdMinutes`, `athMultiple`, as asked for."""


class CorrelationPair(Answer):
    """A feature known before the entry, and an outcome."""

    metric1: str
    """The feature, such as `preReturn1h`."""
    metric2: str
    """The outcome, such as `netReturn`."""
    correlation: float | None
    """From -1 to 1; null where undefined."""
    low: float | None
    """Lower end of the 95 % interval."""
    high: float | None
    """Upper end of the 95 % interval; null where undefined."""
    n: int
    """Calls that have both."""


class CorrelationAnswer(Computed):
    """Every asked feature with every outcome."""

    correlations: list[CorrelationPair]
    """A pair each, those of one feature together."""


class RankedRun(Answer):
    """A run and its rank."""

    rank: int
    """From 1; equal values have ranks of their own, in the order that docs/statistics.md gives."""
    run_id: str
    """Of the run."""
    strategy_id: str
    """Id of the strategy."""
    strategy_name: str
    """Its name."""
    strategy_version: str
    """Its version."""
    timeframe: str
    """Length of the candles, such as `5m`."""
    fills: str
    """Id of what the run assumes of its fills: that of equal id is comparable."""
    fill_assumptions: str
    """The same in words, such as `stops 0.5 through, stop first, fee 30 bps`."""
    completed_at: Moment
    """When it ended, UTC."""
    pnl: float
    """Total return times initial capital, in quote currency."""
    total_return: float
    """Final equity over initial capital, less one; a fraction."""
    trades: int
    """Its trades."""
    wins: int
    """Those with a net return above zero."""
    win_rate: float | None
    """Share of wins, from 0 to 1; null without trades."""
    expectancy: float | None
    """Mean net return of a trade, a fraction; null without trades."""
    expectancy_low: float | None
    """Lower end of its 95 % interval."""
    expectancy_high: float | None
    """Upper end of its 95 % interval."""
    max_drawdown: float
    """Deepest fall of the equity from its peak, from 0 to 1."""
    profit_factor: float | None
    """Gains over losses of its trades; null where there is no loss."""
    sharpe: float | None
    """Annualised, of the daily returns; null where undefined."""
    sortino: float | None
    """Annualised, of the daily returns; null where undefined."""
    stability: float | None
    """R² of the line through the running total of the daily returns, with the sign of its slope."""


class RunLeaderboard(Computed):
    """Runs, best first."""

    leaderboard: list[RankedRun]
    """Best first."""
    next_cursor: str | None
    """Leads to the next page; null on the last."""


class RankedStrategy(Answer):
    """A version of a strategy whose runs assume the same of their fills: trades pooled, the rest their medians."""

    rank: int
    """From 1; equal values have ranks of their own, in the order that docs/statistics.md gives."""
    strategy_id: str
    """Id of the strategy."""
    strategy_name: str
    """Its name."""
    strategy_version: str
    """Its version."""
    fills: str
    """Id of what it assumes of its fills: that of equal id is comparable."""
    fill_assumptions: str
    """The same in words, such as `stops 0.5 through, stop first, fee 30 bps`."""
    runs: int
    """Its completed runs."""
    trades: int
    """Of all its runs together."""
    wins: int
    """Trades with a net return above zero."""
    win_rate: float | None
    """Share of wins, from 0 to 1; null without trades."""
    pnl: float
    """Median of its runs, in quote currency."""
    total_return: float
    """Median of its runs, a fraction."""
    max_drawdown: float
    """Median of its runs, from 0 to 1."""
    profit_factor: float | None
    """Gains over losses of all trades; null where there is no loss."""
    sharpe: float | None
    """Median of its runs that have one."""
    stability: float | None
    """Median of its runs that have one, from -1 to 1."""


class StrategyLeaderboard(Computed):
    """Versions of strategies, best first."""

    leaderboard: list[RankedStrategy]
    """Best first."""
    next_cursor: str | None
    """Leads to the next page; null on the last."""


class RankedCaller(Answer):
    """A caller and its rank; a call counts once, with its mean net return over all runs."""

    rank: int
    """From 1; equal values have ranks of their own, in the order that docs/statistics.md gives."""
    caller: str
    """Its name."""
    fills: str | None
    """Id of what the runs assume of their fills; null where they differ, so that its numbers are a mixture."""
    calls: int
    """Its calls that were traded."""
    trades: int
    """Trades on them, in all runs."""
    wins: int
    """Trades with a net return above zero."""
    win_rate: float
    """Share of wins among its trades, from 0 to 1."""
    win_rate_low: float
    """Wilson's lower bound, which decides about the rank."""
    pnl: float
    """Sum over calls of their mean net returns, in stakes."""
    mean_return: float
    """Mean over calls, a fraction."""
    mean_return_low: float | None
    """Lower end of the 95 % interval, which decides about the rank."""
    mean_return_high: float | None
    """Upper end of the 95 % interval; null for a single call."""
    max_drawdown: float
    """Deepest fall of the running sum of the calls' returns, in stakes."""
    profit_factor: float | None
    """Gains over losses of its calls' mean net returns; null where there is no loss."""
    sharpe: float | None
    """Mean over standard deviation of the calls' returns, not annualised; null where undefined."""
    sharpe_low: float | None
    """Lower end of its 95 % interval, which decides about the rank."""
    stability: float | None
    """As of a run, over the calls in the order of time."""
    established: bool
    """Whether it has calls enough to be ranked among the others; behind them if not."""


class CallerLeaderboard(Computed):
    """Callers, best first."""

    leaderboard: list[RankedCaller]
    """Best first."""
    next_cursor: str | None
    """Leads to the next page; null on the last."""
