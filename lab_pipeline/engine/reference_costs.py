"""What fills cost, in plain Python.

Where the contract leaves room:

- A buy that is not cut spends its stake to the last digit; cash pays for what was spent.
- The traded value is at most 1e30 times what its impact is measured by.
- A candle's liquidity is known from its close on: fills at a close may use that of their own candle, all others that
  of earlier ones, at most 60 minutes from that close to the label of the fill's candle, or to its close.
- A call whose pool nobody tells at the buy has outcome no_liquidity; a sell whose pool is not known any more brings
  nothing, as one into an empty pool. Into an empty pool a buy fills at maxSlippage.
- Where there is no stop, risk sizing takes the whole stake to be at risk.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from lab_pipeline.domain.enums import FillReason, Outcome
from lab_pipeline.domain.strategy import (
    AmmImpact,
    FixedSizing,
    FractionSizing,
    RiskSizing,
    StrategyConfig,
    VolumeShareImpact,
)
from lab_pipeline.engine.history import POOL_AGE_MS
from lab_pipeline.engine.reference_records import Call, Candle, Fill

LARGEST_SHARE = 1e30
UNKNOWN = math.nan


class Placed(Protocol):
    """A buy: its candle's place in the window, and its price."""

    @property
    def place(self) -> int:
        """Place in the window."""

    @property
    def price(self) -> float:
        """Price before slippage."""


class Purchase(NamedTuple):
    """What a buy spends and brings: `filled` is the part of the wanted value, `slippage` a fraction of the price."""

    quantity: float
    spent: float
    value: float
    slippage: float
    filled: float


class Costs:
    """What the fills of one call cost."""

    def __init__(
        self, config: StrategyConfig, call: Call, candles: Sequence[Candle], first: int, timeframe: int
    ) -> None:
        """Take the strategy, the candles of the mint, and the place of the window's first among them."""
        self.by_size = config.costs.by_size
        self.fee, self.slip = config.costs.fee_bps / 1e4, config.costs.slippage_bps / 1e4
        self.fixed_fee = config.costs.fixed_fee
        self.impact = config.costs.impact
        self.portfolio = config.portfolio
        self.candles, self.first, self.timeframe = candles, first, timeframe
        self.liquidity = call.known.get("liquidity_at_call")

    def stake(self, stop_distance: float) -> float:
        """Return what the sizing gives a trade on the initial capital."""
        return sized(self.portfolio.sizing, self.portfolio.initial_capital, stop_distance)

    def buy_for_stake(self, bought: Placed, stop_distance: float) -> Purchase | Outcome:
        """Buy for the stake, or say why that cannot be."""
        stake = self.stake(stop_distance)
        depth = self.depth_at(bought.place, bought.price, at_close=False)
        if self.by_size and stake <= self.fixed_fee:
            return Outcome.STAKE_TOO_SMALL
        if isinstance(self.impact, AmmImpact) and math.isnan(depth):
            return Outcome.NO_LIQUIDITY
        purchase = self.buy(stake, bought.price, depth)
        return purchase if purchase.value > 0 else Outcome.NO_LIQUIDITY

    def buy(self, amount: float, price: float, depth: float) -> Purchase:
        """Buy for an amount of cash, costs included."""
        if not self.by_size:
            quantity = amount / (price * (1.0 + self.slip) * (1.0 + self.fee))
            return Purchase(quantity, amount, amount, self.slip, 1.0)
        wanted = (amount - self.fixed_fee) / (1.0 + self.fee)
        value = wanted
        if isinstance(self.impact, VolumeShareImpact) and self.impact.max_share is not None:
            value = min(wanted, self.impact.max_share * depth)
        slippage = self.slippage(value, depth, buying=True)
        quantity = value / (price * (1.0 + slippage))
        spent = amount if value == wanted else value * (1.0 + self.fee) + self.fixed_fee
        return Purchase(quantity, spent, value, slippage, value / wanted)

    def sell(self, quantity: float, price: float, depth: float) -> tuple[float, float, float]:
        """Return proceeds, slippage and fee of a sell."""
        if not self.by_size:
            value = quantity * price * (1.0 - self.slip)
            return value * (1.0 - self.fee), self.slip, value * self.fee
        value = quantity * price
        slippage = self.slippage(value, depth, buying=False)
        paid = value * (1.0 - slippage)
        proceeds = max(0.0, paid * (1.0 - self.fee) - self.fixed_fee)
        return proceeds, slippage, min(paid, paid * self.fee + self.fixed_fee)

    def slippage(self, value: float, depth: float, *, buying: bool) -> float:
        """Return by which part of the price a fill of this value is worse."""
        impact = self.impact
        if isinstance(impact, VolumeShareImpact):
            if depth == 0:
                return impact.max_slippage
            share = min(value / depth, LARGEST_SHARE)
            return min(impact.max_slippage, self.slip + impact.coefficient * float(share**impact.exponent))
        if isinstance(impact, AmmImpact):
            if not depth > 0:  # empty, or not known
                return impact.max_slippage if buying else 1.0
            share = min(value / depth, LARGEST_SHARE)
            moved = self.slip + share if buying else 1.0 - (1.0 - self.slip) / (1.0 + share)
            return min(impact.max_slippage, moved)
        return self.slip

    def depth(self, fill: Fill, price: float) -> float:
        """Return what the impact of a fill is measured by, if it fills at this price."""
        at_close = fill.reason in {FillReason.HORIZON, FillReason.END_OF_DATA}
        return self.depth_at(fill.place, price, at_close=at_close)

    def depth_at(self, place: int, price: float, *, at_close: bool) -> float:
        """Return the value that a candle traded, or half of the pool's value; NaN where nobody tells it."""
        candle = self.candles[self.first + place]
        if isinstance(self.impact, VolumeShareImpact):
            return candle.volume * (candle.open + candle.high + candle.low + candle.close) / 4.0
        if not isinstance(self.impact, AmmImpact):
            return 0.0
        moment = candle.timestamp + (self.timeframe if at_close else 0)
        for earlier in reversed(self.candles[: self.first + place + at_close]):
            if moment - (earlier.timestamp + self.timeframe) > POOL_AGE_MS:
                break
            if earlier.liquidity is not None:
                return earlier.liquidity / 2.0
        liquidity = self.impact.liquidity if self.liquidity is None else self.liquidity
        if liquidity is None:
            return UNKNOWN
        return liquidity * math.sqrt(price / self.candles[self.first].open) / 2.0

    def per_unit(self, sells: Sequence[Fill], last_price: float) -> float:
        """Return the proceeds of a token that was bought, without regard to the size of the fills."""
        proceeds = 0.0
        for fill in sells:
            price = last_price if fill is sells[-1] else fill.price
            proceeds += fill.fraction * price * (1.0 - self.slip) * (1.0 - self.fee)
        return proceeds

    def received(self, sells: Sequence[Fill], quantity: float, last_price: float) -> float:
        """Return the proceeds of all sells of a position if the last fills at this price."""
        proceeds = 0.0
        for fill in sells:
            price, depth = fill.price, fill.depth
            if fill is sells[-1] and price != last_price:
                price, depth = last_price, self.depth(fill, last_price)
            proceeds += self.sell(quantity * fill.fraction, price, depth)[0]
        return proceeds

    def net_return(self, fills: Sequence[Fill], purchase: Purchase, last_price: float) -> float:
        """Return the net return of a trade if its last sell fills at this price."""
        if self.by_size:
            return self.received(fills[1:], purchase.quantity, last_price) / purchase.spent - 1.0
        entry = fills[0].price
        return self.per_unit(fills[1:], last_price) / (entry * (1.0 + self.slip) * (1.0 + self.fee)) - 1.0


def sized(sizing: FixedSizing | FractionSizing | RiskSizing, equity: float, stop_distance: float) -> float:
    """Return what a sizing gives a buy of an account of this equity."""
    match sizing:
        case FixedSizing():
            return sizing.amount
        case FractionSizing():
            return equity * sizing.fraction
        case RiskSizing():
            most = equity * sizing.max_fraction
            return min(equity * sizing.fraction / stop_distance, most) if stop_distance > 0 else most
