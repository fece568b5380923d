"""Generated strategies with every rule of what a fill costs and what a caller said, and markets that have it all."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from hypothesis import strategies as st

from lab_pipeline.domain import frames
from lab_pipeline.domain.strategy import StrategyConfig

from .generated import MINUTE_MS, Market, configs, markets, small_candles

FINER_MS = 20_000
SOMETIMES = st.integers(0, 2).map(lambda number: number == 0)


@dataclass(frozen=True)
class RichMarket(Market):
    finer: pl.DataFrame


@st.composite
def conditions(draw) -> dict[str, object]:
    direction = st.sampled_from(["up", "down"])
    few = st.integers(1, 4)
    return draw(
        st.one_of(
            st.fixed_dictionaries(
                {"kind": st.sampled_from(["ema_cross", "sma_cross"]), "fast": few, "slow": st.integers(5, 8)}
                | {"direction": direction}
            ),
            st.fixed_dictionaries({"kind": st.just("rsi"), "n": few, "below": st.sampled_from([30.0, 50.0, 100.0])}),
            st.fixed_dictionaries({"kind": st.just("rsi"), "n": few, "above": st.sampled_from([0.0, 50.0, 100.0])}),
            st.fixed_dictionaries({"kind": st.just("breakout"), "n": few, "direction": direction}),
            st.fixed_dictionaries({"kind": st.just("volume_spike"), "n": few, "multiple": st.sampled_from([0.5, 2.0])}),
            st.fixed_dictionaries(
                {"kind": st.just("ichimoku_cross"), "tenkan": few, "kijun": st.integers(5, 8), "direction": direction}
            ),
        )
    )


@st.composite
def whens(draw) -> dict[str, object]:
    return {draw(st.sampled_from(["all", "any"])): draw(st.lists(conditions(), min_size=1, max_size=2))}


def true_ranges() -> st.SearchStrategy[dict[str, object]]:
    return st.builds(
        lambda n, k: {"atr": {"n": n, "k": k}}, st.integers(1, 4), st.sampled_from([0.25, 1.0, 2.0, 40.0, 1.7])
    )


def impacts() -> st.SearchStrategy[dict[str, object]]:
    cap = st.sampled_from([0.5, 0.1, 1.0])
    return st.one_of(
        st.just({"model": "none"}),
        st.fixed_dictionaries(
            {"model": st.just("volume_share"), "maxSlippage": cap, "exponent": st.sampled_from([0.5, 1.0, 1.3])}
            | {"coefficient": st.sampled_from([0.1, 1.0, 0.0]), "maxShare": st.sampled_from([None, 0.1, 1.0])}
        ),
        st.fixed_dictionaries(
            {"model": st.just("amm"), "maxSlippage": cap, "liquidity": st.sampled_from([None, 500.0, 1e7])}
        ),
    )


@st.composite
def filters(draw) -> dict[str, object]:
    return draw(
        st.one_of(
            st.fixed_dictionaries(
                {"field": st.sampled_from(["pre_return_1h", "pre_volatility_1h"]), "min": st.sampled_from([-0.5, 0.0])}
            ),
            st.just({"field": "pre_volume_1h", "min": 1.0, "max": 5e7}),
            st.just({"field": "hour_of_day", "in": [0, 23]}),
            st.fixed_dictionaries({"field": st.just("caller"), "in": st.just(["caller0", "caller2"])}),
            st.fixed_dictionaries({"field": st.just("liquidity_at_call"), "max": st.sampled_from([0.0, 1e6])}),
            st.fixed_dictionaries({"field": st.just("call_number_on_token"), "max": st.integers(1, 3)}),
            st.fixed_dictionaries({"field": st.just("caller_calls_before"), "min": st.integers(0, 8)}),
            st.fixed_dictionaries({"field": st.just("token_age_minutes"), "max": st.sampled_from([0.0, 10.0, 60.0])}),
        )
    )


def portfolio_rules() -> st.SearchStrategy[dict[str, object]]:
    return st.fixed_dictionaries(
        {
            "maxPerToken": st.sampled_from([None, 1, 2]),
            "cooldownMinutes": st.sampled_from([None, 1.0, 30.0]),
            "pauseAfterLosses": st.sampled_from([None, {"count": 1, "minutes": 3.0}, {"count": 3, "minutes": 60.0}]),
            "stopAtDrawdown": st.sampled_from([None, 0.001, 0.05, 0.5]),
        }
    )


@st.composite
def rich_configs(draw, *, impact: bool = True) -> StrategyConfig:  # noqa: C901, PLR0912 - a rule after the other
    """Draw a strategy of `configs` and change some of what it says for what else it could say."""
    document = draw(configs()).to_json_dict()
    entry, leave, portfolio = document["entry"], document["exit"], document["portfolio"]
    leave["stopFill"]["through"] = draw(st.sampled_from([0.0, 0.5, 0.25, 1.0, 0.3]))
    if draw(SOMETIMES):
        leave["stopLoss"] = draw(true_ranges())
    if draw(SOMETIMES):
        distance = draw(true_ranges())
        leave["trailing"] = {"activation": draw(st.sampled_from([0.5, 1.0, 1.25])), "distance": distance}
    if draw(SOMETIMES):
        leave["use"] = "signal"
        leave["targetFractions"] = draw(st.sampled_from([None, [0.5], [0.5, 0.25, 0.25], [0.1, 0.1]]))
        if draw(SOMETIMES):
            leave |= {"targets": [], "trailing": None, "maxHoldMinutes": None}
            if portfolio["sizing"]["kind"] != "risk" or draw(st.booleans()):
                leave["stopLoss"] = None
    if draw(SOMETIMES):
        leave["when"] = draw(whens())
    if draw(SOMETIMES):
        entry |= {"kind": "signal", "fraction": None}
    elif draw(SOMETIMES):
        entry |= {"kind": "market", "fraction": None, "when": draw(whens())}
    if impact and draw(SOMETIMES):
        document["costs"]["fixedFee"] = draw(st.sampled_from([0.5, 20.0, 150.0]))
    if impact and draw(st.booleans()):
        document["costs"]["impact"] = draw(impacts())
    document["endOfData"]["haircut"] = draw(st.sampled_from([0.0, 0.0, 0.25, 1.0]))
    if draw(SOMETIMES):
        document["filters"] = draw(st.lists(filters(), min_size=1, max_size=2))
    if draw(SOMETIMES):
        document |= {"intrabar": "finer", "finerTimeframe": "20s"}
    if draw(st.booleans()):
        portfolio |= draw(portfolio_rules())
    return StrategyConfig.parse(document)


@st.composite
def rich_markets(draw, mints: int = 20) -> RichMarket:
    """Draw a market of `markets` whose candles tell their pools, whose calls have plans, with finer candles."""
    market = draw(markets(mints))
    return enriched(market.candles, market.calls, draw(st.integers(0, 2**32)))


@st.composite
def small_rich_markets(draw) -> RichMarket:
    """Draw a few candles, and two calls on them."""
    candles = draw(small_candles())
    begin = candles["timestamp"].min()
    calls = pl.DataFrame(
        {
            "call_id": ["a", "b"],
            "caller": ["caller0", "caller1"],
            "mint": ["m", "m"],
            "called_at": [begin, begin],
        }
    ).with_columns(
        pl.col("called_at") + pl.Series([draw(st.integers(0, 5)) * MINUTE_MS, 30_000]).cast(pl.Duration("ms"))
    )
    return enriched(candles, calls.cast(frames.CALLS), draw(st.integers(0, 2**32)))


def enriched(candles: pl.DataFrame, calls: pl.DataFrame, seed: int) -> RichMarket:
    random = np.random.default_rng(seed)
    rows, count = len(candles), len(calls)
    unknown = random.random(rows) < random.choice([0.0, 0.5, 0.99])
    liquidity = pl.Series("liquidity", random.choice([0.0, 100.0, 3_000.0, 1e8], rows))
    if random.random() < 0.7:
        candles = candles.with_columns(pl.when(pl.Series(~unknown)).then(liquidity).alias("liquidity"))
    price = candles.group_by("mint").agg(price=pl.col("open").first())
    near = calls.join(price, on="mint", how="left", maintain_order="left")["price"].fill_null(1.0)

    def at_times(values: np.ndarray, share: float) -> pl.Series:
        return pl.Series([value if random.random() < share else None for value in values.tolist()], dtype=pl.Float64)

    multiples = random.choice([0.5, 1.0, 1.125, 1.25, 1.5, 2.0, 3.0], (count, 4))
    targets = [
        None if random.random() < 0.2 else [one * float(base) for one in row[: random.integers(0, 5)]]
        for row, base in zip(multiples.tolist(), near, strict=True)
    ]
    calls = calls.with_columns(
        direction=pl.Series(random.choice(["long", "long", "long", "short"], count).tolist()),
        entry_price=near * at_times(random.choice([0.75, 0.9, 1.0, 1.25], count), 0.6),
        targets=pl.Series(targets, dtype=pl.List(pl.Float64())),
        stop_price=near * at_times(random.choice([0.25, 0.5, 0.75, 0.875, 1.0], count), 0.6),
        liquidity_at_call=at_times(random.choice([0.0, 200.0, 1e4, 1e9], count), 0.7),
    )
    return RichMarket(candles, calls, finer_of(candles, random))


def finer_of(candles: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
    """Make candles of 20 seconds whose prices are among those of their minute; some are missing."""
    parts = []
    prices = candles.select("open", "high", "low", "close").to_numpy()
    for number in range(MINUTE_MS // FINER_MS):
        chosen = np.take_along_axis(prices, random.integers(0, 4, (len(candles), 3)), axis=1)
        opened = prices[:, 0] if number == 0 else chosen[:, 0]
        close = chosen[:, 1]
        parts.append(
            candles.select("mint", pl.col("timestamp") + pl.duration(milliseconds=number * FINER_MS))
            .with_columns(
                open=pl.Series(opened),
                high=pl.Series(np.maximum(np.maximum(opened, close), chosen[:, 2])),
                low=pl.Series(np.minimum(np.minimum(opened, close), chosen[:, 2])),
                close=pl.Series(close),
                volume=pl.lit(1.0),
            )
            .filter(pl.Series(random.random(len(candles)) > random.choice([0.0, 0.3])))
        )
    return pl.concat(parts).cast(frames.CANDLES).sort("mint", "timestamp")
