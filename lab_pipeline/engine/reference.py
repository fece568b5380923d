"""The contract in plain Python: slow, one call at a time, written to be read next to it.

`kernel` and `portfolio` are the same, compiled; tests hold that the two agree bit for bit. Where the contract
leaves room:

- Times are whole milliseconds. A market entry obeys the deadline too.
- A fill carries the label of its candle, at the end of the window too; so holding times count from label to label.
- Prices of fills are those of the candles and levels; slippage and fees enter returns, fees and cash alone.
- Trades and fills are numbered from 1; the buy is fill 1, with fraction 1.
- A re-entry has no deadline, and every re-entry is a trade of its own.
- What becomes of a call is asked in this order: not_long, no_candles, no_entry, filtered, no_history, invalid_plan,
  stake_too_small, no_liquidity. A re-entry that would be one of these is not made, and ends the call. Filters judge
  the call at its first entry.
- A stop that fills inside a candle fills at its low at the lowest, whatever the rounding.
- A signal never sells on the entry candle; for a candle whose predecessor is the entry candle it may. An entry may
  act on the last candle before the window. No re-entry follows a signal's exit.
- A plan is null if it has neither targets nor a stop; with one of them it replaces targets and stop of the strategy.
  Levels of targets are the entry price times their multiple; the plan's stop is its price.
- In an ambiguous candle that is opened, what its finer candles fill is *resolved* unless one of them is ambiguous, or
  they end before all is sold.
- `reference_costs`, `reference_portfolio`, `history`, `paths` and `portfolio` say what holds for them.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline.domain.conditions import When
from lab_pipeline.domain.enums import EntryKind, ExitUse, FillReason, IntrabarPolicy, Outcome, Side
from lab_pipeline.domain.filters import COUNTED, Filter
from lab_pipeline.domain.strategy import AtrDistance, StrategyConfig, minutes_to_ms
from lab_pipeline.domain.timeframe import timeframe_ms
from lab_pipeline.engine import history, signals
from lab_pipeline.engine.reference_costs import Costs, Purchase
from lab_pipeline.engine.reference_portfolio import run_portfolio
from lab_pipeline.engine.reference_records import Call, CallResult, Candle, Fill, Tested, Trade
from lab_pipeline.engine.simulation import Simulation
from lab_pipeline.engine.summary import Bounds, summarise

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
REMAINDER = 1e-12
LOWEST_LEVEL = 0.01
"""Part of the entry price below which no level lies that follows the true range."""

REENTRY_FOLLOWS = {FillReason.TARGET, FillReason.STOP_LOSS, FillReason.BREAK_EVEN, FillReason.TRAILING_STOP}


class Bought(NamedTuple):
    """An entry: its candle's place in the window, price, and whether it fills inside the candle, not at its open."""

    place: int
    price: float
    inside: bool


class Levels(NamedTuple):
    """What a trade is sold at.

    Attributes:
        targets: multiples of the entry price, ascending, and the fractions that they sell.
        stop: price of the stop loss, minus infinity without one.
        trail: distance of the trail below the peak in true ranges, as a price; null if it is a fraction of the peak.
        stop_distance: part of the entry price that is lost at the stop, 1 without one.
    """

    targets: list[tuple[float, float]]
    stop: float
    trail: float | None
    stop_distance: float


class Said(NamedTuple):
    """What the conditions say at the close of each candle of the mint, by its place among them; else false."""

    enter: Mapping[int, bool]
    leave: Mapping[int, bool]


def simulate(
    candles: pl.DataFrame,
    calls: pl.DataFrame,
    config: StrategyConfig,
    *,
    timeframe: str,
    finer: pl.DataFrame | None = None,
    all_calls: pl.DataFrame | None = None,
) -> Simulation:
    """Do what `simulator.simulate` does, a call at a time. Arguments are not checked."""
    step = timeframe_ms(timeframe)
    ordered = _calls(calls, calls if all_calls is None else all_calls)
    of_mint, finer_of_mint = candles_by_mint(candles), {} if finer is None else candles_by_mint(finer)
    results = [
        simulate_call(call, of_mint.get(call.mint, []), config, step, finer_of_mint.get(call.mint, []))
        for call in ordered
    ]
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
            bounds=Bounds.of(
                [trade.net_at_level for trade in trades],
                [trade.net_at_low for trade in trades],
                [trade.net_if_dead for trade in trades],
            ),
            initial_capital=config.portfolio.initial_capital,
            timeframe=step,
        ),
    )


def simulate_call(
    call: Call, candles: Sequence[Candle], config: StrategyConfig, timeframe: int, finer: Sequence[Candle] = ()
) -> CallResult:
    """Simulate one call on the candles of its mint.

    Args:
        call: the call.
        candles: ascending by time; those outside the call's window are used for what looks back before the entry.
        config: the strategy.
        timeframe: length of a candle in milliseconds.
        finer: candles of the mint at the strategy's finer timeframe, ascending.
    """
    if call.known.get("direction") not in {None, "long"}:
        return CallResult(Outcome.NOT_LONG)
    start = call.called_at + minutes_to_ms(config.entry.delay_minutes)
    end = call.called_at + minutes_to_ms(config.horizon_minutes)
    deadline = start + minutes_to_ms(config.entry.max_wait_minutes)
    window = [candle for candle in candles if start <= candle.timestamp < end]
    if not window:
        return CallResult(Outcome.NO_CANDLES)
    first = candles.index(window[0])
    said = listen(call, candles, config, timeframe, end)
    bought = find_entry(
        call, window, deadline, config, enter=[said.enter.get(first + i - 1, False) for i in range(len(window))]
    )
    if bought is None:
        return CallResult(Outcome.NO_ENTRY)
    before = [candle for candle in candles if candle.timestamp < window[bought.place].timestamp]
    path = measure_path(call, window, bought, before)
    if not fits(call, config.filters, path):
        return CallResult(Outcome.FILTERED)
    costs = Costs(config, call, candles, first, timeframe)
    result = CallResult(Outcome.ENTERED, path=path)
    reentries = config.reentry.max_count if config.reentry else 0
    leave = [said.leave.get(first + i - 1, False) for i in range(len(window))]
    while bought is not None:
        levels = find_levels(
            call, bought.price, candles[: first + bought.place], window[bought.place], config, timeframe
        )
        if isinstance(levels, Outcome):
            return result if result.trades else CallResult(levels)
        purchase = costs.buy_for_stake(bought, levels.stop_distance)
        if isinstance(purchase, Outcome):
            return result if result.trades else CallResult(purchase)
        trade, position = run_trade(
            call,
            len(result.trades) + 1,
            window,
            bought,
            levels,
            purchase,
            end=end,
            config=config,
            costs=costs,
            leave=leave,
            finer=finer,
            timeframe=timeframe,
        )
        result.trades.append(trade)
        result.ambiguous += position.ambiguous
        result.resolved += position.resolved
        bought = None
        if config.reentry and len(result.trades) <= reentries and trade.exit.reason in REENTRY_FOLLOWS:
            limit = trade.exit.price * (1.0 - config.reentry.retrace)
            bought = find_dip(window, trade.exit_index + 1, end, limit)
    return result


def listen(call: Call, candles: Sequence[Candle], config: StrategyConfig, timeframe: int, end: int) -> Said:
    """Ask the conditions of entry and exit about the candles before the call and of its window."""

    def ask(when: When | None) -> dict[int, bool]:
        if when is None:
            return {}
        reach = call.called_at - history.signal_reach(when, timeframe)
        places = [place for place, candle in enumerate(candles) if reach <= candle.timestamp < end]
        types = {name: pl.Int64 if name == "timestamp" else pl.Float64 for name in signals.COLUMNS}
        frame = pl.DataFrame(
            [
                pl.Series(name, [getattr(candles[place], name) for place in places], dtype)
                for name, dtype in types.items()
            ]
        )
        frame = frame.with_columns(pl.col("timestamp").cast(frames.TIMESTAMP))
        said = signals.holds(when, frame)
        return dict(zip(places, said.tolist(), strict=True))

    return Said(ask(config.entry.when), ask(config.exit.when))


def find_entry(
    call: Call, window: Sequence[Candle], deadline: int, config: StrategyConfig, enter: Sequence[bool]
) -> Bought | None:
    """Find the first buy before the deadline; `enter` tells the candles at whose open a signal buys."""
    first = window[0]
    if first.timestamp >= deadline:
        return None
    fraction = config.entry.fraction or 0.0
    match config.entry.kind:
        case EntryKind.MARKET if config.entry.when is not None:
            for place, candle in enumerate(window):
                if enter[place] and candle.timestamp < deadline:
                    return Bought(place, candle.open, inside=False)
            return None
        case EntryKind.SIGNAL if call.known.get("entry_price") is not None:
            return find_dip(window, 0, deadline, call.known["entry_price"])
        case EntryKind.MARKET | EntryKind.SIGNAL:
            return Bought(0, first.open, inside=False)
        case EntryKind.DIP:
            return find_dip(window, 0, deadline, first.open * (1.0 - fraction))
        case EntryKind.REBOUND:
            return find_rebound(window, deadline, fraction)


def fits(call: Call, filters: Sequence[Filter], path: tuple[object, ...]) -> bool:
    """Return whether a call passes every filter; what is null passes none."""
    known = dict(call.known) | dict(zip(frames.PATHS, path, strict=True))
    for one in filters:
        value: Any = known.get(one.field)
        if value is None:
            return False
        if one.min is not None and value < one.min:
            return False
        if one.max is not None and value > one.max:
            return False
        if one.in_ is not None and value not in one.in_:
            return False
    return True


def find_levels(  # noqa: PLR0917 - what a step needs of the step before
    call: Call,
    entry: float,
    before: Sequence[Candle],
    entry_candle: Candle,
    config: StrategyConfig,
    timeframe: int,
) -> Levels | Outcome:
    """Find what a trade is sold at; `before` are the candles of the mint before the entry candle."""
    rules = config.exit
    ranges: dict[str, float] = {}
    for name, distance in (("stop", rules.stop_loss), ("trail", rules.trailing.distance if rules.trailing else None)):
        if isinstance(distance, AtrDistance):
            since = entry_candle.timestamp - history.true_range_reach(distance, timeframe)
            true_range = average_true_range([candle for candle in before if candle.timestamp >= since], distance.atr.n)
            if true_range is None:
                return Outcome.NO_HISTORY
            ranges[name] = distance.atr.k * true_range
    targets = [(target.multiple, target.fraction) for target in rules.targets]
    stop, stop_distance = -math.inf, 1.0
    if "stop" in ranges:
        stop = max(entry - ranges["stop"], entry * LOWEST_LEVEL)
        stop_distance = 1.0 - stop / entry
    elif isinstance(rules.stop_loss, float):
        stop = entry * (1.0 - rules.stop_loss)
        stop_distance = rules.stop_loss
    if rules.use is ExitUse.SIGNAL:
        prices = [price for price in call.known.get("targets") or () if price is not None]
        stop_price = call.known.get("stop_price")
        if prices or stop_price is not None:
            if stop_price is not None and stop_price >= entry:
                return Outcome.INVALID_PLAN
            targets = plan_targets(prices, entry, rules.target_fractions)
            stop = -math.inf if stop_price is None else stop_price
            stop_distance = 1.0 if stop_price is None else 1.0 - stop_price / entry
        elif not rules.has_rules:
            return Outcome.INVALID_PLAN
    return Levels(targets, stop, ranges.get("trail"), stop_distance)


def plan_targets(prices: Sequence[float], entry: float, fractions: Sequence[float] | None) -> list[tuple[float, float]]:
    """Return the caller's targets above the entry price as multiples of it, ascending, with what each sells."""
    multiples = sorted(price / entry for price in prices if price > entry)
    if fractions is None:
        return [(multiple, 1.0 / len(multiples)) for multiple in multiples]
    wanted = fractions[: len(multiples)]
    total = 0.0
    for fraction in wanted:
        total += fraction
    return [(multiple, fraction / total) for multiple, fraction in zip(multiples, wanted, strict=False)]


def average_true_range(candles: Sequence[Candle], count: int) -> float | None:
    """Return the mean true range of the last `count` candles, null if there are not one more than that."""
    if len(candles) <= count:
        return None
    total = 0.0
    for earlier, candle in pairwise(candles[-count - 1 :]):
        total += max(candle.high, earlier.close) - min(candle.low, earlier.close)
    return total / count


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

    def __init__(
        self, entry: float, levels: Levels, config: StrategyConfig, finer: Sequence[Candle], timeframe: int
    ) -> None:
        """Open it at the entry price."""
        self.entry = entry
        self.levels = levels
        self.rules = config.exit
        self.policy = config.intrabar
        self.finer = finer
        self.timeframe = timeframe
        self.remaining = 1.0
        self.targets_filled = 0
        self.peak = entry
        self.armed = False
        self.break_even = False
        self.fills: list[Fill] = []
        self.ambiguous = 0
        self.resolved = 0
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
        levels = [(self.levels.stop, FillReason.STOP_LOSS)]
        if self.break_even:
            levels.append((self.entry, FillReason.BREAK_EVEN))
        if self.armed:
            levels.append((self.trail(), FillReason.TRAILING_STOP))
        return max(levels, key=lambda level: level[0])  # the first of equal ones

    def trail(self) -> float:
        """Return the level of the trail."""
        if self.levels.trail is not None:
            return max(self.peak - self.levels.trail, self.entry * LOWEST_LEVEL)
        distance = self.rules.trailing.distance if self.rules.trailing else None
        return -math.inf if not isinstance(distance, float) else self.peak * (1.0 - distance)

    def target_level(self) -> float:
        """Return the level of the next target, infinity without one."""
        if self.targets_filled == len(self.levels.targets):
            return math.inf
        return self.entry * self.levels.targets[self.targets_filled][0]

    def sell(self, place: int, candle: Candle, price: float, fraction: float, reason: FillReason) -> None:
        """Sell a part of the position."""
        self.fills.append(Fill(candle.timestamp, Side.SELL, price, fraction, reason, place, price, price))
        self.remaining -= fraction
        if self.remaining <= REMAINDER:
            self.remaining = 0.0

    def sell_at_stop(self, place: int, candle: Candle, low: float, level: float, reason: FillReason) -> None:
        """Sell all that remains at a stop that a range reaches down to its low."""
        self.sell(place, candle, fall_through(level, low, self.rules.stop_fill.through), self.remaining, reason)
        self.fills[-1].at_level = fall_through(level, low, 0.0)
        self.fills[-1].at_low = fall_through(level, low, 1.0)

    def sell_targets(self, place: int, candle: Candle, reached: float, *, opened: float | None) -> None:
        """Fill every target up to the price reached, at that price if a candle opened there, else at its level."""
        while self.remaining > 0 and reached >= self.target_level():
            price = self.target_level() if opened is None else opened
            fraction = min(self.levels.targets[self.targets_filled][1], self.remaining)
            self.targets_filled += 1
            self.sell(place, candle, price, fraction, FillReason.TARGET)

    def meet(self, place: int, candle: Candle) -> None:
        """Steps 2 and 3: test a candle's open, then its range."""
        stop, reason = self.stop()
        if candle.open <= stop:
            self.sell(place, candle, candle.open, self.remaining, reason)
            return
        self.sell_targets(place, candle, candle.open, opened=candle.open)
        if self.remaining == 0:
            return
        stop_hit = candle.low <= stop
        target_hit = candle.high >= self.target_level()
        if stop_hit and target_hit:
            self.ambiguous += 1
            if self.policy is IntrabarPolicy.FINER:
                self.meet_finer(place, candle, stop, reason)
                return
        if target_hit and (not stop_hit or self.target_comes_first(candle)):
            self.sell_targets(place, candle, candle.high, opened=None)
        if stop_hit and self.remaining > 0:
            self.sell_at_stop(place, candle, candle.low, stop, reason)

    def meet_finer(self, place: int, candle: Candle, stop: float, reason: FillReason) -> None:
        """Open an ambiguous candle: fills are labelled by it, levels are those of its beginning."""
        end = candle.timestamp + self.timeframe
        inside = [finer for finer in self.finer if candle.timestamp <= finer.timestamp < end]
        for number, finer in enumerate(inside):
            if number > 0:
                if finer.open <= stop:
                    self.sell(place, candle, finer.open, self.remaining, reason)
                    self.resolved += 1
                    return
                self.sell_targets(place, candle, finer.open, opened=finer.open)
            stop_hit = finer.low <= stop
            target_hit = finer.high >= self.target_level()
            if self.remaining > 0 and stop_hit:
                self.sell_at_stop(place, candle, finer.low, stop, reason)
                self.resolved += not target_hit
                return
            if self.remaining > 0 and target_hit:
                self.sell_targets(place, candle, finer.high, opened=None)
            if self.remaining == 0:
                self.resolved += 1
                return
        self.sell_at_stop(place, candle, candle.low, stop, reason)

    def target_comes_first(self, candle: Candle) -> bool:
        """Decide an ambiguous candle."""
        if self.policy is IntrabarPolicy.NEAREST_OPEN:
            return abs(candle.open - candle.high) < abs(candle.open - candle.low)
        return self.policy is IntrabarPolicy.TARGET_FIRST


def fall_through(level: float, low: float, through: float) -> float:
    """Return the price of a stop inside a candle."""
    return max(level - through * (level - low), low)


def run_trade(  # noqa: PLR0917 - what a step needs of the step before
    call: Call,
    trade_no: int,
    window: Sequence[Candle],
    bought: Bought,
    levels: Levels,
    purchase: Purchase,
    *,
    end: int,
    config: StrategyConfig,
    costs: Costs,
    leave: Sequence[bool],
    finer: Sequence[Candle],
    timeframe: int,
) -> tuple[Trade, Position]:
    """Run one trade from its entry candle to its last fill; `leave` tells the opens at which a signal sells."""
    entry_candle = window[bought.place]
    hold = config.exit.max_hold_minutes
    position = Position(bought.price, levels, config, finer, timeframe)
    highs, lows = [bought.price], [bought.price]
    tested = []
    index = bought.place
    for index in range(bought.place, len(window)):
        candle = window[index]
        later = index > bought.place
        against, ambiguous_so_far = (*position.stop(), position.target_level()), position.ambiguous
        held = hold is not None and candle.timestamp >= entry_candle.timestamp + minutes_to_ms(hold)
        if bought.inside and not later:
            highs.append(candle.close)
            lows.append(candle.low)
            stop, reason = position.stop()
            if candle.low <= stop:
                position.sell_at_stop(index, candle, candle.low, stop, reason)
        elif later and (held or leave[index]):
            highs.append(candle.open)
            lows.append(candle.open)
            reason = FillReason.TIME if held else FillReason.SIGNAL
            position.sell(index, candle, candle.open, position.remaining, reason)
        else:
            highs.append(candle.high)
            lows.append(candle.low)
            position.meet(index, candle)
            position.update(candle.high)
        tested.append(Tested(candle.timestamp, *against, ambiguous=position.ambiguous > ambiguous_so_far))
        if position.remaining == 0:
            break
    else:
        last = window[-1]
        reason, price = FillReason.HORIZON, last.close
        if last.timestamp < end - timeframe:
            reason, price = FillReason.END_OF_DATA, last.close * (1.0 - config.end_of_data.haircut)
        position.sell(index, last, price, position.remaining, reason)
    price, time = bought.price, entry_candle.timestamp
    buy = FillReason.ENTRY if trade_no == 1 else FillReason.REENTRY
    fills = [Fill(time, Side.BUY, price, 1.0, buy, bought.place, price, price), *position.fills]
    trade = Trade(
        call=call,
        trade_no=trade_no,
        fills=fills,
        seen=list(window[bought.place : index + 1]),
        exit_index=index,
        mfe=max(highs) / bought.price - 1.0,
        mae=min(lows) / bought.price - 1.0,
        costs=costs,
        stop_distance=levels.stop_distance,
        tested=tested,
    )
    settle(trade, costs, purchase)
    return trade, position


def settle(trade: Trade, costs: Costs, purchase: Purchase) -> None:
    """Work out the returns from the fills, and what they would be if the last fill were another."""
    entry, last = trade.entry.price, trade.exit
    gross, sold = 0.0, 0.0
    for fill in trade.fills:
        fill.depth = costs.depth(fill, fill.price)
    for fill in trade.fills[1:]:
        gross += fill.fraction * fill.price
        sold += fill.fraction
    trade.exit_price = gross / sold
    trade.gross_return = gross / entry - 1.0
    trade.proceeds = costs.per_unit(trade.fills[1:], last.price)
    trade.net_return = costs.net_return(trade.fills, purchase, last.price)
    trade.net_at_level = costs.net_return(trade.fills, purchase, last.at_level)
    trade.net_at_low = costs.net_return(trade.fills, purchase, last.at_low)
    dead = 0.0 if last.reason is FillReason.END_OF_DATA else last.price
    trade.net_if_dead = costs.net_return(trade.fills, purchase, dead)


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
                fill.slippage,
                fill.filled,
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
                result.resolved,
            )
            for call, result in zip(calls, results, strict=True)
        ],
    )


def _frame(schema: pl.Schema, rows: Sequence[tuple[object, ...]]) -> pl.DataFrame:
    physical = {name: pl.Int64() if dtype == frames.TIMESTAMP else dtype for name, dtype in schema.items()}
    return pl.DataFrame(rows, schema=physical, orient="row").cast(schema)


def _calls(calls: pl.DataFrame, among: pl.DataFrame) -> list[Call]:
    known = set(COUNTED) <= set(calls.columns)
    counted = (calls if known else history.count_calls(calls, among)).sort("called_at", "call_id")
    times = counted["called_at"].to_physical().to_list()
    return [
        Call(row["call_id"], row["caller"], row["mint"], time, row)
        for row, time in zip(counted.rows(named=True), times, strict=True)
    ]


def candles_by_mint(candles: pl.DataFrame) -> dict[str, list[Candle]]:
    """Return the candles of each mint, ascending by time; columns of `frames.CANDLES`, and `liquidity` if known."""
    of_mint: dict[str, list[Candle]] = {}
    columns = [name for name in (*frames.CANDLES, *frames.CANDLE_OPTIONS) if name in candles.columns]
    physical = candles.select(columns).with_columns(pl.col("timestamp").to_physical())
    for mint, *values in physical.sort("mint", "timestamp").rows():
        of_mint.setdefault(mint, []).append(Candle(*values))
    return of_mint
