"""What the plain Python hands from step to step."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from lab_pipeline.domain.enums import FillReason, Outcome, Side, SkipReason

if TYPE_CHECKING:
    from lab_pipeline.engine.reference_costs import Costs


class Candle(NamedTuple):
    """One candle; `timestamp` is its open time in milliseconds since the epoch, UTC."""

    timestamp: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    liquidity: float | None = None


class Tested(NamedTuple):
    """What a candle of an open trade was tested against: prices, infinite where there is no such level.

    `reason` is the rule that the stop is of; `ambiguous` tells whether the candle reached stop and target alike.
    """

    timestamp: int
    stop: float
    reason: FillReason
    target: float
    ambiguous: bool


@dataclass(frozen=True)
class Call:
    """One call; `called_at` in milliseconds since the epoch, UTC; `known` has its columns by name."""

    call_id: str
    caller: str
    mint: str
    called_at: int
    known: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Fill:
    """One buy or sell; `fraction` is of the position's original quantity.

    `place` is its candle's place in the window, `depth` what its impact is measured by, `at_level` and `at_low` are the
    prices at which it could have filled if it is a stop inside a candle, else `price`.
    """

    timestamp: int
    side: Side
    price: float
    fraction: float
    reason: FillReason
    place: int
    at_level: float
    at_low: float
    depth: float = 0.0
    quantity: float = 0.0
    fee: float = 0.0
    slippage: float = 0.0
    filled: float = 1.0


@dataclass
class Trade:
    """A buy and the sells that close it, the candles it saw with their levels, and what the portfolio made of it."""

    call: Call
    trade_no: int
    fills: list[Fill]
    seen: list[Candle]
    exit_index: int
    mfe: float
    mae: float
    costs: "Costs"
    stop_distance: float
    tested: list[Tested] = field(default_factory=list)
    exit_price: float = 0.0
    gross_return: float = 0.0
    net_return: float = 0.0
    net_at_level: float = 0.0
    net_at_low: float = 0.0
    net_if_dead: float = 0.0
    proceeds: float = 0.0
    quantity: float = 0.0
    invested: float = 0.0
    pnl: float = 0.0
    skip_reason: SkipReason | None = None

    @property
    def entry(self) -> Fill:
        """The buy."""
        return self.fills[0]

    @property
    def exit(self) -> Fill:
        """The last sell."""
        return self.fills[-1]


@dataclass
class CallResult:
    """What became of a call; `path` is the row of `frames.PATHS` of a call that entered."""

    outcome: Outcome
    trades: list[Trade] = field(default_factory=list)
    ambiguous: int = 0
    resolved: int = 0
    path: tuple[object, ...] = ()
