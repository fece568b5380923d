import hashlib

import polars as pl
import pytest

from lab_pipeline.domain import frames, schemas
from lab_pipeline.domain.timeframe import timeframe_ms
from lab_pipeline.lake import Lake, generate_market, market_chunks
from lab_pipeline.lake.demo import CALLERS, SAID, TokenKind

CANDLES_OF_SEED_3 = "62891eb3bc53a841"
CALLS_OF_SEED_3 = "677bff4950ed463c"


@pytest.fixture(scope="module")
def market():
    return generate_market()


@pytest.fixture(scope="module")
def lives(market):
    """One row a token: what its price did, in multiples of its first open."""
    open_, close = pl.col("open").first(), pl.col("close")
    return (
        market.candles.group_by("mint")
        .agg(
            rows=pl.len(),
            expected=(pl.col("timestamp").max() - pl.col("timestamp").min()).dt.total_minutes() // 5 + 1,
            highest=pl.col("high").max() / open_,
            lowest=pl.col("low").min() / open_,
            last=close.last() / open_,
            worst_step=(close / close.shift()).min(),
            after_peak=close.last() / close.max(),
        )
        .join(market.tokens, on="mint")
    )


def content(frame):
    digest = hashlib.sha256()
    for column in frame:
        listed = column.dtype == pl.String or column.dtype.is_nested()
        values = column.to_list() if listed else column.to_physical().to_numpy().tobytes()
        digest.update(repr(values).encode())
    return digest.hexdigest()


def of_kind(lives, kind):
    return lives.filter(pl.col("kind") == kind)


def test_same_seed_same_bytes_on_every_machine():
    market = generate_market(3, tokens=20, days=3, calls=40)
    assert content(market.candles)[:16] == CANDLES_OF_SEED_3
    assert content(market.calls)[:16] == CALLS_OF_SEED_3


def test_other_seed_other_market(market):
    other = generate_market(8)
    assert content(other.candles) != content(market.candles)
    assert set(other.candles["mint"]).isdisjoint(market.candles["mint"])


def test_pieces_are_the_whole():
    whole = generate_market(5, tokens=30, days=2, calls=90)
    pieces = list(market_chunks(5, tokens=30, days=2, calls=90, chunk_tokens=7))
    assert len(pieces) == 5
    assert pl.concat([piece.candles for piece in pieces]).sort("mint", "timestamp").equals(whole.candles)
    assert pl.concat([piece.calls for piece in pieces]).sort("called_at", "call_id").equals(whole.calls)


def test_candles_of_a_token_do_not_depend_on_the_others():
    few, many = generate_market(5, tokens=10, days=2, calls=10), generate_market(5, tokens=40, days=2, calls=500)
    same = many.candles.filter(pl.col("mint").is_in(few.candles["mint"].unique().to_list()))
    assert same.equals(few.candles)


@pytest.mark.parametrize("timeframe", ["1m", "5m", "1h"])
def test_every_row_keeps_the_rules(timeframe):
    market = generate_market(11, tokens=60, days=5, timeframe=timeframe, calls=200)
    assert market.candles.schema == {**frames.CANDLES, **frames.CANDLE_OPTIONS}
    assert market.calls.schema == {**frames.CALLS, **SAID}
    schemas.CANDLES.validate(market.candles.select(frames.CANDLES.names()), lazy=True)
    schemas.CALLS.validate(market.calls.select(frames.CALLS.names()), lazy=True)
    assert (market.candles["timestamp"].to_physical() % timeframe_ms(timeframe) == 0).all()
    assert market.candles.equals(market.candles.sort("mint", "timestamp"))
    assert market.calls.height == 200


def test_market_is_of_a_lifelike_size(market):
    assert market.tokens.height == market.candles["mint"].n_unique() == 300
    assert market.calls.height == 1500
    assert set(market.tokens["kind"]) == set(TokenKind)
    first_opens = market.candles.group_by("mint").agg(pl.col("open").first())["open"]
    assert first_opens.is_between(1e-7, 1e-2).all()


def test_pumps_multiply_and_give_most_of_it_back(lives):
    pumps = of_kind(lives, TokenKind.PUMP)
    assert pumps["highest"].median() > 2
    assert pumps["after_peak"].median() < 0.5


def test_rugs_rise_and_collapse_within_minutes(lives):
    rugs = of_kind(lives, TokenKind.RUG)
    assert rugs["highest"].median() > 1.6
    assert rugs["worst_step"].median() < 0.5
    assert rugs["last"].max() < 0.3


def test_climbers_climb_and_bleeders_bleed(lives):
    assert of_kind(lives, TokenKind.CLIMBER)["last"].median() > 2
    assert of_kind(lives, TokenKind.BLEEDER)["last"].median() < 0.6
    assert of_kind(lives, TokenKind.BLEEDER)["highest"].median() < 1.5


def test_choppy_tokens_come_back(lives):
    assert 0.4 < of_kind(lives, TokenKind.CHOPPY)["last"].median() < 1.7


def test_a_lake_takes_every_row_with_its_plan_and_its_pool(tmp_path):
    market = generate_market(11, tokens=30, days=3, calls=100)
    lake = Lake(tmp_path / "lake")
    assert lake.write_candles(market.candles, "5m").added == market.candles.height
    assert lake.write_calls(market.calls).added == 100
    assert lake.calls().equals(market.calls)
    assert lake.has_liquidity("5m")


def test_a_pool_is_worth_the_root_of_the_price_until_a_rug_is_pulled(market):
    root = (pl.col("close") / pl.col("open").first()).sqrt()
    depth = pl.col("liquidity") / root
    pools = (
        market.candles.group_by("mint", maintain_order=True)
        .agg(kept=depth.last() / depth.first(), worst=(depth / depth.shift()).min(), launch=depth.first())
        .join(market.tokens, on="mint")
    )
    rugs = of_kind(pools, TokenKind.RUG)
    assert rugs["kept"].max() < 0.03
    assert pools.filter(pl.col("kind") != TokenKind.RUG)["worst"].min() > 0.9
    assert pools["launch"].min() > 1_000
    assert of_kind(pools, TokenKind.THIN)["launch"].median() < of_kind(pools, TokenKind.CLIMBER)["launch"].median() / 10


def test_what_a_candle_trades_is_of_the_size_of_a_stake_on_quiet_days_and_more_in_a_pump(market):
    traded = market.candles.join(market.tokens, on="mint").with_columns(value=pl.col("volume") * pl.col("close"))
    medians = dict(traded.group_by("kind").agg(pl.col("value").median()).rows())
    assert 10 < medians[TokenKind.BLEEDER] < 1_000
    assert medians[TokenKind.THIN] < medians[TokenKind.PUMP] < medians[TokenKind.CLIMBER]
    assert traded["value"].max() > 10_000


def test_thin_tokens_have_gaps_and_others_few(lives):
    coverage = lives.with_columns(coverage=pl.col("rows") / pl.col("expected"))
    assert of_kind(coverage, TokenKind.THIN)["coverage"].max() < 0.5
    assert coverage.filter(pl.col("kind") != TokenKind.THIN)["coverage"].min() > 0.9


def test_calls_come_while_the_token_trades_and_off_the_grid(market):
    spans = market.candles.group_by("mint").agg(first=pl.col("timestamp").min(), last=pl.col("timestamp").max())
    calls = market.calls.join(spans, on="mint")
    assert calls.height == market.calls.height
    assert (calls["called_at"] > calls["first"]).all()
    assert (calls["called_at"] <= calls["last"]).all()
    assert (calls["called_at"].to_physical() % 60_000 != 0).all()
    assert (calls["called_at"].to_physical() % 1000 != 0).mean() > 0.9


def test_callers_differ_in_skill(market):
    """Compare the last close within a day of a call with the first open after it."""
    time = pl.col("timestamp")
    day = market.calls.join(market.candles, on="mint").filter(
        time >= pl.col("called_at"), time < pl.col("called_at") + pl.duration(days=1)
    )
    held = day.sort("call_id", "timestamp").group_by("call_id", "caller")
    gains = held.agg(gain=pl.col("close").last() / pl.col("open").first() - 1)
    skill = dict(gains.group_by("caller").agg(pl.col("gain").median()).rows())
    assert set(skill) == {caller.name for caller in CALLERS}
    assert skill["Yuki Tanaka"] > 0.05
    assert skill["Marta Lindqvist"] > skill["Tom Okafor"]
    assert skill["Chloe Martin"] < -0.2
    assert skill["Rico Vance"] < -0.2


def test_callers_differ_in_honesty(market):
    """Compare what was posted with the price that a reader of the call found, and with what came within a day."""
    time = pl.col("timestamp")
    day = market.calls.join(market.candles, on="mint").filter(
        time >= pl.col("called_at"), time < pl.col("called_at") + pl.duration(days=1)
    )
    found = (
        day.sort("call_id", "timestamp")
        .group_by("call_id", "caller", maintain_order=True)
        .agg(
            open=pl.col("open").first(),
            high=pl.col("high").max(),
            named=pl.col("price_at_call").first(),
            target=pl.col("targets").list.min().first(),
        )
    )
    late = found.filter(caller="Chloe Martin").select((pl.col("open") / pl.col("named")).median()).item()
    assert late > 1.3  # the pump that she names the price of was over
    honest = found.filter(caller="Marta Lindqvist")
    assert 0.95 < honest.select((pl.col("open") / pl.col("named")).median()).item() < 1.05
    reached = dict(found.group_by("caller").agg((pl.col("high") >= pl.col("target")).mean()).rows())
    assert reached["Rico Vance"] == 0
    assert reached["Marta Lindqvist"] > 0.4
    assert reached["Tom Okafor"] is None


def test_some_calls_are_short_and_some_have_no_plan(market):
    assert set(market.calls["direction"]) == {"long", "short", None}
    short = market.calls.filter(direction="short")
    assert set(short["caller"]) == {"Old Pavel"}
    plans = short.filter(pl.col("targets").is_not_null())
    assert plans.select((pl.col("targets").list.max() < pl.col("price_at_call")).all()).item()
    assert plans.select((pl.col("stop_price") > pl.col("price_at_call")).all()).item()
    silent = market.calls.filter(caller="Tom Okafor").select(SAID.names())
    assert silent.null_count().row(0) == (silent.height,) * silent.width


def test_nothing_said_of_a_call_was_unknown_then(market):
    closed = market.candles.select(
        "mint", "close", pool="liquidity", closes=pl.col("timestamp") + pl.duration(minutes=5)
    ).sort("closes")
    honest = market.calls.filter(
        pl.col("price_at_call").is_not_null() & (pl.col("caller") != "Chloe Martin")
    ).join_asof(closed, left_on="called_at", right_on="closes", by="mint", check_sortedness=False)
    known = honest.filter(pl.col("close").is_not_null())
    assert known.height > 600
    assert known.select((pl.col("price_at_call") == pl.col("close")).all()).item()
    assert known.select((pl.col("liquidity_at_call") == pl.col("pool")).all()).item()
