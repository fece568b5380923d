"""The portfolio pass in plain Python; `portfolio` says what holds where the contract leaves room."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from lab_pipeline.domain.enums import Side, SkipReason
from lab_pipeline.domain.strategy import FixedSizing, StrategyConfig, minutes_to_ms
from lab_pipeline.engine.reference_costs import sized
from lab_pipeline.engine.reference_records import Fill, Trade

ROUNDING = 1e-9


class Event(NamedTuple):
    """A fill on its way to the account; sorts into the order in which they arrive."""

    timestamp: int
    phase: int
    trade: int
    fill: int


def events_of(trades: Sequence[Trade]) -> list[Event]:
    """Order all fills: by time; then sells of older positions, buys, sells of positions bought at this very time."""
    events = []
    for number, trade in enumerate(trades):
        for index, fill in enumerate(trade.fills):
            older = trade.entry.timestamp < fill.timestamp
            phase = 1 if fill.side is Side.BUY else 0 if older else 2
            events.append(Event(fill.timestamp, phase, number, index))
    return sorted(events)


class Account:
    """Cash and open positions, with what is left of each."""

    def __init__(self, config: StrategyConfig, timeframe: int) -> None:
        """Start with the initial capital."""
        self.portfolio = config.portfolio
        self.timeframe = timeframe
        self.cash = config.portfolio.initial_capital
        self.positions: list[tuple[Trade, list[float]]] = []
        self.closed: dict[str, int] = {}
        self.losses = 0
        self.paused_until: int | None = None
        self.highest = self.cash
        self.label: int | None = None
        self.stopped_from: int | None = None

    def buy(self, trade: Trade) -> None:
        """Open a position of the trade's size."""
        self.cash -= trade.invested
        self.positions.append((trade, [1.0]))
        if self.label is None:
            self.label = trade.entry.timestamp

    def sell(self, trade: Trade, fill: Fill) -> None:
        """Take the proceeds of a sell; the last one closes the position."""
        self.cash += self.received(trade, fill)
        for held, remaining in self.positions:
            if held is trade:
                remaining[0] -= fill.fraction
        if fill is not trade.exit:
            return
        self.positions = [position for position in self.positions if position[0] is not trade]
        self.closed[trade.call.mint] = fill.timestamp
        pause = self.portfolio.pause_after_losses
        self.losses = self.losses + 1 if trade.net_return <= 0 else 0
        if pause and self.losses == pause.count:
            self.losses = 0
            self.paused_until = fill.timestamp + minutes_to_ms(pause.minutes)

    def received(self, trade: Trade, fill: Fill) -> float:
        """Return the cash that a sell brings."""
        costs = trade.costs
        if not costs.by_size:
            return trade.quantity * fill.fraction * fill.price * (1.0 - costs.slip) * (1.0 - costs.fee)
        return costs.sell(trade.quantity * fill.fraction, fill.price, fill.depth)[0]

    def value(self, label: int) -> float:
        """Return the value of the positions at the closes of candles labelled up to `label`."""
        value = 0.0
        for trade, (remaining,) in self.positions:
            closes = [candle.close for candle in trade.seen if candle.timestamp <= label]
            value += trade.quantity * remaining * (closes[-1] if closes else trade.entry.price)
        return value

    def watch(self, now: int) -> None:
        """Follow the equity series over the steps whose labels are before `now`, for its drawdown."""
        limit = self.portfolio.stop_at_drawdown
        while limit is not None and self.label is not None and self.label < now:
            equity = self.cash + self.value(self.label)
            self.highest = max(self.highest, equity)
            allowed = ROUNDING * self.portfolio.initial_capital
            if self.stopped_from is None and equity - self.highest * (1.0 - limit) <= allowed:
                self.stopped_from = self.label + self.timeframe
            self.label += self.timeframe

    def amount(self, trade: Trade) -> float:
        """Return what a buy is given; only candles that have ended by then value the positions."""
        equity = 0.0
        if not isinstance(self.portfolio.sizing, FixedSizing):
            equity = self.cash + self.value(trade.entry.timestamp - self.timeframe)
        return sized(self.portfolio.sizing, equity, trade.stop_distance)

    def affords(self, amount: float) -> bool:
        """Return whether an order may be placed: it may exceed the cash by what rounding can make of equal orders."""
        lacking = amount - self.cash
        return amount >= 0 and lacking <= ROUNDING * min(amount, self.portfolio.initial_capital)

    def refuses(self, trade: Trade, amount: float) -> SkipReason | None:
        """Return why a trade is not taken, null if it is."""
        rules, now = self.portfolio, trade.entry.timestamp
        on_token = sum(held.call.mint == trade.call.mint for held, _ in self.positions)
        closed = self.closed.get(trade.call.mint)
        if rules.max_open_positions is not None and len(self.positions) >= rules.max_open_positions:
            return SkipReason.NO_SLOT
        if rules.max_per_token is not None and on_token >= rules.max_per_token:
            return SkipReason.MAX_PER_TOKEN
        if rules.cooldown_minutes and closed is not None and now - closed < minutes_to_ms(rules.cooldown_minutes):
            return SkipReason.COOLDOWN
        if self.paused_until is not None and now < self.paused_until:
            return SkipReason.PAUSE_AFTER_LOSSES
        if self.stopped_from is not None and now >= self.stopped_from:
            return SkipReason.STOP_AT_DRAWDOWN
        too_small = trade.costs.by_size and amount <= trade.costs.fixed_fee
        return SkipReason.NO_CASH if too_small or not self.affords(amount) else None

    def size(self, trade: Trade) -> None:
        """Decide whether a trade is taken, and how large it is."""
        amount = self.amount(trade)
        trade.skip_reason = self.refuses(trade, amount)
        buy = trade.entry
        if trade.skip_reason is not None:
            amount = trade.costs.stake(trade.stop_distance)  # what the columns of its fills are about
        purchase = trade.costs.buy(amount, buy.price, buy.depth)
        buy.slippage, buy.filled = purchase.slippage, purchase.filled
        for fill in trade.fills[1:]:
            fill.slippage = trade.costs.sell(purchase.quantity * fill.fraction, fill.price, fill.depth)[1]
        if trade.skip_reason is None:
            trade.quantity, trade.invested = purchase.quantity, purchase.spent
            sold = trade.quantity * trade.proceeds
            if trade.costs.by_size:
                sold = trade.costs.received(trade.fills[1:], trade.quantity, trade.exit.price)
            trade.pnl = sold - trade.invested


def run_portfolio(trades: Sequence[Trade], config: StrategyConfig, timeframe: int) -> list[tuple[object, ...]]:
    """Size the trades, which are changed, and return the rows of `frames.EQUITY`.

    Args:
        trades: ordered by called_at, call_id, trade_no.
        config: the strategy.
        timeframe: length of a candle in milliseconds.
    """
    events = events_of(trades)
    _size_trades(trades, events, Account(config, timeframe))
    for trade in trades:
        costs = trade.costs
        for fill in trade.fills:
            fill.quantity = trade.quantity * fill.fraction
            buying = fill.side is Side.BUY
            if not costs.by_size:
                paid = 1.0 + costs.slip if buying else 1.0 - costs.slip
                fill.fee = fill.quantity * fill.price * paid * costs.fee
            elif trade.skip_reason is not None:
                fill.fee = 0.0
            elif buying:
                fill.fee = fill.quantity * fill.price * (1.0 + fill.slippage) * costs.fee + costs.fixed_fee
            else:
                fill.fee = costs.sell(fill.quantity, fill.price, fill.depth)[2]
    taken = [event for event in events if trades[event.trade].skip_reason is None]
    return list(_series(trades, taken, Account(config, timeframe)))


def _size_trades(trades: Sequence[Trade], events: Sequence[Event], account: Account) -> None:
    for event in events:
        account.watch(event.timestamp)
        trade = trades[event.trade]
        fill = trade.fills[event.fill]
        if fill.side is Side.BUY:
            account.size(trade)
            if trade.skip_reason is None:
                account.buy(trade)
        elif trade.skip_reason is None:
            account.sell(trade, fill)


def _series(trades: Sequence[Trade], events: Sequence[Event], account: Account) -> Iterator[tuple[object, ...]]:
    if not events:
        return
    waiting = list(events)
    label, last = events[0].timestamp, events[-1].timestamp
    highest = account.cash
    while True:
        while waiting and waiting[0].timestamp <= label:
            event = waiting.pop(0)
            trade = trades[event.trade]
            fill = trade.fills[event.fill]
            if fill.side is Side.BUY:
                account.buy(trade)
            else:
                account.sell(trade, fill)
        value = account.value(label)
        equity = account.cash + value
        highest = max(highest, equity)
        exposure = min(value / equity, 1.0) if equity > 0 else 0.0
        stamp = label + account.timeframe
        yield stamp, equity, account.cash, exposure, equity / highest - 1.0, len(account.positions)
        if label >= last:
            return
        label += account.timeframe
