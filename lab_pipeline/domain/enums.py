"""The vocabulary of the contract: every choice of meaning is one of these."""

from enum import StrEnum


class EntryKind(StrEnum):
    """How a position is bought after a call."""

    MARKET = "market"
    DIP = "dip"
    REBOUND = "rebound"


class IntrabarPolicy(StrEnum):
    """What is taken to happen first in a candle that reaches both a target and the stop."""

    STOP_FIRST = "stop_first"
    TARGET_FIRST = "target_first"
    NEAREST_OPEN = "nearest_open"


class SizingKind(StrEnum):
    """How much of the portfolio a buy is given."""

    FIXED = "fixed"
    FRACTION = "fraction"
    RISK = "risk"


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
    HORIZON = "horizon"
    END_OF_DATA = "end_of_data"


class Outcome(StrEnum):
    """What became of a call."""

    ENTERED = "entered"
    NO_ENTRY = "no_entry"
    NO_CANDLES = "no_candles"


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
