import hashlib

import polars as pl
import pytest

from lab_pipeline.domain import schemas
from lab_pipeline.domain.timeframe import timeframe_ms
from lab_pipeline.lake import generate_market, market_chunks
from lab_pipeline.lake.demo import CALLERS, TokenKind

CANDLES_OF_SEED_3 = "fb5fda27adf8b876"
CALLS_OF_SEED_3 = "e2bdb55bc2492639"


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
        values = column.to_list() if column.dtype == pl.String else column.to_physical().to_numpy().tobytes()
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
    schemas.CANDLES.validate(market.candles, lazy=True)
    schemas.CALLS.validate(market.calls, lazy=True)
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
