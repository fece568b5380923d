"""The vocabulary of the contract: every choice of meaning is one of these."""

from enum import StrEnum


class EntryKind(StrEnum):
    """How a position is bought after a call."""

    MARKET = "market"
    DIP = "dip"
    REBOUND = "rebound"
    SIGNAL = "signal"


class IntrabarPolicy(StrEnum):
    """What is taken to happen first in a candle that reaches both a target and the stop."""

    STOP_FIRST = "stop_first"
    TARGET_FIRST = "target_first"
    NEAREST_OPEN = "nearest_open"
    FINER = "finer"


class ExitUse(StrEnum):
    """Whose targets and stop a position is sold by."""

    RULES = "rules"
    SIGNAL = "signal"


class ImpactModel(StrEnum):
    """How the size of a fill moves its price."""

    NONE = "none"
    VOLUME_SHARE = "volume_share"
    AMM = "amm"


class SizingKind(StrEnum):
    """How much of the portfolio a buy is given."""

    FIXED = "fixed"
    FRACTION = "fraction"
    RISK = "risk"


class SignalKind(StrEnum):
    """What a condition looks at."""

    EMA_CROSS = "ema_cross"
    SMA_CROSS = "sma_cross"
    RSI = "rsi"
    BREAKOUT = "breakout"
    VOLUME_SPIKE = "volume_spike"
    ICHIMOKU_CROSS = "ichimoku_cross"
    REGISTERED = "registered"


class CrossDirection(StrEnum):
    """Which way a level is crossed."""

    UP = "up"
    DOWN = "down"


class Side(StrEnum):
    """Direction of a fill."""

    BUY = "buy"
    SELL = "sell"


class FillReason(StrEnum):
    """Why a fill happened. All but the first two also occur as a trade's exit reason."""

    ENTRY = "entry"
    REENTRY = "reentry"
    TARGET = "target"
    STOP_LOSS = "stop_loss"
    BREAK_EVEN = "break_even"
    TRAILING_STOP = "trailing_stop"
    TIME = "time"
    SIGNAL = "signal"
    HORIZON = "horizon"
    END_OF_DATA = "end_of_data"


class Outcome(StrEnum):
    """What became of a call."""

    ENTERED = "entered"
    NO_ENTRY = "no_entry"
    NO_CANDLES = "no_candles"
    NOT_LONG = "not_long"
    FILTERED = "filtered"
    NO_HISTORY = "no_history"
    INVALID_PLAN = "invalid_plan"
    STAKE_TOO_SMALL = "stake_too_small"
    NO_LIQUIDITY = "no_liquidity"


class RunStatus(StrEnum):
    """Where a run is, in the words of the lab's answers."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"


class SkipReason(StrEnum):
    """Why the portfolio did not take a trade."""

    NO_CASH = "no_cash"
    NO_SLOT = "no_slot"
    MAX_PER_TOKEN = "max_per_token"  # noqa: S105 - a mint
    COOLDOWN = "cooldown"
    PAUSE_AFTER_LOSSES = "pause_after_losses"
    STOP_AT_DRAWDOWN = "stop_at_drawdown"


class LaneKind(StrEnum):
    """What a lane of `fill_certainty` assumes otherwise than the run does."""

    RUN = "run"
    STOPS = "stops"
    ENDED = "ended"
    STAKE = "stake"
    DELAY = "delay"
    STRESS = "stress"
    THIN = "thin"


class GroupBy(StrEnum):
    """By what trades are grouped: UTC day, ISO week and month of the call, token, caller or strategy."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    TOKEN = "token"  # noqa: S105 - a coin
    CALLER = "caller"
    STRATEGY = "strategy"


class Board(StrEnum):
    """What is ranked."""

    RUNS = "runs"
    STRATEGIES = "strategies"
    CALLERS = "callers"


class RankBy(StrEnum):
    """By what: the higher the better, but for the drawdown.

    `pareto` shows only those that no other beats in return, drawdown and stability at once, by their return.
    """

    PNL = "pnl"
    SHARPE = "sharpe"
    STABILITY = "stability"
    WIN_RATE = "winRate"
    PROFIT_FACTOR = "profitFactor"
    DRAWDOWN = "drawdown"
    PARETO = "pareto"


class Fault(StrEnum):
    """A way in which candles are not what a market does."""

    SPIKE = "spike"
    """A high far above both candles beside it, or a low far below them."""
    UNIT = "unit"
    """A price that begins far from where the one before ended, and stays there: another currency, or other decimals."""
    COPY = "copy"
    """The same prices at the same times as another token's."""
    FLAT = "flat"
    """Trades in a row that never move the price."""
    NO_VOLUME = "no_volume"
    RESTATED = "restated"
    """Candles in a row without a trade, as vendors fill gaps."""
