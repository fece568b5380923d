"""Statistics and leaderboards over HTTP."""

from lab_pipeline.api.schemas.base import Answer, Moment


class Computed(Answer):
    """An answer made of computed numbers."""

    computed_at: Moment
    """When the numbers were computed."""


class OverviewAnswer(Computed):
    """All runs in numbers; what is undefined without trades is null."""

    total_runs: int
    runs_by_status: dict[str, int]
    total_tokens: int
    """Tokens with a trade."""
    total_callers: int
    """Callers with a trade."""
    total_trades: int
    total_wins: int
    """Trades with a net return above zero."""
    total_pnl: float
    """Sum of the net returns of the trades."""
    avg_pnl: float | None
    """Mean net return of a trade."""
    median_pnl: float | None
    win_rate: float | None


class PnlGroup(Answer):
    """Trades that have a day, week, month, token, caller or strategy in common."""

    key: str
    """`2025-01-31`, `2025-W05`, `2025-01`, or a name."""
    run_count: int
    """Runs with a trade in it."""
    trade_count: int
    total_pnl: float
    """Sum of net returns."""
    avg_pnl: float
    min_pnl: float
    max_pnl: float
    win_rate: float


class PnlPage(Computed):
    """Groups in the order of their keys; those without a trade are absent."""

    groups: list[PnlGroup]
    next_cursor: str | None


class BucketAnswer(Answer):
    """Values from `lower`, inclusive, to `upper`, exclusive; null for an open end."""

    bucket: str
    lower: float | None
    upper: float | None
    count: int


class DistributionAnswer(Computed):
    """How values are spread, by metric."""

    distributions: dict[str, list[BucketAnswer]]


class CorrelationPair(Answer):
    """A feature known before the entry, and an outcome."""

    metric1: str
    metric2: str
    correlation: float | None
    """From -1 to 1; null where undefined."""
    low: float | None
    """Lower end of the 95 % interval."""
    high: float | None
    n: int
    """Calls that have both."""


class CorrelationAnswer(Computed):
    """Every asked feature with every outcome."""

    correlations: list[CorrelationPair]


class RankedRun(Answer):
    """A run and its rank."""

    rank: int
    run_id: str
    strategy_id: str
    strategy_name: str
    strategy_version: str
    timeframe: str
    completed_at: Moment
    pnl: float
    """Total return times initial capital, in quote currency."""
    total_return: float
    trades: int
    wins: int
    win_rate: float | None
    expectancy: float | None
    expectancy_low: float | None
    expectancy_high: float | None
    max_drawdown: float
    profit_factor: float | None
    sharpe: float | None
    sortino: float | None
    stability: float | None
    """R² of the line through the running total of the daily returns, with the sign of its slope."""


class RunLeaderboard(Computed):
    """Runs, best first."""

    leaderboard: list[RankedRun]
    next_cursor: str | None


class RankedStrategy(Answer):
    """A version of a strategy and its rank: trades pooled, the rest medians of its runs."""

    rank: int
    strategy_id: str
    strategy_name: str
    strategy_version: str
    runs: int
    trades: int
    wins: int
    win_rate: float | None
    pnl: float
    total_return: float
    max_drawdown: float
    profit_factor: float | None
    sharpe: float | None
    stability: float | None


class StrategyLeaderboard(Computed):
    """Versions of strategies, best first."""

    leaderboard: list[RankedStrategy]
    next_cursor: str | None


class RankedCaller(Answer):
    """A caller and its rank; a call counts once, with its mean net return over all runs."""

    rank: int
    caller: str
    calls: int
    trades: int
    wins: int
    win_rate: float
    win_rate_low: float
    """Wilson's lower bound, which decides about the rank."""
    pnl: float
    """Sum over calls of their mean net returns, in stakes."""
    mean_return: float
    mean_return_low: float | None
    """Lower end of the 95 % interval, which decides about the rank."""
    mean_return_high: float | None
    max_drawdown: float
    """Deepest fall of the running sum of the calls' returns, in stakes."""
    profit_factor: float | None
    sharpe: float | None
    sharpe_low: float | None
    stability: float | None
    established: bool
    """Whether it has calls enough to be ranked among the others; behind them if not."""


class CallerLeaderboard(Computed):
    """Callers, best first."""

    leaderboard: list[RankedCaller]
    next_cursor: str | None
