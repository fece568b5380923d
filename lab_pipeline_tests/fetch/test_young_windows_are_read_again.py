import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline_tests.fetch.servers import DAY, MINUTE, at, market

START = at("2025-03-10T06:00")
MINT = "TOKEN"


def test_a_restated_candle_replaces_the_old_one_and_is_counted(birdeye):
    birdeye.source.candles[MINT] = market(START, 120)
    birdeye.now = START + 60 * MINUTE
    birdeye.fetch(START, START + 60 * MINUTE)
    birdeye.source.candles[MINT][START + 59 * MINUTE] = (3.0, 16.0, 0.5, 3.0, 64.0)
    birdeye.now += 10 * MINUTE
    fetched = birdeye.fetch(START, START + 70 * MINUTE)
    assert (fetched.report.added, fetched.report.changed) == (10, 1)
    assert birdeye.rows()[START + 59 * MINUTE] == (3.0, 16.0, 0.5, 3.0, 64.0)


def test_only_the_last_two(birdeye):
    birdeye.source.candles[MINT] = market(START, 180)
    for minutes in (60, 70, 80):
        birdeye.now = START + minutes * MINUTE
        fetcher = birdeye.fetcher()
        first = START + (minutes - 10) * MINUTE if minutes > 60 else START
        fetcher.carry_out(fetcher.plan([birdeye.token(first, birdeye.now)]))
    plan = birdeye.plan(START, START + 80 * MINUTE)
    assert [request.spans for request in plan.requests] == [
        (((START + 60 * MINUTE) * 1000, (START + 80 * MINUTE) * 1000),)
    ]
    assert plan.read_again == 2


def test_none_once_they_have_settled(birdeye):
    birdeye.source.candles[MINT] = market(START, 60)
    birdeye.now = START + 60 * MINUTE
    birdeye.fetch(START, START + 60 * MINUTE)
    birdeye.now += 2 * DAY
    assert birdeye.plan(START, START + 60 * MINUTE).read_again == 1
    birdeye.fetch(START, START + 60 * MINUTE)
    assert birdeye.plan(START, START + 60 * MINUTE).requests == []


def test_a_dead_token_is_asked_for_once_more_and_then_no_more(birdeye):
    birdeye.now = START + 60 * MINUTE
    birdeye.fetch(START, START + 60 * MINUTE, "DEAD")
    birdeye.now += 2 * DAY
    birdeye.fetch(START, START + 60 * MINUTE, "DEAD")
    birdeye.now += 2 * DAY
    assert birdeye.plan(START, START + 60 * MINUTE, "DEAD").requests == []


def test_candles_from_elsewhere_are_not_replaced(birdeye):
    birdeye.source.candles[MINT] = market(START, 60)
    mine = {"mint": [MINT], "timestamp": [(START + 10 * MINUTE) * 1000], "volume": [0.0]}
    mine |= {name: [5.0] for name in ("open", "high", "low", "close")}
    birdeye.lake.write_candles(pl.DataFrame(mine).cast({"timestamp": frames.TIMESTAMP}).select(*frames.CANDLES), "1m")
    birdeye.fetch(START, START + 60 * MINUTE)
    assert birdeye.rows()[START + 10 * MINUTE] == (5.0, 5.0, 5.0, 5.0, 0.0)
    assert len(birdeye.rows()) == 60
