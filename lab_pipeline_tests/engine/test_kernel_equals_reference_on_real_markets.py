"""The two engines agree bit for bit on candles and volumes of real markets, under every rule of what fills cost."""

import os
from pathlib import Path

import polars as pl
import pytest

from lab_pipeline.domain.strategy import StrategyConfig
from lab_pipeline.engine import reference, simulate
from lab_pipeline.lake import Lake

from .chances import THOROUGH
from .generated_fills import enriched
from .market import assert_same_simulation

DATA = Path(os.environ.get("LAB_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
CALLS = 239 if THOROUGH else 40
EXIT = {
    "targets": [{"multiple": 1.02, "fraction": 0.5}, {"multiple": 1.05, "fraction": 0.5}],
    "stopLoss": 0.02,
    "breakEvenAfter": 1,
}
NEAR = {"targets": [{"multiple": 1.005, "fraction": 1.0}], "stopLoss": 0.004}
"""So near to one another that real candles reach both."""
RULES = {
    "volume share": {"costs": {"feeBps": 30, "impact": {"model": "volume_share"}}},
    "volume share with a limit": {"costs": {"impact": {"model": "volume_share", "exponent": 1.0, "maxShare": 0.01}}},
    "a pool": {"costs": {"slippageBps": 10, "fixedFee": 0.01, "impact": {"model": "amm", "liquidity": 50.0}}},
    "stops at the low": {"exit": EXIT | {"stopFill": {"through": 1}}, "reentry": {"retrace": 0.01, "maxCount": 2}},
    "true ranges": {
        "exit": EXIT
        | {
            "stopLoss": {"atr": {"n": 14, "k": 2}},
            "trailing": {"activation": 1.01, "distance": {"atr": {"n": 14, "k": 3}}},
        }
    },
    "signals": {
        "entry": {"when": {"all": [{"kind": "ema_cross", "fast": 9, "slow": 21}]}, "maxWaitMinutes": 600},
        "exit": EXIT | {"when": {"any": [{"kind": "rsi", "n": 14, "above": 70}]}},
    },
    "the caller's plan": {"exit": {**EXIT, "use": "signal", "breakEvenAfter": None}, "entry": {"kind": "signal"}},
    "ambiguous candles": {"exit": NEAR},
    "nothing beside": {"exit": EXIT | {"stopFill": {"through": 0}}},
}
STAKES = [1.0, 500.0]
"""In the market's quote currency, bitcoin: small and large beside what a candle trades."""


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    if not DATA.is_dir():
        pytest.skip(f"no market data at {DATA}: set LAB_TEST_DATA")
    directory = tmp_path_factory.mktemp("real") / "lake"
    lake = Lake(directory)
    lake.ingest_candles([DATA / "altcoins_btc_5m.csv"], "5m")
    lake.ingest_calls([DATA / "altcoins_calls.csv"])
    calls = lake.calls()
    candles = pl.read_parquet(directory / "candles" / "**" / "*.parquet", hive_partitioning=False)
    prices = ("mint", "timestamp", "open", "high", "low", "close", "volume")
    rich = enriched(candles.select(prices).sort("mint", "timestamp"), calls.sample(CALLS, seed=3), 7)
    return rich.candles.select(prices), rich.calls


@pytest.mark.parametrize("stake", STAKES)
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
def test_the_same_to_the_last_digit(market, rule, stake):
    candles, calls = market
    account = {"portfolio": {"initialCapital": 1e4, "sizing": {"kind": "fixed", "amount": stake}}}
    config = StrategyConfig.parse({"exit": EXIT, **rule, **account})
    fast = simulate(candles, calls, config, timeframe="5m", threads=2)
    assert_same_simulation(fast, reference.simulate(candles, calls, config, timeframe="5m"))
    assert len(fast.trades) > CALLS / 4


def test_a_large_stake_pays_for_its_size_on_real_volumes(market):
    candles, calls = market
    document = {"exit": EXIT, "costs": {"impact": {"model": "volume_share"}}}
    small, large = (
        simulate(
            candles,
            calls,
            StrategyConfig.parse(document | {"portfolio": {"sizing": {"kind": "fixed", "amount": stake}}}),
            timeframe="5m",
        )
        for stake in (1.0, 500.0)
    )
    both = small.trades.join(large.trades, on=["call_id", "trade_no"], validate="1:1")
    assert (both["net_return_right"] <= both["net_return"]).all()
    assert large.summary.expectancy < small.summary.expectancy - 0.01
