"""The contract in plain Python: slow, one call at a time, written to be read next to it.

`kernel` and `portfolio` are the same, compiled; tests hold that the two agree bit for bit. Where the contract
leaves room:

- Times are whole milliseconds. A market entry obeys the deadline too.
- A fill carries the label of its candle, at the end of the window too; so holding times count from label to label.
- Prices of fills are those of the candles and levels; slippage and fees enter returns, fees and cash alone.
- Trades and fills are numbered from 1; the buy is fill 1, with fraction 1.
- A re-entry has no deadline, and every re-entry is a trade of its own.
- `paths` and `portfolio` say what holds for them.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline.domain.enums import EntryKind, FillReason, IntrabarPolicy, Outcome, Side, SkipReason
from lab_pipeline.domain.strategy import (
    Exit,
    FixedSizing,
    FractionSizing,
    RiskSizing,
    StrategyConfig,
    minutes_to_ms,
)
from lab_pipeline.domain.timeframe import timeframe_ms
from lab_pipeline.engine.simulation import Simulation
from lab_pipeline.engine.summary import summarise

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
REMAINDER = 1e-12
ROUNDING = 1e-9
REENTRY_FOLLOWS = {FillReason.TARGET, FillReason.STOP_LOSS, FillReason.BREAK_EVEN, FillReason.TRAILING_STOP}


class Candle(NamedTuple):
    """One candle; `timestamp` is its open time in milliseconds since the epoch, UTC."""

    timestamp: int
    open: float
    high: float
    low: float
    close: float
    volume: float


class Call(NamedTuple):
    """One call; `called_at` in milliseconds since the epoch, UTC."""

    call_id: str
    caller: str
    mint: str
    called_at: int


class Bought(NamedTuple):
    """An entry: its candle's place in the window, price, and whether it fills inside the candle, not at its open."""

    place: int
    price: float
    inside: bool


@dataclass
class Fill:
    """One buy or sell; `fraction` is of the position's original quantity."""

    timestamp: int
    side: Side
    price: float
    fraction: float
    reason: FillReason
    quantity: float = 0.0
    fee: float = 0.0


@dataclass
class Trade:
    """A buy and the sells that close it, the candles it saw, and what the portfolio made of it."""

    call: Call
    trade_no: int
    fills: list[Fill]
    seen: list[Candle]
    exit_index: int
    mfe: float
    mae: float
    exit_price: float = 0.0
    gross_return: float = 0.0
    net_return: float = 0.0
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
    path: tuple[object, ...] = ()


def simulate(
    candles: pl.DataFrame, calls: pl.DataFrame, config: StrategyConfig, *, timeframe: str, seed: int = 0
) -> Simulation:
    """Do what `simulator.simulate` does, a call at a time. Arguments are not checked."""
    step = timeframe_ms(timeframe)
    ordered = [
        Call(*row) for row in calls.with_columns(pl.col("called_at").to_physical()).sort("called_at", "call_id").rows()
    ]
    of_mint: dict[str, list[Candle]] = {}
    for mint, *values in candles.with_columns(pl.col("timestamp").to_physical()).sort("mint", "timestamp").rows():
        of_mint.setdefault(mint, []).append(Candle(*values))
    results = [simulate_call(call, of_mint.get(call.mint, []), config, step) for call in ordered]
    trades = [trade for result in results for trade in result.trades]
    series = run_portfolio(trades, config, step)
    fills_frame, trades_frame = _fills_frame(trades), _trades_frame(trades)
    outcomes = _outcomes_frame(ordered, results)
    equity = _frame(frames.EQUITY, series)
    return Simulation(
        fills=fills_frame,
        trades=trades_frame,
        paths=_frame(frames.PATHS, [result.path for result in results if result.path]),
        outcomes=outcomes,
        equity=equity,
        summary=summarise(
            fills=fills_frame,
            trades=trades_frame,
            outcomes=outcomes,
            equity=equity,
            initial_capital=config.portfolio.initial_capital,
            timeframe=step,
            seed=seed,
        ),
    )


def simulate_call(call: Call, candles: Sequence[Candle], config: StrategyConfig, timeframe: int) -> CallResult:
    """Simulate one call on the candles of its mint.

    Args:
        call: the call.
        candles: ascending by time; those outside the call's window are ignored but for the features before the entry.
        config: the strategy.
        timeframe: length of a candle in milliseconds.
    """
    start = call.called_at + minutes_to_ms(config.entry.delay_minutes)
    end = call.called_at + minutes_to_ms(config.horizon_minutes)
    deadline = start + minutes_to_ms(config.entry.max_wait_minutes)
    window = [candle for candle in candles if start <= candle.timestamp < end]
    if not window:
        return CallResult(Outcome.NO_CANDLES)
    bought = find_entry(window, deadline, config)
    if bought is None:
        return CallResult(Outcome.NO_ENTRY)
    before = [candle for candle in candles if candle.timestamp < window[bought.place].timestamp]
    result = CallResult(Outcome.ENTERED, path=measure_path(call, window, bought, before))
    reentries = config.reentry.max_count if config.reentry else 0
    while bought is not None:
        trade, ambiguous = run_trade(
            call, len(result.trades) + 1, window, bought, end=end, config=config, timeframe=timeframe
        )
        result.trades.append(trade)
        result.ambiguous += ambiguous
        bought = None
        if config.reentry and len(result.trades) <= reentries and trade.exit.reason in REENTRY_FOLLOWS:
            limit = trade.exit.price * (1.0 - config.reentry.retrace)
            bought = find_dip(window, trade.exit_index + 1, end, limit)
    return result


def find_entry(window: Sequence[Candle], deadline: int, config: StrategyConfig) -> Bought | None:
    """Find the first buy before the deadline."""
    first = window[0]
    if first.timestamp >= deadline:
        return None
    fraction = config.entry.fraction or 0.0
    match config.entry.kind:
        case EntryKind.MARKET:
            return Bought(0, first.open, inside=False)
        case EntryKind.DIP:
            return find_dip(window, 0, deadline, first.open * (1.0 - fraction))
        case EntryKind.REBOUND:
            return find_rebound(window, deadline, fraction)


def find_dip(window: Sequence[Candle], begin: int, deadline: int, limit: float) -> Bought | None:
    """Wait with a limit buy from candle `begin` on, before `deadline`."""
    for index, candle in enumerate(window):
        if index < begin:
            continue
        if candle.timestamp >= deadline:
            return None
        if candle.open <= limit:
            return Bought(index, candle.open, inside=False)
        if candle.low <= limit:
            return Bought(index, limit, inside=True)
    return None


def find_rebound(window: Sequence[Candle], deadline: int, fraction: float) -> Bought | None:
    """Wait for the price to rise by `fraction` above the lowest low of the candles before."""
    trough = window[0].open
    for index, candle in enumerate(window):
        if candle.timestamp >= deadline:
            return None
        level = trough * (1.0 + fraction)
        if candle.open >= level:
            return Bought(index, candle.open, inside=False)
        if candle.high >= level:
            return Bought(index, level, inside=True)
        trough = min(trough, candle.low)
    return None


class Position:
    """The state of an open trade."""

    def __init__(self, entry: float, config: StrategyConfig) -> None:
        """Open it at the entry price."""
        self.entry = entry
        self.rules: Exit = config.exit
        self.policy = config.intrabar
        self.remaining = 1.0
        self.targets_filled = 0
        self.peak = entry
        self.armed = False
        self.break_even = False
        self.fills: list[Fill] = []
        self.ambiguous = 0
        self.update(entry)

    def update(self, high: float) -> None:
        """Step 4: take what the next candle is tested against from this one."""
        self.peak = max(self.peak, high)
        if self.rules.trailing and self.peak >= self.entry * self.rules.trailing.activation:
            self.armed = True
        if self.rules.break_even_after is not None and self.targets_filled >= self.rules.break_even_after:
            self.break_even = True

    def stop(self) -> tuple[float, FillReason]:
        """Return the stop level, minus infinity without one, and its reason."""
        levels = [(-math.inf, FillReason.STOP_LOSS)]
        if self.rules.stop_loss is not None:
            levels.append((self.entry * (1.0 - self.rules.stop_loss), FillReason.STOP_LOSS))
        if self.break_even:
            levels.append((self.entry, FillReason.BREAK_EVEN))
        if self.armed and self.rules.trailing:
            levels.append((self.peak * (1.0 - self.rules.trailing.distance), FillReason.TRAILING_STOP))
        return max(levels, key=lambda level: level[0])  # the first of equal ones

    def target_level(self) -> float:
        """Return the level of the next target, infinity without one."""
        if self.targets_filled == len(self.rules.targets):
            return math.inf
        return self.entry * self.rules.targets[self.targets_filled].multiple

    def sell(self, candle: Candle, price: float, fraction: float, reason: FillReason) -> None:
        """Sell a part of the position."""
        self.fills.append(Fill(candle.timestamp, Side.SELL, price, fraction, reason))
        self.remaining -= fraction
        if self.remaining <= REMAINDER:
            self.remaining = 0.0

    def sell_targets(self, candle: Candle, reached: float, *, at_open: bool) -> None:
        """Fill every target up to the price reached."""
        while self.remaining > 0 and reached >= self.target_level():
            price = candle.open if at_open else self.target_level()
            fraction = min(self.rules.targets[self.targets_filled].fraction, self.remaining)
            self.targets_filled += 1
            self.sell(candle, price, fraction, FillReason.TARGET)

    def meet(self, candle: Candle) -> None:
        """Steps 2 and 3: test a candle's open, then its range."""
        stop, reason = self.stop()
        if candle.open <= stop:
            self.sell(candle, candle.open, self.remaining, reason)
            return
        self.sell_targets(candle, candle.open, at_open=True)
        if self.remaining == 0:
            return
        stop_hit = candle.low <= stop
        target_hit = candle.high >= self.target_level()
        if stop_hit and target_hit:
            self.ambiguous += 1
        if target_hit and (not stop_hit or self.target_comes_first(candle)):
            self.sell_targets(candle, candle.high, at_open=False)
        if stop_hit and self.remaining > 0:
            self.sell(candle, stop, self.remaining, reason)

    def target_comes_first(self, candle: Candle) -> bool:
        """Decide an ambiguous candle."""
        if self.policy is IntrabarPolicy.NEAREST_OPEN:
            return abs(candle.open - candle.high) < abs(candle.open - candle.low)
        return self.policy is IntrabarPolicy.TARGET_FIRST


def run_trade(
    call: Call,
    trade_no: int,
    window: Sequence[Candle],
    bought: Bought,
    *,
    end: int,
    config: StrategyConfig,
    timeframe: int,
) -> tuple[Trade, int]:
    """Run one trade from its entry candle to its last fill; also return how many candles were ambiguous."""
    entry_candle = window[bought.place]
    hold = config.exit.max_hold_minutes
    position = Position(bought.price, config)
    highs, lows = [bought.price], [bought.price]
    index = bought.place
    for index in range(bought.place, len(window)):
        candle = window[index]
        if bought.inside and index == bought.place:
            highs.append(candle.close)
            lows.append(candle.low)
            stop, reason = position.stop()
            if candle.low <= stop:
                position.sell(candle, stop, position.remaining, reason)
        elif (
            index > bought.place
            and hold is not None
            and (candle.timestamp >= entry_candle.timestamp + minutes_to_ms(hold))
        ):
            highs.append(candle.open)
            lows.append(candle.open)
            position.sell(candle, candle.open, position.remaining, FillReason.TIME)
        else:
            highs.append(candle.high)
            lows.append(candle.low)
            position.meet(candle)
            position.update(candle.high)
        if position.remaining == 0:
            break
    else:
        last = window[-1]
        reason = FillReason.HORIZON if last.timestamp >= end - timeframe else FillReason.END_OF_DATA
        position.sell(last, last.close, position.remaining, reason)
    buy = FillReason.ENTRY if trade_no == 1 else FillReason.REENTRY
    fills = [Fill(entry_candle.timestamp, Side.BUY, bought.price, 1.0, buy), *position.fills]
    trade = Trade(
        call=call,
        trade_no=trade_no,
        fills=fills,
        seen=list(window[bought.place : index + 1]),
        exit_index=index,
        mfe=max(highs) / bought.price - 1.0,
        mae=min(lows) / bought.price - 1.0,
    )
    settle(trade, config)
    return trade, position.ambiguous


def settle(trade: Trade, config: StrategyConfig) -> None:
    """Work out the returns from the fills."""
    fee, slip = config.costs.fee_bps / 1e4, config.costs.slippage_bps / 1e4
    entry = trade.entry.price
    gross, sold = 0.0, 0.0
    for fill in trade.fills[1:]:
        gross += fill.fraction * fill.price
        sold += fill.fraction
        trade.proceeds += fill.fraction * fill.price * (1.0 - slip) * (1.0 - fee)
    trade.exit_price = gross / sold
    trade.gross_return = gross / entry - 1.0
    trade.net_return = trade.proceeds / (entry * (1.0 + slip) * (1.0 + fee)) - 1.0


def measure_path(call: Call, window: Sequence[Candle], bought: Bought, before: Sequence[Candle]) -> tuple[object, ...]:
    """Return the call's row of `frames.PATHS`."""
    entry, entry_time = bought.price, window[bought.place].timestamp
    highest, ath_time, lowest = entry, entry_time, entry
    reached: dict[float, float | None] = {2.0: None, 3.0: None, 5.0: None, 10.0: None}
    lowest_before_double: float | None = None
    for index, candle in enumerate(window[bought.place :]):
        high = candle.close if bought.inside and index == 0 else candle.high
        lowest = min(lowest, candle.low)
        if high > highest:
            highest, ath_time = high, candle.timestamp
        for multiple, time in reached.items():
            if time is None and high >= entry * multiple:
                reached[multiple] = (candle.timestamp - entry_time) / MINUTE_MS
                if multiple == 2.0:  # noqa: PLR2004 - the column is named after it
                    lowest_before_double = lowest / entry
    return (
        call.call_id,
        call.caller,
        call.mint,
        highest / entry,
        (ath_time - entry_time) / MINUTE_MS,
        *reached.values(),
        lowest_before_double,
        window[-1].close / entry,
        *measure_before([candle for candle in before if candle.timestamp >= entry_time - HOUR_MS]),
        entry_time // HOUR_MS % 24,
    )


def measure_before(candles: Sequence[Candle]) -> tuple[float | None, float | None, float | None]:
    """Return return, volatility and volume of the candles of the hour before the entry."""
    if not candles:
        return None, None, None
    volume = 0.0
    for candle in candles:
        volume += candle.volume
    returns = [math.log(after.close / before.close) for before, after in pairwise(candles)]
    return candles[-1].close / candles[0].open - 1.0, _deviation(returns), volume


def _deviation(values: Sequence[float]) -> float | None:
    if len(values) < 2:  # noqa: PLR2004 - ddof 1 needs two
        return None
    total, squares = 0.0, 0.0
    for value in values:
        total += value
    mean = total / len(values)
    for value in values:
        squares += (value - mean) * (value - mean)
    return math.sqrt(squares / (len(values) - 1))


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
        self.config = config
        self.fee = config.costs.fee_bps / 1e4
        self.slip = config.costs.slippage_bps / 1e4
        self.timeframe = timeframe
        self.cash = config.portfolio.initial_capital
        self.positions: list[tuple[Trade, list[float]]] = []

    def buy(self, trade: Trade) -> None:
        """Open a position of the trade's size."""
        self.cash -= trade.invested
        self.positions.append((trade, [1.0]))

    def sell(self, trade: Trade, fill: Fill) -> None:
        """Take the proceeds of a sell; the last one closes the position."""
        self.cash += trade.quantity * fill.fraction * fill.price * (1.0 - self.slip) * (1.0 - self.fee)
        for held, remaining in self.positions:
            if held is trade:
                remaining[0] -= fill.fraction
        if fill is trade.exit:
            self.positions = [position for position in self.positions if position[0] is not trade]

    def value(self, label: int) -> float:
        """Return the value of the positions at the closes of candles labelled up to `label`."""
        value = 0.0
        for trade, (remaining,) in self.positions:
            closes = [candle.close for candle in trade.seen if candle.timestamp <= label]
            value += trade.quantity * remaining * (closes[-1] if closes else trade.entry.price)
        return value

    def amount(self, now: int) -> float:
        """Return what a buy is given; only candles that have ended by `now` value the positions."""
        sizing = self.config.portfolio.sizing
        if isinstance(sizing, FixedSizing):
            return sizing.amount
        equity = self.cash + self.value(now - self.timeframe)
        if isinstance(sizing, FractionSizing):
            return equity * sizing.fraction
        return self._amount_at_risk(equity, sizing)

    def _amount_at_risk(self, equity: float, sizing: RiskSizing) -> float:
        stop_loss = self.config.exit.stop_loss or 0.0
        return min(equity * sizing.fraction / stop_loss, equity * sizing.max_fraction)

    def affords(self, amount: float) -> bool:
        """Return whether an order may be placed: it may exceed the cash by what rounding can make of equal orders."""
        lacking = amount - self.cash
        return amount >= 0 and lacking <= ROUNDING * min(amount, self.config.portfolio.initial_capital)

    def size(self, trade: Trade) -> None:
        """Decide whether a trade is taken, and how large it is."""
        limit = self.config.portfolio.max_open_positions
        amount = self.amount(trade.entry.timestamp)
        if limit is not None and len(self.positions) >= limit:
            trade.skip_reason = SkipReason.NO_SLOT
        elif not self.affords(amount):
            trade.skip_reason = SkipReason.NO_CASH
        else:
            trade.invested = amount
            trade.quantity = amount / (trade.entry.price * (1.0 + self.slip) * (1.0 + self.fee))
            trade.pnl = trade.quantity * trade.proceeds - amount


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
        for fill in trade.fills:
            slip = config.costs.slippage_bps / 1e4
            paid = 1.0 + slip if fill.side is Side.BUY else 1.0 - slip
            fill.quantity = trade.quantity * fill.fraction
            fill.fee = fill.quantity * fill.price * paid * (config.costs.fee_bps / 1e4)
    taken = [event for event in events if trades[event.trade].skip_reason is None]
    return list(_series(trades, taken, Account(config, timeframe)))


def _size_trades(trades: Sequence[Trade], events: Sequence[Event], account: Account) -> None:
    for event in events:
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


def _fills_frame(trades: Sequence[Trade]) -> pl.DataFrame:
    return _frame(
        frames.FILLS,
        [
            (
                trade.call.call_id,
                trade.call.mint,
                trade.trade_no,
                number,
                fill.timestamp,
                str(fill.side),
                fill.price,
                fill.fraction,
                fill.quantity,
                fill.fee,
                str(fill.reason),
            )
            for trade in trades
            for number, fill in enumerate(trade.fills, start=1)
        ],
    )


def _trades_frame(trades: Sequence[Trade]) -> pl.DataFrame:
    return _frame(
        frames.TRADES,
        [
            (
                trade.call.call_id,
                trade.call.caller,
                trade.call.mint,
                trade.trade_no,
                trade.call.called_at,
                trade.entry.timestamp,
                trade.entry.price,
                trade.exit.timestamp,
                trade.exit_price,
                str(trade.exit.reason),
                trade.gross_return,
                trade.net_return,
                trade.mfe,
                trade.mae,
                (trade.exit.timestamp - trade.entry.timestamp) / MINUTE_MS,
                trade.quantity,
                trade.invested,
                trade.pnl,
                trade.skip_reason is None,
                None if trade.skip_reason is None else str(trade.skip_reason),
            )
            for trade in trades
        ],
    )


def _outcomes_frame(calls: Sequence[Call], results: Sequence[CallResult]) -> pl.DataFrame:
    return _frame(
        frames.OUTCOMES,
        [
            (
                call.call_id,
                call.caller,
                call.mint,
                call.called_at,
                str(result.outcome),
                len(result.trades),
                result.ambiguous,
            )
            for call, result in zip(calls, results, strict=True)
        ],
    )


def _frame(schema: pl.Schema, rows: Sequence[tuple[object, ...]]) -> pl.DataFrame:
    physical = {name: pl.Int64() if dtype == frames.TIMESTAMP else dtype for name, dtype in schema.items()}
    return pl.DataFrame(rows, schema=physical, orient="row").cast(schema)
