"""The headline numbers of a run."""

from lab_pipeline.domain.enums import SkipReason
from lab_pipeline.domain.model import Record


class Summary(Record):
    """One run in numbers; null where a number is undefined, never NaN.

    Every simulated trade counts in trades, wins, win_rate, profit_factor, expectancy and avg_hold_minutes,
    taken by the portfolio or not; total_return, max_drawdown, sharpe, sortino, avg_exposure and fees_paid
    describe the portfolio; what ends in _taken is about the trades that it took. Names are those of `summary.json`,
    which has no more than the first of them in runs of earlier engines.
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
    """Lower end of the 95 % confidence interval of the expectancy, by clusters of days or of callers, whichever is the
    wider; null where all trades are of one day. In runs of engines before 3 by bootstrap over trades."""
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
    skipped_max_per_token: int = 0
    """Trades on a token on which as many positions were open as may be."""
    skipped_cooldown: int = 0
    """Trades on a token on which a position had just been closed."""
    skipped_pause_after_losses: int = 0
    """Trades in a pause after losses."""
    skipped_stop_at_drawdown: int = 0
    """Trades after the equity had fallen too far."""
    ambiguous_resolved: int = 0
    """Of the ambiguous candles, those that finer candles decided."""
    ambiguous_unresolved: int = 0
    """Those that an assumption decided."""
    expectancy_stop_at_level: float | None = None
    """Expectancy of the same trades had every stop inside a candle filled at its level."""
    expectancy_stop_at_low: float | None = None
    """Expectancy of the same trades had every stop inside a candle filled at its low."""
    expectancy_if_dead: float | None = None
    """Expectancy of the same trades had tokens whose candles end been worth nothing."""
    ended_trades: int = 0
    """Trades that were sold because the candles ended."""
    taken_trades: int = 0
    """Trades that the portfolio took."""
    expectancy_taken: float | None = None
    """Mean net_return of a taken trade."""
    win_rate_taken: float | None = None
    """Taken trades with net_return > 0 / taken_trades."""
    profit_factor_taken: float | None = None
    """profit_factor of the taken trades."""

    @property
    def skipped(self) -> dict[SkipReason, int]:
        """Trades that the portfolio did not take, by the reason; every reason is there."""
        return {reason: getattr(self, f"skipped_{reason}") for reason in SkipReason}
