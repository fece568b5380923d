"""The portfolio pass: which trades get cash and a slot, and what the account is worth at every step.

Where the contract leaves room:

- Every trade is a position of its own, a re-entry too. A buy spends the sized amount, costs included.
- Slots are asked before cash: a trade that lacks both counts as `no_slot`.
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

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lab_pipeline.domain.candles import Floats, Integers
from lab_pipeline.domain.enums import SizingKind, SkipReason
from lab_pipeline.domain.errors import LabError
from lab_pipeline.domain.strategy import FixedSizing, FractionSizing, RiskSizing, StrategyConfig
from lab_pipeline.engine.compiled import compiled
from lab_pipeline.engine.mark_prices import NO_MARKS, Marks, MarkStore

SKIP_REASONS = (None, SkipReason.NO_CASH, SkipReason.NO_SLOT)
TAKEN, NO_CASH, NO_SLOT = range(3)
SIZINGS = (SizingKind.FIXED, SizingKind.FRACTION, SizingKind.RISK)
FIXED, FRACTION, RISK = range(3)

ROUNDING = 1e-9
"""Part of an order, and of the initial capital, by which the order may exceed the cash."""

MAX_POINTS = 2**25
"""Longest series: a year of one-second steps, 1.5 GB. Fewer points would be another series than the contract's."""

Records = npt.NDArray[np.void]


class AccountTerms(NamedTuple):
    """The portfolio's rules as scalars.

    Attributes:
        capital: cash at the start.
        sizing: index into `SIZINGS`.
        size: amount for fixed, fraction of the equity otherwise.
        max_fraction: bound of risk sizing.
        stop_loss: distance that risk sizing divides by.
        max_open: positions that may be open at once, -1 for no limit.
        fee: fraction of the traded value; `slip` of the price.
        timeframe: length of a candle in milliseconds.
    """

    capital: float
    sizing: int
    size: float
    max_fraction: float
    stop_loss: float
    max_open: int
    fee: float
    slip: float
    timeframe: int


class Book(NamedTuple):
    """The open positions: arrays over trades, and a list linked in the order of opening.

    Attributes:
        quantity: tokens bought; `remaining` is the fraction of them still held.
        sells: fills to come.
        passed: candles of the trade known to have ended.
        later: the position opened next; the last entry is the first position. One longer than the trades.
        earlier: the position opened before; the last entry is the last position. One longer than the trades.
    """

    quantity: Floats
    remaining: Floats
    sells: Integers
    passed: Integers
    later: Integers
    earlier: Integers


@dataclass(frozen=True)
class Allocation:
    """What the portfolio gave each trade: zeros where `skipped` is not `TAKEN` (an index into `SKIP_REASONS`)."""

    quantity: Floats
    invested: Floats
    pnl: Floats
    skipped: npt.NDArray[np.int8]


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
    trades: Records, fills: Records, store: MarkStore, config: StrategyConfig, timeframe: int, threads: int
) -> tuple[Allocation, Series]:
    """Give the trades cash and slots in the order of time and follow the account.

    Args:
        trades: records of `kernel.TRADE`, ordered by called_at, call_id, trade_no.
        fills: their records of `kernel.FILL`, in that order, the buy of a trade first.
        store: closes from entry to exit of every trade; only those that are needed are taken out, the rest is let go.
        config: sizing, limits, costs and capital.
        timeframe: length of a candle in milliseconds.
        threads: that gather the closes; the result does not depend on it.

    Raises:
        LabError: if the series would have more than `MAX_POINTS` points.
    """
    account = _account(config, timeframe)
    owner = np.repeat(np.arange(len(trades)), trades["fills"])
    order = _event_order(trades, fills, owner)
    marks = NO_MARKS if account.sizing == FIXED else store.collect(trades, np.ones(len(trades), np.bool_), threads)
    allocation = Allocation(*_allocate(trades, fills, owner, order, marks, account))
    if account.sizing == FIXED:
        marks = store.collect(trades, allocation.skipped == TAKEN, threads)
    taken = trades[allocation.skipped == TAKEN]
    points = _count_points(taken, timeframe)
    first = int(taken["entry_time"].min()) if points else 0
    bought = order[_is_buy(owner)[order]]
    opened = bought[allocation.skipped[owner[bought]] == TAKEN]
    value = _value_steps(trades, fills, owner, opened, allocation.quantity, marks, account.timeframe, first, points)
    series = _follow(
        trades,
        fills,
        owner,
        order,
        allocation.quantity,
        allocation.invested,
        allocation.skipped,
        value,
        account,
        first,
    )
    return allocation, Series(*series)


def _account(config: StrategyConfig, timeframe: int) -> AccountTerms:
    sizing = config.portfolio.sizing
    size, max_fraction = 0.0, 1.0
    match sizing:
        case FixedSizing():
            size = sizing.amount
        case FractionSizing():
            size = sizing.fraction
        case RiskSizing():
            size, max_fraction = sizing.fraction, sizing.max_fraction
    max_open = config.portfolio.max_open_positions
    return AccountTerms(
        capital=config.portfolio.initial_capital,
        sizing=SIZINGS.index(sizing.kind),
        size=size,
        max_fraction=max_fraction,
        stop_loss=config.exit.stop_loss or 0.0,
        max_open=-1 if max_open is None else max_open,
        fee=config.costs.fee_bps / 1e4,
        slip=config.costs.slippage_bps / 1e4,
        timeframe=timeframe,
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


@compiled
def _allocate(
    trades: Records, fills: Records, owner: Integers, order: Integers, marks: Marks, account: AccountTerms
) -> tuple[Floats, Floats, Floats, npt.NDArray[np.int8]]:
    invested, pnl = np.zeros(len(trades)), np.zeros(len(trades))
    skipped = np.zeros(len(trades), np.int8)
    book = _empty_book(np.zeros(len(trades)))
    cash, held = account.capital, 0
    for event in order:
        index, fill = owner[event], fills[event]
        if event == 0 or owner[event - 1] != index:
            amount = account.size
            if account.sizing != FIXED:
                amount = _sized(account, cash + _value(trades, marks, book, account, fill["time"] - account.timeframe))
            if 0 <= account.max_open <= held:
                skipped[index] = NO_SLOT
            elif not _affordable(amount, cash, account):
                skipped[index] = NO_CASH
            else:
                cash -= amount
                held += 1
                invested[index] = amount
                book.quantity[index] = amount / (fill["price"] * (1.0 + account.slip) * (1.0 + account.fee))
                pnl[index] = book.quantity[index] * trades[index]["proceeds"] - amount
                _open(book, index, trades[index]["fills"] - 1)
        elif skipped[index] == TAKEN:
            cash += _received(account, book.quantity[index], fill)
            held -= _sell(book, index, fill["fraction"])
    return book.quantity, invested, pnl, skipped


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
    account: AccountTerms,
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
                cash += _received(account, quantity[index], fill)
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


@compiled
def _sized(account: AccountTerms, equity: float) -> float:
    if account.sizing == FRACTION:
        return equity * account.size
    return min(equity * account.size / account.stop_loss, equity * account.max_fraction)


@compiled
def _affordable(amount: float, cash: float, account: AccountTerms) -> bool:
    return amount >= 0.0 and amount - cash <= ROUNDING * min(amount, account.capital)


@compiled
def _received(account: AccountTerms, quantity: float, fill: np.void) -> float:
    received: float = quantity * fill["fraction"] * fill["price"] * (1.0 - account.slip) * (1.0 - account.fee)
    return received


@compiled
def _value(trades: Records, marks: Marks, book: Book, account: AccountTerms, label: int) -> float:
    """Return what the open positions are worth at the closes of candles labelled up to `label`."""
    value = 0.0
    index = book.later[len(trades)]
    while index < len(trades):
        trade = trades[index]
        rows = trade["exit_row"] - trade["entry_row"] + 1
        passed = book.passed[index]
        if trade["mark_time"] < 0:
            passed = max(0, min(rows, (label - trade["entry_time"]) // account.timeframe + 1))
        else:
            while passed < rows and marks.times[trade["mark_time"] + passed] <= label:
                passed += 1
        book.passed[index] = passed
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
def _sell(book: Book, index: int, fraction: float) -> int:
    """Take a fraction off a position and return how many positions that closed."""
    book.remaining[index] -= fraction
    book.sells[index] -= 1
    if book.sells[index] > 0:
        return 0
    book.later[book.earlier[index]] = book.later[index]
    book.earlier[book.later[index]] = book.earlier[index]
    return 1
