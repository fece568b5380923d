"""The headline numbers of a run."""

from lab_pipeline.domain.model import Record


class Summary(Record):
    """One run in numbers; null where a number is undefined, never NaN.

    Every simulated trade counts in trades, wins, win_rate, profit_factor, expectancy and avg_hold_minutes,
    taken by the portfolio or not; total_return, max_drawdown, sharpe, sortino, avg_exposure and fees_paid
    describe the portfolio. Names are those of `summary.json`.
    """

    calls: int
    """Calls that were simulated."""
    entered: int
    """Calls that bought at least once."""
    trades: int
    """Trades of all calls, re-entries included."""
    wins: int
    """Trades with net_return > 0."""
    win_rate: float | None
    """wins / trades."""
    total_return: float
    """Final equity / initial capital - 1."""
    max_drawdown: float
    """Largest fall of the equity from its running maximum, a positive fraction."""
    profit_factor: float | None
    """Sum of the positive net returns / absolute sum of the negative ones; null without losses."""
    expectancy: float | None
    """Mean net_return of a trade."""
    expectancy_low: float | None
    """Lower end of the 95 % confidence interval of the expectancy, by seeded bootstrap over trades."""
    expectancy_high: float | None
    """Upper end of that interval."""
    sharpe: float | None
    """Mean / standard deviation (ddof 1) of UTC-daily equity returns, times the square root of 365."""
    sortino: float | None
    """The same with the root of the summed squares of the negative returns / (n - 1) below."""
    avg_hold_minutes: float | None
    """Mean time from entry to exit, in minutes."""
    avg_exposure: float | None
    """Mean of position value / equity over the series."""
    fees_paid: float
    """Fees of all fills of the taken trades, in quote currency; slippage is in the prices."""
    ambiguous_candles: int
    """Candles that reached both a target and the stop."""
    skipped_no_cash: int
    """Trades that the portfolio had no cash for."""
    skipped_no_slot: int
    """Trades that the portfolio had no free position for."""
