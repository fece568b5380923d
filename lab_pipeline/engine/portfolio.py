"""What trades cost by their size; which of them get cash and a slot; what the account is worth at every step.

`reference_costs` says what holds for costs where the contract leaves room. For the portfolio:

- Every trade is a position of its own, a re-entry too. A buy spends the sized amount, costs included.
- Slots are asked before cash: a trade that lacks both counts as `no_slot`. A buy for less than its fixed fee counts as
  `no_cash`.
- A token cools down from the last sell of a position on it; a buy at the very end of a cooldown or a pause is taken.
- Losing trades are counted by their net return, in the order in which their last sells reach the account. A pause
  starts with the last of them, and the count anew.
- The drawdown that stops the account is that of the equity series: as soon as a step that has closed shows it, or
  lacks no more than `ROUNDING` of the initial capital of it, nothing is bought any more.
- Slippage and share of the fills of a trade that is not taken are those of its stake.
- At one timestamp the sells of positions bought earlier come first, then the buys, then the sells of positions
  bought at this very timestamp: a round trip within one candle frees neither cash nor slot for that candle's buys.
- An order may exceed the cash by `ROUNDING` of itself and of the initial capital: cash that was divided into equal
  orders pays for all of them, whichever way the last digits fell. It is spent in full, so cash may be that much
  below zero. An order below zero, of an account that is worth less than nothing, counts as `no_cash`.
- A position is valued at the last close of a candle of its own that has ended, at its entry price before the first,
  without costs.
- A step of the series is stamped with the time its candle closes, and holds every fill labelled by that candle or
  an earlier one. If candles lie off the grid of the first entry, one more step takes up the last exit.
"""
# ruff: noqa: PLR0917 - scalars and columns by position are what compiled functions take
# ruff: noqa: C901, PLR0912, PLR0915 - state that would be handed from function to function and back stays in one

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lab_pipeline.domain.candles import Floats, Integers
from lab_pipeline.domain.enums import ImpactModel, SizingKind, SkipReason
from lab_pipeline.domain.errors import LabError
from lab_pipeline.domain.strategy import (
    FixedSizing,
    FractionSizing,
    NoImpact,
    RiskSizing,
    StrategyConfig,
    VolumeShareImpact,
    minutes_to_ms,
)
from lab_pipeline.engine.compiled import compiled, inner
from lab_pipeline.engine.mark_prices import NO_MARKS, Marks, MarkStore

SKIP_REASONS = (
    None,
    SkipReason.NO_CASH,
    SkipReason.NO_SLOT,
    SkipReason.MAX_PER_TOKEN,
    SkipReason.COOLDOWN,
    SkipReason.PAUSE_AFTER_LOSSES,
    SkipReason.STOP_AT_DRAWDOWN,
)
TAKEN, NO_CASH, NO_SLOT, MAX_PER_TOKEN, COOLDOWN, PAUSE_AFTER_LOSSES, STOP_AT_DRAWDOWN = range(7)
IMPACTS = (ImpactModel.NONE, ImpactModel.VOLUME_SHARE, ImpactModel.AMM)
NO_IMPACT, VOLUME_SHARE, AMM = range(3)
LARGEST_SHARE = 1e30
"""What a fill is of what its impact is measured by, at the most."""

SIZINGS = (SizingKind.FIXED, SizingKind.FRACTION, SizingKind.RISK)
FIXED, FRACTION, RISK = range(3)

ROUNDING = 1e-9
"""Part of an order, and of the initial capital, by which the order may exceed the cash."""

MAX_POINTS = 2**25
"""Longest series: a year of one-second steps, 1.5 GB. Fewer points would be another series than the contract's."""

Records = npt.NDArray[np.void]


class Costs(NamedTuple):
    """What fills cost, as scalars.

    Attributes:
        by_size: whether the size of a fill decides; if not, `fee` and `slip` alone hold.
        fee: fraction of the traded value; `slip` of the price.
        fixed_fee: per fill, in quote currency.
        impact: index into `IMPACTS`.
        coefficient: of the share of the traded value, raised to `exponent`.
        max_slippage: fraction of the price.
        max_share: of the candle's traded value that a buy may be, 0 for no limit.
    """

    by_size: bool
    fee: float
    slip: float
    fixed_fee: float
    impact: int
    coefficient: float
    exponent: float
    max_slippage: float
    max_share: float


class Account(NamedTuple):
    """The portfolio's rules as scalars.

    Attributes:
        capital: cash at the start.
        sizing: index into `SIZINGS`.
        size: amount for fixed, fraction of the equity otherwise.
        max_fraction: bound of risk sizing.
        max_open: positions that may be open at once, -1 for no limit.
        max_per_token: positions that may be open at once on one token, -1 for no limit.
        cooldown: of a token after an exit, in milliseconds; 0 for none.
        pause_count: losses after which there is a pause, 0 for none.
        pause: its length in milliseconds.
        max_drawdown: at which nothing is bought any more, 0 for none.
        timeframe: length of a candle in milliseconds.
    """

    capital: float
    sizing: int
    size: float
    max_fraction: float
    max_open: int
    max_per_token: int
    cooldown: int
    pause_count: int
    pause: int
    max_drawdown: float
    timeframe: int


class Book(NamedTuple):
    """The open positions: arrays over trades, and a list linked in the order of opening.

    Attributes:
        quantity: tokens bought; `remaining` is the fraction of them still held.
        sells: fills to come.
        passed: candles of the trade known to have ended where buys are sized.
        watched: those known to have ended where the equity series is followed.
        later: the position opened next; the last entry is the first position. One longer than the trades.
        earlier: the position opened before; the last entry is the last position. One longer than the trades.
    """

    quantity: Floats
    remaining: Floats
    sells: Integers
    passed: Integers
    watched: Integers
    later: Integers
    earlier: Integers


class Bought(NamedTuple):
    """How each trade was bought: slippage as a fraction of the price, and the filled part of what was wanted."""

    slippage: Floats
    filled: Floats


@dataclass(frozen=True)
class Allocation:
    """What the portfolio gave each trade: zeros where `skipped` is not `TAKEN` (an index into `SKIP_REASONS`).

    `fee`, `slippage` and `filled` are of the fills.
    """

    quantity: Floats
    invested: Floats
    pnl: Floats
    skipped: npt.NDArray[np.int8]
    fee: Floats
    slippage: Floats
    filled: Floats


@dataclass(frozen=True)
class Series:
    """The account at every step; `timestamp` is the close of the step's candle in milliseconds."""

    timestamp: Integers
    equity: Floats
    cash: Floats
    exposure: Floats
    drawdown: Floats
    open_positions: npt.NDArray[np.int32]


def run_portfolio(
    trades: Records,
    fills: Records,
    tokens: Integers,
    store: MarkStore,
    config: StrategyConfig,
    timeframe: int,
    threads: int,
) -> tuple[Allocation, Series]:
    """Give the trades cash and slots in the order of time and follow the account.

    Args:
        trades: records of `kernel.TRADE`, ordered by called_at, call_id, trade_no. Where the size of fills decides what
            they cost, their net returns are written: those of the stake.
        fills: their records of `kernel.FILL`, in that order, the buy of a trade first.
        tokens: number of each trade's mint, from 0 on.
        store: closes from entry to exit of every trade; only those that are needed are taken out, the rest is let go.
        config: sizing, limits, costs and capital.
        timeframe: length of a candle in milliseconds.
        threads: that gather the closes; the result does not depend on it.

    Raises:
        LabError: if the series would have more than `MAX_POINTS` points.
    """
    account, costs = account_of(config, timeframe), costs_of(config)
    owner = np.repeat(np.arange(len(trades)), trades["fills"])
    order = _event_order(trades, fills, owner)
    if costs.by_size:
        settle(trades, fills, costs, account)
    all_at_once = account.sizing != FIXED or account.max_drawdown > 0.0
    marks = store.collect(trades, np.ones(len(trades), np.bool_), threads) if all_at_once else NO_MARKS
    quantity, invested, pnl, skipped, buys = _allocate(trades, fills, owner, order, tokens, marks, account, costs)
    if not all_at_once:
        marks = store.collect(trades, skipped == TAKEN, threads)
    taken = trades[skipped == TAKEN]
    points = _count_points(taken, timeframe)
    first = int(taken["entry_time"].min()) if points else 0
    bought = order[_is_buy(owner)[order]]
    opened = bought[skipped[owner[bought]] == TAKEN]
    value = _value_steps(trades, fills, owner, opened, quantity, marks, account.timeframe, first, points)
    series = _follow(trades, fills, owner, order, quantity, invested, skipped, value, account, costs, first)
    described = _alike(fills, owner, quantity, costs)
    if costs.by_size:
        described = _describe(trades, fills, quantity, skipped, buys, account, costs)
    return Allocation(quantity, invested, pnl, skipped, *described), Series(*series)


def _alike(fills: Records, owner: Integers, quantity: Floats, costs: Costs) -> tuple[Floats, Floats, Floats]:
    """Return fee, slippage and filled part of every fill where its size decides nothing."""
    paid = np.where(_is_buy(owner), 1.0 + costs.slip, 1.0 - costs.slip)
    fee: Floats = quantity[owner] * fills["fraction"] * fills["price"] * paid * costs.fee
    return fee, np.full(len(fills), costs.slip), np.ones(len(fills))


def account_of(config: StrategyConfig, timeframe: int) -> Account:
    """Return the rules of a portfolio as compiled functions take them; `timeframe` in milliseconds."""
    rules, sizing = config.portfolio, config.portfolio.sizing
    size, max_fraction = 0.0, 1.0
    match sizing:
        case FixedSizing():
            size = sizing.amount
        case FractionSizing():
            size = sizing.fraction
        case RiskSizing():
            size, max_fraction = sizing.fraction, sizing.max_fraction
    pause = rules.pause_after_losses
    return Account(
        capital=rules.initial_capital,
        sizing=SIZINGS.index(sizing.kind),
        size=size,
        max_fraction=max_fraction,
        max_open=-1 if rules.max_open_positions is None else rules.max_open_positions,
        max_per_token=-1 if rules.max_per_token is None else rules.max_per_token,
        cooldown=minutes_to_ms(rules.cooldown_minutes or 0.0),
        pause_count=pause.count if pause else 0,
        pause=minutes_to_ms(pause.minutes) if pause else 0,
        max_drawdown=rules.stop_at_drawdown or 0.0,
        timeframe=timeframe,
    )


def costs_of(config: StrategyConfig) -> Costs:
    """Return the costs of a strategy as compiled functions take them."""
    impact = config.costs.impact
    coefficient, exponent, max_share = 0.0, 1.0, 0.0
    if isinstance(impact, VolumeShareImpact):
        coefficient, exponent, max_share = impact.coefficient, impact.exponent, impact.max_share or 0.0
    return Costs(
        by_size=config.costs.by_size,
        fee=config.costs.fee_bps / 1e4,
        slip=config.costs.slippage_bps / 1e4,
        fixed_fee=config.costs.fixed_fee,
        impact=IMPACTS.index(impact.model),
        coefficient=coefficient,
        exponent=exponent,
        max_slippage=1.0 if isinstance(impact, NoImpact) else impact.max_slippage,
        max_share=max_share,
    )


def _event_order(trades: Records, fills: Records, owner: Integers) -> Integers:
    """Return the fills' indices in the order in which they reach the account."""
    same_time = fills["time"] == trades["entry_time"][owner]
    phase = np.where(_is_buy(owner), 1, np.where(same_time, 2, 0))
    return np.argsort(fills["time"] * 3 + phase, kind="stable")


def _is_buy(owner: Integers) -> npt.NDArray[np.bool_]:
    """Tell the fills that are the first of their trades."""
    buys = np.ones(len(owner), np.bool_)
    buys[1:] = owner[1:] != owner[:-1]
    return buys


def _count_points(taken: Records, timeframe: int) -> int:
    if len(taken) == 0:
        return 0
    points = int(-(-(taken["exit_time"].max() - taken["entry_time"].min()) // timeframe)) + 1
    if points > MAX_POINTS:
        raise LabError(
            f"the equity series would have {points:,} points, at most {MAX_POINTS:,} are possible: "
            "simulate a shorter range of calls or a longer timeframe"
        )
    return points


@inner
def _slippage(
    costs: Costs,
    value: float,
    depth: float,
    buying: bool,  # noqa: FBT001 - compiled functions take positional arguments
) -> float:
    """Return by which part of the price a fill of this value is worse."""
    if costs.impact == NO_IMPACT:
        return costs.slip
    if not depth > 0.0:  # empty, or not known
        return 1.0 if costs.impact == AMM and not buying else costs.max_slippage
    share = min(value / depth, LARGEST_SHARE)
    moved: float
    if costs.impact == VOLUME_SHARE:
        moved = costs.slip + costs.coefficient * share**costs.exponent
    elif buying:
        moved = costs.slip + share
    else:
        moved = 1.0 - (1.0 - costs.slip) / (1.0 + share)
    return min(costs.max_slippage, moved)


@inner
def _buy(costs: Costs, amount: float, price: float, depth: float) -> tuple[float, float, float, float]:
    """Return quantity, amount spent, slippage and filled part of a buy for an amount of cash."""
    if not costs.by_size:
        return amount / (price * (1.0 + costs.slip) * (1.0 + costs.fee)), amount, costs.slip, 1.0
    wanted = (amount - costs.fixed_fee) / (1.0 + costs.fee)
    value = min(wanted, costs.max_share * depth) if costs.max_share > 0.0 else wanted
    slippage = _slippage(costs, value, depth, True)  # noqa: FBT003
    if value < wanted:
        amount = value * (1.0 + costs.fee) + costs.fixed_fee
    return value / (price * (1.0 + slippage)), amount, slippage, value / wanted


@inner
def _sell(costs: Costs, quantity: float, fraction: float, price: float, depth: float) -> float:
    """Return the proceeds of a sell of a fraction of a quantity."""
    if not costs.by_size:
        return quantity * fraction * price * (1.0 - costs.slip) * (1.0 - costs.fee)
    value = quantity * fraction * price
    slippage = _slippage(costs, value, depth, False)  # noqa: FBT003
    return max(0.0, value * (1.0 - slippage) * (1.0 - costs.fee) - costs.fixed_fee)


@compiled
def settle(trades: Records, fills: Records, costs: Costs, account: Account) -> None:
    """Write the net returns of trades whose costs are decided by the size of their fills: those of the stake."""
    first = 0
    for trade in trades:
        buy, end = fills[first], first + trade["fills"]
        stake = _sized(account, account.capital, trade["stop_distance"])
        quantity, spent, _, _ = _buy(costs, stake, buy["price"], buy["depth"])
        before = 0.0
        for index in range(first + 1, end - 1):
            before += _sell(costs, quantity, fills[index]["fraction"], fills[index]["price"], fills[index]["depth"])
        fraction, price, depth = fills[end - 1]["fraction"], fills[end - 1]["price"], fills[end - 1]["depth"]
        trade["net_return"] = (before + _sell(costs, quantity, fraction, price, depth)) / spent - 1.0
        sold = _sell(costs, quantity, fraction, trade["at_level"], trade["depth_at_level"])
        trade["net_at_level"] = (before + sold) / spent - 1.0
        sold = _sell(costs, quantity, fraction, trade["at_low"], trade["depth_at_low"])
        trade["net_at_low"] = (before + sold) / spent - 1.0
        sold = _sell(costs, quantity, fraction, trade["if_dead"], depth)
        trade["net_if_dead"] = (before + sold) / spent - 1.0
        first = end


@compiled
def _describe(
    trades: Records,
    fills: Records,
    quantity: Floats,
    skipped: npt.NDArray[np.int8],
    bought: Bought,
    account: Account,
    costs: Costs,
) -> tuple[Floats, Floats, Floats]:
    """Return fee, slippage and filled part of every fill, of trades whose costs are decided by size."""
    fee, slippage, filled = np.zeros(len(fills)), np.empty(len(fills)), np.ones(len(fills))
    first = 0
    for index in range(len(trades)):
        end, held, taken = first + trades[index]["fills"], quantity[index], skipped[index] == TAKEN
        slippage[first], filled[first] = bought.slippage[index], bought.filled[index]
        if not taken:
            stake = _sized(account, account.capital, trades[index]["stop_distance"])
            held, _, slippage[first], filled[first] = _buy(costs, stake, fills[first]["price"], fills[first]["depth"])
        else:
            fee[first] = held * fills[first]["price"] * (1.0 + slippage[first]) * costs.fee + costs.fixed_fee
        for fill in range(first + 1, end):
            value = held * fills[fill]["fraction"] * fills[fill]["price"]
            slippage[fill] = _slippage(costs, value, fills[fill]["depth"], False)  # noqa: FBT003
            if taken:
                paid = value * (1.0 - slippage[fill])
                fee[fill] = min(paid, paid * costs.fee + costs.fixed_fee)
        first = end
    return fee, slippage, filled


@compiled
def _allocate(
    trades: Records,
    fills: Records,
    owner: Integers,
    order: Integers,
    tokens: Integers,
    marks: Marks,
    account: Account,
    costs: Costs,
) -> tuple[Floats, Floats, Floats, npt.NDArray[np.int8], Bought]:
    invested, pnl = np.zeros(len(trades)), np.zeros(len(trades))
    skipped = np.zeros(len(trades), np.int8)
    bought = Bought(np.zeros(len(trades)), np.ones(len(trades)))
    count = tokens.max() + 1 if len(tokens) else 0
    on_token, cool_from = np.zeros(count, np.int64), np.full(count, np.iinfo(np.int64).min)
    book = _empty_book(np.zeros(len(trades)))
    cash, held, losses = account.capital, 0, 0
    paused_until, stopped_from = np.iinfo(np.int64).min, np.iinfo(np.int64).max
    watching, label, highest = False, 0, account.capital
    for event in order:
        index, fill = owner[event], fills[event]
        trade, token, now = trades[index], tokens[index], fill["time"]
        if watching:
            while label < now:
                equity = cash + _value(trades, marks, book, book.watched, account, label)
                highest = max(highest, equity)
                fallen = equity - highest * (1.0 - account.max_drawdown) <= ROUNDING * account.capital
                if fallen:
                    stopped_from = min(stopped_from, label + account.timeframe)
                label += account.timeframe
        if event == 0 or owner[event - 1] != index:
            amount = account.size
            if account.sizing != FIXED:
                equity = cash + _value(trades, marks, book, book.passed, account, now - account.timeframe)
                amount = _sized(account, equity, trade["stop_distance"])
            if 0 <= account.max_open <= held:
                skipped[index] = NO_SLOT
            elif 0 <= account.max_per_token <= on_token[token]:
                skipped[index] = MAX_PER_TOKEN
            elif now < cool_from[token]:
                skipped[index] = COOLDOWN
            elif now < paused_until:
                skipped[index] = PAUSE_AFTER_LOSSES
            elif now >= stopped_from:
                skipped[index] = STOP_AT_DRAWDOWN
            elif not _affordable(amount, cash, account) or (costs.by_size and amount <= costs.fixed_fee):
                skipped[index] = NO_CASH
            else:
                quantity, spent, slippage, filled = _buy(costs, amount, fill["price"], fill["depth"])
                cash -= spent
                held += 1
                on_token[token] += 1
                invested[index] = spent
                book.quantity[index] = quantity
                bought.slippage[index], bought.filled[index] = slippage, filled
                sold = quantity * trade["proceeds"]
                if costs.by_size:
                    sold = 0.0
                    for sell in range(event + 1, event + trade["fills"]):
                        sold += _sell(
                            costs, quantity, fills[sell]["fraction"], fills[sell]["price"], fills[sell]["depth"]
                        )
                pnl[index] = sold - spent
                _open(book, index, trade["fills"] - 1)
                if account.max_drawdown > 0.0 and not watching:
                    watching, label = True, now
        elif skipped[index] == TAKEN:
            cash += _sell(costs, book.quantity[index], fill["fraction"], fill["price"], fill["depth"])
            if _take(book, index, fill["fraction"]):
                held -= 1
                on_token[token] -= 1
                if account.cooldown > 0:
                    cool_from[token] = now + account.cooldown
                losses = losses + 1 if trade["net_return"] <= 0.0 else 0
                if losses == account.pause_count and losses > 0:
                    losses = 0
                    paused_until = now + account.pause
    return book.quantity, invested, pnl, skipped, bought


@compiled
def _value_steps(
    trades: Records,
    fills: Records,
    owner: Integers,
    opened: Integers,
    quantity: Floats,
    marks: Marks,
    timeframe: int,
    first: int,
    points: int,
) -> Floats:
    """Return what the open positions are worth at every step of the series.

    Position after position, so that its closes are read in a row; every step still adds the positions up in the
    order of their opening, which decides the last digits. `opened` has their buys in that order, as indices of fills;
    `first` is the label of the first step.
    """
    value = np.zeros(points)
    for buy in opened:
        index = owner[buy]
        trade = trades[index]
        remaining = 1.0
        passed = 0
        for fill in range(buy, buy + trade["fills"] - 1):
            if fill > buy:
                remaining -= fills[fill]["fraction"]
            begin = -((first - fills[fill]["time"]) // timeframe)  # the first step that holds the fill
            end = min(points, -((first - fills[fill + 1]["time"]) // timeframe))
            held = quantity[index] * remaining
            if trade["mark_time"] < 0:
                row = trade["mark"] + (first - trade["entry_time"]) // timeframe
                for point in range(begin, end):
                    value[point] += held * marks.closes[row + point]
            else:
                rows = trade["exit_row"] - trade["entry_row"] + 1
                for point in range(begin, end):
                    while passed < rows and marks.times[trade["mark_time"] + passed] <= first + point * timeframe:
                        passed += 1
                    value[point] += held * marks.closes[trade["mark"] + passed - 1]
    return value


@compiled
def _follow(
    trades: Records,
    fills: Records,
    owner: Integers,
    order: Integers,
    quantity: Floats,
    invested: Floats,
    skipped: npt.NDArray[np.int8],
    value: Floats,
    account: Account,
    costs: Costs,
    first: int,
) -> tuple[Integers, Floats, Floats, Floats, Floats, npt.NDArray[np.int32]]:
    points = len(value)
    timestamp = np.empty(points, np.int64)
    equity, cash_at = np.empty(points), np.empty(points)
    exposure, drawdown = np.empty(points), np.empty(points)
    open_positions = np.empty(points, np.int32)
    sells = trades["fills"] - 1
    cash, highest, held, position = account.capital, account.capital, 0, 0
    for point in range(points):
        label = first + point * account.timeframe
        while position < len(order) and fills[order[position]]["time"] <= label:
            event = order[position]
            index, fill = owner[event], fills[event]
            position += 1
            if skipped[index] != TAKEN:
                continue
            if event == 0 or owner[event - 1] != index:
                cash -= invested[index]
                held += 1
            else:
                cash += _sell(costs, quantity[index], fill["fraction"], fill["price"], fill["depth"])
                sells[index] -= 1
                held -= sells[index] == 0
        worth = cash + value[point]
        highest = max(highest, worth)
        timestamp[point] = label + account.timeframe
        equity[point] = worth
        cash_at[point] = cash
        exposure[point] = min(value[point] / worth, 1.0) if worth > 0.0 else 0.0
        drawdown[point] = worth / highest - 1.0
        open_positions[point] = held
    return timestamp, equity, cash_at, exposure, drawdown, open_positions


@inner
def _sized(account: Account, equity: float, stop_distance: float) -> float:
    if account.sizing == FIXED:
        return account.size
    if account.sizing == FRACTION:
        return equity * account.size
    most = equity * account.max_fraction
    return min(equity * account.size / stop_distance, most) if stop_distance > 0.0 else most


@compiled
def _affordable(amount: float, cash: float, account: Account) -> bool:
    return amount >= 0.0 and amount - cash <= ROUNDING * min(amount, account.capital)


@compiled
def _value(trades: Records, marks: Marks, book: Book, ended: Integers, account: Account, label: int) -> float:
    """Return what the open positions are worth at the closes of candles labelled up to `label`.

    `ended` counts the candles of each trade known to have ended, and is written to: labels must not fall.
    """
    value = 0.0
    index = book.later[len(trades)]
    while index < len(trades):
        trade = trades[index]
        rows = trade["exit_row"] - trade["entry_row"] + 1
        passed = ended[index]
        if trade["mark_time"] < 0:
            passed = max(0, min(rows, (label - trade["entry_time"]) // account.timeframe + 1))
        else:
            while passed < rows and marks.times[trade["mark_time"] + passed] <= label:
                passed += 1
        ended[index] = passed
        price = marks.closes[trade["mark"] + passed - 1] if passed > 0 else trade["entry_price"]
        value += book.quantity[index] * book.remaining[index] * price
        index = book.later[index]
    return value


@compiled
def _empty_book(quantity: Floats) -> Book:
    count = len(quantity)
    return Book(
        quantity,
        np.zeros(count),
        np.zeros(count, np.int64),
        np.zeros(count, np.int64),
        np.zeros(count, np.int64),
        np.full(count + 1, count),
        np.full(count + 1, count),
    )


@compiled
def _open(book: Book, index: int, sells: int) -> None:
    end = len(book.later) - 1
    last = book.earlier[end]
    book.later[last] = index
    book.later[index] = end
    book.earlier[index] = last
    book.earlier[end] = index
    book.remaining[index] = 1.0
    book.sells[index] = sells


@compiled
def _take(book: Book, index: int, fraction: float) -> bool:
    """Take a fraction off a position and tell whether that closed it."""
    book.remaining[index] -= fraction
    book.sells[index] -= 1
    if book.sells[index] > 0:
        return False
    book.later[book.earlier[index]] = book.later[index]
    book.earlier[book.later[index]] = book.earlier[index]
    return True
