"""A made-up token market: launches, pumps, rugs, pools, and callers who are early, late, lucky or paid.

Same seed, same bytes, on every machine: random bits come from PCG64, and floats pass only through + - * / and sqrt,
each of which IEEE 754 defines to the last bit (exp, log and numpy's normal deviates differ between processors and
libraries). A token's candles depend on the seed and its number alone, so a market can be made in pieces.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from itertools import pairwise
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline.domain.timeframe import timeframe_ms

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
T = TypeVar("T")

MINUTE_MS = 60_000
DAY_MS = 1440 * MINUTE_MS
MARKET_START = datetime(2025, 3, 3, tzinfo=UTC)
PRICE_TICK = 1e-12
LOWEST_PRICE = 1e-10
REFERENCE_MS = 5 * MINUTE_MS
"""Volatilities below are those of a five-minute candle."""
RARE = 1 / 50
CANDLES_STREAM, CALLS_STREAM, INTEREST_STREAM, POOL_STREAM, PLANS_STREAM = range(5)
TRADED_OF_THE_POOL = 0.004
"""Typical value that a five-minute candle trades, as a part of the pool, at medium heat."""
LEFT_BY_A_RUG = 0.01
"""Of the pool, once its owner has pulled it."""
SAID = pl.Schema({name: of for name, of in frames.CALL_OPTIONS.items() if name not in {"message_id", "edited_at"}})
"""What the market's callers say; they post no messages."""
CHAIN = "solana"


class TokenKind(StrEnum):
    """What becomes of a token."""

    PUMP = "pump"
    RUG = "rug"
    CLIMBER = "climber"
    BLEEDER = "bleeder"
    CHOPPY = "choppy"
    THIN = "thin"


@dataclass(frozen=True)
class Character:
    """How tokens of a kind trade.

    Attributes:
        share: part of all tokens.
        days: shortest and longest life.
        volatility: standard deviation of a five-minute return.
        missing: part of the candles without a trade.
        pool: typical value of both sides of the pool at the launch, in quote currency.
    """

    share: float
    days: tuple[float, float]
    volatility: float
    missing: float
    pool: float


CHARACTERS = {
    TokenKind.PUMP: Character(0.24, (1.5, 6), 0.010, 0.01, 60_000),
    TokenKind.RUG: Character(0.20, (0.6, 2.5), 0.012, 0.01, 40_000),
    TokenKind.CLIMBER: Character(0.12, (4, 14), 0.006, 0.01, 200_000),
    TokenKind.BLEEDER: Character(0.20, (2, 8), 0.008, 0.02, 80_000),
    TokenKind.CHOPPY: Character(0.14, (2, 10), 0.009, 0.02, 100_000),
    TokenKind.THIN: Character(0.10, (2, 10), 0.015, 0.65, 8_000),
}


class CallStyle(StrEnum):
    """When in a token's life a caller speaks up."""

    EARLY = "early"
    PATIENT = "patient"
    CHASER = "chaser"
    COIN_FLIP = "coin_flip"
    PROMOTER = "promoter"
    SNIPER = "sniper"
    CONTRARIAN = "contrarian"


@dataclass(frozen=True)
class Plan:
    """What a caller posts beside the token; levels are multiples of the price that they name.

    Attributes:
        targets: where to sell, ascending.
        stop: where to give up; null for never.
        entry: up to where to buy; null for wherever the price is.
        hindsight_minutes: how long before the call the price was what they name.
        posted: part of their calls that have entry, targets and stop.
        shorts: part of their calls that are bets on a fall.
    """

    targets: tuple[float, ...]
    stop: float | None = None
    entry: float | None = None
    hindsight_minutes: float = 0
    posted: float = 1
    shorts: float = 0


@dataclass(frozen=True)
class Caller:
    """Someone who calls tokens.

    Attributes:
        name: as it appears in the calls.
        style: when they call.
        activity: how often they call, relative to the others.
        taste: how much they are drawn to each kind, in the order of `TokenKind`; skill is taste for what rises.
        plan: what they post beside the token; null for nothing.
    """

    name: str
    style: CallStyle
    activity: float
    taste: tuple[float, ...]
    plan: Plan | None = None

    @property
    def page(self) -> str:
        """Where they post."""
        return "https://example.org/" + self.name.lower().replace(" ", "-")


CALLERS = (
    Caller(
        "Marta Lindqvist",
        CallStyle.EARLY,
        0.8,
        (5, 1.5, 3, 0.8, 0.8, 0.3),
        Plan(targets=(1.3, 1.8, 2.5), stop=0.75),
    ),
    Caller(
        "Deniz Kaya",
        CallStyle.EARLY,
        1.0,
        (3, 1.2, 1.5, 0.8, 0.8, 0.4),
        Plan(targets=(1.4, 2.2), stop=0.7, entry=0.95),
    ),
    Caller(
        "Yuki Tanaka",
        CallStyle.PATIENT,
        0.8,
        (1, 0.2, 6, 0.4, 1, 0.3),
        Plan(targets=(1.1, 1.25, 1.5), stop=0.88),
    ),
    Caller("Tom Okafor", CallStyle.COIN_FLIP, 1.2, (1, 1, 1, 1, 1, 1)),
    # names the price from before the pump, at which nobody who reads the call can buy
    Caller(
        "Chloe Martin",
        CallStyle.CHASER,
        1.4,
        (4, 3, 0.6, 0.3, 0.3, 0.2),
        Plan(targets=(1.5, 2, 3), stop=0.8, entry=1, hindsight_minutes=120),
    ),
    # names targets that are never reached, and no stop
    Caller("Rico Vance", CallStyle.PROMOTER, 1.0, (1.5, 7, 0.2, 0.5, 0.2, 0.3), Plan(targets=(10, 25, 100))),
    Caller("sniper_bot_9", CallStyle.SNIPER, 1.6, (1, 1, 1, 1, 1, 1), Plan(targets=(1.25,), stop=0.85)),
    Caller(
        "Old Pavel",
        CallStyle.CONTRARIAN,
        0.7,
        (1, 1, 0.3, 3, 1.5, 1),
        Plan(targets=(1.2, 1.5), stop=0.8, posted=0.6, shorts=0.25),
    ),
)


@dataclass(frozen=True)
class DemoMarket:
    """A market, or a range of its tokens.

    Attributes:
        candles: columns of `frames.CANDLES` and `frames.CANDLE_OPTIONS`, sorted by mint and timestamp.
        calls: columns of `frames.CALLS` and `SAID`, sorted by called_at and call_id.
        tokens: one row a token: mint, kind, launched_at.
    """

    candles: pl.DataFrame
    calls: pl.DataFrame
    tokens: pl.DataFrame


def generate_market(
    seed: int = 7,
    *,
    tokens: int = 300,
    days: float = 14,
    timeframe: str = "5m",
    calls: int = 1500,
    start: datetime = MARKET_START,
) -> DemoMarket:
    """Make a market.

    Args:
        seed: another seed, another market.
        tokens: how many are launched.
        days: length of the market; launches fall into its first part.
        timeframe: length of a candle.
        calls: how many calls, in all.
        start: when it begins; midnight UTC fits every timeframe.
    """
    (market,) = market_chunks(
        seed, tokens=tokens, days=days, timeframe=timeframe, calls=calls, start=start, chunk_tokens=tokens
    )
    return market


def market_chunks(
    seed: int = 7,
    *,
    tokens: int,
    days: float = 14,
    timeframe: str = "5m",
    calls: int,
    start: datetime = MARKET_START,
    chunk_tokens: int = 1000,
) -> Iterator[DemoMarket]:
    """Make the same market as `generate_market` in pieces of some tokens, for markets larger than memory."""
    window = _Window(_to_ms(start), int(days * DAY_MS), timeframe_ms(timeframe))
    counts = _calls_per_token(seed, tokens, calls)
    for first in range(0, tokens, chunk_tokens):
        numbers = range(first, min(first + chunk_tokens, tokens))
        made = [_Token(seed, number, window) for number in numbers]
        yield DemoMarket(
            candles=_candles_frame(made),
            calls=_calls_frame([call for token in made for call in token.calls(int(counts[token.number]))]),
            tokens=_tokens_frame(made),
        )


@dataclass(frozen=True)
class _Window:
    start_ms: int
    length_ms: int
    step_ms: int

    @property
    def per_hour(self) -> float:
        return 60 * MINUTE_MS / self.step_ms


class _Token:
    """One token: its candles, and the moments that callers wait for."""

    def __init__(self, seed: int, number: int, window: _Window) -> None:
        self.number = number
        self._seed = seed
        self._window = window
        random = _generator(seed, number, CANDLES_STREAM)
        self.mint = _mint(random)
        self.kind = _choose(list(CHARACTERS), [c.share for c in CHARACTERS.values()], random.random())
        self._character = CHARACTERS[self.kind]
        self._place(random)
        self._trade(random)

    @property
    def launched_ms(self) -> int:
        """When its first candle opens."""
        return int(self.timestamp[0])

    def calls(self, count: int) -> list[tuple[object, ...]]:
        """Make calls: the columns of `frames.CALLS`, called_at in milliseconds, and those of `SAID`."""
        random = _generator(self._seed, self.number, CALLS_STREAM)
        plans = _generator(self._seed, self.number, PLANS_STREAM)
        column = list(TokenKind).index(self.kind)
        appeal = [caller.activity * caller.taste[column] for caller in CALLERS]
        made = []
        for position in range(count):
            caller = _choose(CALLERS, appeal, random.random())
            called_at = self._moment(caller.style, random)
            call_id = f"demo-{self.number:06d}-{position:03d}"
            said = self._said(caller, call_id, called_at, plans)
            made.append((call_id, caller.name, self.mint, called_at, *said))
        return made

    def _said(self, caller: Caller, call_id: str, called_at: int, random: np.random.Generator) -> tuple[object, ...]:
        """Return what a caller says of a token: the columns of `SAID`."""
        plan, short, posted = caller.plan, *random.random(2)
        if plan is None:
            return (None,) * len(SAID)
        _, pool = self._known(called_at)
        price, _ = self._known(called_at - int(plan.hindsight_minutes * MINUTE_MS))
        falls = short < plan.shorts

        def level(multiple: float | None) -> float | None:
            if multiple is None:
                return None
            return float(_tick(np.array(price / multiple if falls else price * multiple)))

        levels = (
            (level(plan.entry), [level(one) for one in plan.targets], level(plan.stop))
            if posted < plan.posted
            else (None, None, None)
        )
        cap = float(np.rint(price * self._supply))
        return ("short" if falls else "long", *levels, price, cap, pool, CHAIN, f"{caller.page}/{call_id}")

    def _known(self, moment: int) -> tuple[float, float]:
        """Return the price and the pool that could be seen at a moment: those of the last close, or of the launch."""
        place = int(np.searchsorted(self.timestamp, moment - self._window.step_ms, side="right")) - 1
        if place < 0:
            return float(self.open[0]), self._launch_pool
        return float(self.close[place]), float(self.liquidity[place])

    def _place(self, random: np.random.Generator) -> None:
        """Choose when it lives, when it takes off and when it turns, in candles since its launch."""
        shortest, longest = self._character.days
        life_ms = (shortest + (longest - shortest) * random.random()) * DAY_MS
        latest_launch = max(self._window.length_ms - life_ms, self._window.length_ms * 0.25)
        launch_ms = latest_launch * random.random()
        step = self._window.step_ms
        launch = int(launch_ms // step)
        self._count = max(2, int(min(life_ms, self._window.length_ms - launch_ms) // step))
        self._launch_ms = self._window.start_ms + launch * step
        hour = self._window.per_hour
        rest = self._count * (0.02 + 0.25 * random.random())
        self._takeoff = int(min(rest, 18 * hour * random.random() + hour))
        rise = {TokenKind.PUMP: 0.7 + 5 * random.random(), TokenKind.RUG: 1 + 4 * random.random()}.get(self.kind, 24)
        self._peak = min(self._count - 1, self._takeoff + max(2, int(rise * hour)))

    def _trade(self, random: np.random.Generator) -> None:
        """Make the candles of the times at which somebody trades."""
        trend = self._trend(random)
        heat = 1 + 2 * self._heat()
        scale = np.sqrt(self._window.step_ms / REFERENCE_MS)
        sigma = self._character.volatility * scale * (0.7 + 0.6 * random.random()) * heat
        walk = np.cumprod(1 + sigma * _bell(random, self._count))
        first_price = 1e-5 * _spread(random.random(), 30)
        close = first_price * trend * walk
        traded = random.random(self._count) >= self._character.missing
        traded[0] = True
        kept = np.flatnonzero(traded)
        draws = random.random((2, self._count))[:, kept]
        wicks = draws * draws * (1.5 * sigma[kept])
        gap = 1 + 0.2 * sigma[kept] * (random.random(self._count)[kept] - 0.5)
        close = close[kept]
        opening = np.concatenate([[first_price], close[:-1]]) * gap
        self.timestamp = self._launch_ms + kept.astype(np.int64) * self._window.step_ms
        self.open, self.close = _tick(opening), _tick(close)
        self.high = np.maximum(_tick(np.maximum(opening, close) * (1 + wicks[0])), np.maximum(self.open, self.close))
        self.low = np.minimum(_tick(np.minimum(opening, close) / (1 + wicks[1])), np.minimum(self.open, self.close))
        crowd = np.minimum(random.random(self._count)[kept], 0.98)
        self._fill_pool(kept)
        usual = TRADED_OF_THE_POOL * (self._window.step_ms / REFERENCE_MS) * self.liquidity
        turnover = usual * (heat[kept] - 0.8) * crowd / (1 - crowd)
        self.volume = np.rint(turnover / self.close * 100) / 100

    def _fill_pool(self, kept: Integers) -> None:
        """Make the pool: of constant product, so worth the square root of the price, until the owner of a rug pulls it.

        Args:
            kept: the candles' numbers since the launch.
        """
        random = _generator(self._seed, self.number, POOL_STREAM)
        self._launch_pool = float(np.rint(self._character.pool * _spread(random.random(), 4)))
        pool = self._launch_pool * np.sqrt(self.close / self.open[0])
        if self.kind is TokenKind.RUG:
            pool = np.where(kept > self._peak, LEFT_BY_A_RUG * pool, pool)
        self.liquidity = np.rint(pool)
        in_the_pool = 0.05 + 0.25 * random.random()
        self._supply = np.rint(self._launch_pool / 2 / float(self.open[0]) / in_the_pool)

    def _trend(self, random: np.random.Generator) -> Floats:
        """Return the token's fate: the price without its noise, 1 at the launch."""
        fate, after = random.random(), random.random()
        end = self._count - 1
        time = np.arange(self._count) / self._window.per_hour
        match self.kind:
            case TokenKind.PUMP:
                top = 2.5 * _spread(fate, 2.2)
                settled = min(end, self._peak + int((2 + 20 * after) * self._window.per_hour))
                knots = [(self._takeoff, 1.0), (self._peak, top), (settled, 1 + (top - 1) * 0.3 * after), (end, 0.6)]
            case TokenKind.RUG:
                top = 1.6 + 3 * fate
                gone = min(end, self._peak + 2)
                knots = [(self._takeoff, 1.0), (self._peak, top), (gone, 0.04 * top * (0.2 + after)), (end, 0.01)]
            case TokenKind.CLIMBER:
                wave = np.abs((time / (9 + 8 * after)) % 2 - 1)  # a saw tooth: rests on the way up
                climb: Floats = (1 + time * (0.012 + 0.03 * fate)) * (1 + 0.12 * wave)
                return climb
            case TokenKind.BLEEDER:
                bleed: Floats = 1 / (1 + time * (0.008 + 0.05 * fate))
                return bleed
            case _:
                swing: Floats = 1 + (0.1 + 0.25 * fate) * (2 * np.abs((time / (3 + 9 * after)) % 2 - 1) - 1)
                return swing
        return _lines(knots, self._count)

    def _heat(self) -> Floats:
        """Return how excited the trading is, from 0 to 1."""
        index = np.arange(self._count)
        if self.kind in {TokenKind.PUMP, TokenKind.RUG}:
            rising = (index >= self._takeoff) & (index <= self._peak + 2)
            hours_after = np.maximum(index - self._peak, 0) / self._window.per_hour
            heat: Floats = np.where(rising, 1.0, np.where(index > self._peak, 1 / (1 + hours_after), 0.1))
            return heat
        return np.maximum(0.1, 1 - index / (2 * self._window.per_hour))

    def _moment(self, style: CallStyle, random: np.random.Generator) -> int:
        """Choose when a caller of a style speaks: to the millisecond, never just as a candle opens."""
        step, draw = self._window.step_ms, random.random()
        takeoff, peak = self._takeoff * step, self._peak * step
        life = self._count * step
        offset = {
            CallStyle.EARLY: takeoff + (draw - 0.3) * 45 * MINUTE_MS,
            CallStyle.PATIENT: life * (0.1 + 0.4 * draw),
            CallStyle.CHASER: takeoff + (peak - takeoff) * (0.55 + 0.6 * draw),
            CallStyle.COIN_FLIP: life * 0.85 * draw,
            CallStyle.PROMOTER: takeoff + (peak - takeoff) * (0.35 + 0.6 * draw),
            CallStyle.SNIPER: (15 + 75 * draw) * 1000,
            CallStyle.CONTRARIAN: peak + (2 + 10 * draw) * 60 * MINUTE_MS,
        }[style]
        inside = int(min(max(offset, 5_000), 0.95 * life))
        on_the_minute = inside % MINUTE_MS == 0
        return self._launch_ms + inside + (137 if on_the_minute else 0)


def _calls_per_token(seed: int, tokens: int, calls: int) -> Integers:
    """Share the calls out: a few tokens are on everyone's lips. Exact in sum, by largest remainder."""
    draws = _generator(seed, 0, INTEREST_STREAM).random(tokens)
    interest = 0.15 + draws * draws * draws * 4
    quota = interest / np.cumsum(interest)[-1] * calls
    counts: Integers = np.floor(quota).astype(np.int64)
    short = calls - int(counts.sum())
    counts[np.argsort(counts - quota, kind="stable")[:short]] += 1
    return counts


def _candles_frame(tokens: list[_Token]) -> pl.DataFrame:
    ordered = sorted(tokens, key=lambda token: token.mint)
    lengths = np.array([len(token.timestamp) for token in ordered])
    columns: dict[str, pl.Series] = {
        "mint": pl.Series([token.mint for token in ordered]).gather(np.repeat(np.arange(len(ordered)), lengths)),
        "timestamp": pl.Series(np.concatenate([token.timestamp for token in ordered])).cast(frames.TIMESTAMP),
    }
    for name in ("open", "high", "low", "close", "volume", "liquidity"):
        columns[name] = pl.Series(np.concatenate([getattr(token, name) for token in ordered]))
    return pl.DataFrame(columns, schema={**frames.CANDLES, **frames.CANDLE_OPTIONS})


def _calls_frame(calls: list[tuple[object, ...]]) -> pl.DataFrame:
    frame = pl.DataFrame(calls, schema={**frames.CALLS, "called_at": pl.Int64, **SAID}, orient="row")
    return frame.cast({"called_at": frames.TIMESTAMP}).sort("called_at", "call_id")


def _tokens_frame(tokens: list[_Token]) -> pl.DataFrame:
    rows = [(token.mint, str(token.kind), token.launched_ms) for token in tokens]
    frame = pl.DataFrame(rows, schema={"mint": pl.String, "kind": pl.String, "launched_at": pl.Int64}, orient="row")
    return frame.cast({"launched_at": frames.TIMESTAMP})


SYLLABLES = (
    "BON",
    "PEP",
    "WIF",
    "MOO",
    "DOG",
    "CAT",
    "FRO",
    "GIG",
    "ZAP",
    "LUN",
    "KEK",
    "TUR",
    "NYA",
    "SOL",
    "HOP",
    "YOL",
)
BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def _mint(random: np.random.Generator) -> str:
    """Make an address that a person can tell from another."""
    name = "".join(SYLLABLES[number] for number in random.integers(len(SYLLABLES), size=2))
    return name + "".join(BASE58[number] for number in random.integers(len(BASE58), size=10))


def _generator(seed: int, number: int, stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, number, stream])))


def _choose(items: Sequence[T], weights: list[float], draw: float) -> T:
    bounds = np.cumsum(weights)
    return items[int(np.searchsorted(bounds, draw * bounds[-1], side="right"))]


def _bell(random: np.random.Generator, count: int) -> Floats:
    """Return deviates with mean 0 and deviation 1: sums of four uniform ones, one in fifty three times as large."""
    uniform = random.random((5, count))
    deviates: Floats = (uniform[0] + uniform[1] + uniform[2] + uniform[3] - 2) * np.sqrt(3.0)
    return np.where(uniform[4] < RARE, 3 * deviates, deviates)


def _spread(draw: float, factor: float) -> float:
    """Map [0, 1) to [1 / factor, factor), rarely near the ends."""
    centred = 2 * draw - 1
    stretch = centred * centred * abs(centred) * (factor - 1)
    return 1 + stretch if centred >= 0 else 1 / (1 + stretch)


def _lines(knots: list[tuple[int, float]], count: int) -> Floats:
    """Draw straight lines between (index, value) knots, level before the first."""
    values = np.full(count, knots[0][1])
    for (left, low), (right, high) in pairwise(knots):
        if right > left:
            values[left : right + 1] = low + np.arange(right - left + 1) * ((high - low) / (right - left))
    return values


def _tick(price: Floats) -> Floats:
    """Round to the price tick; nothing trades at zero."""
    return np.maximum(np.rint(price / PRICE_TICK) * PRICE_TICK, LOWEST_PRICE)


def _to_ms(moment: datetime) -> int:
    return int(moment.timestamp()) * 1000
