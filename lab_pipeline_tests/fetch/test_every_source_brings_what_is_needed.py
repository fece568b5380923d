import json

import pyarrow as pa
import pytest
from werkzeug import Response

from lab_pipeline.fetch import FetchError
from lab_pipeline.fetch.ledger import Asked
from lab_pipeline_tests.fetch.servers import DAY, KEY, MINUTE, Binance, Birdeye, CoinGecko, Gecko, at, cut, market

START = at("2025-03-10T06:00")
HOURS = 3
END = START + HOURS * 60 * MINUTE


@pytest.fixture
def whole(world):
    """A source with candles before, in and after what is needed, and gaps."""
    world.source.candles[world.mint] = market(START - 60 * MINUTE, 360, missing={70, 71, 100})
    return world


def needed(world):
    return {time: candle for time, candle in world.source.candles[world.mint].items() if START <= time < END}


def test_exactly_what_is_needed_and_lacking(whole):
    fetched = whole.fetch(START, END)
    assert whole.rows() == needed(whole)
    assert (fetched.candles, fetched.report.added) == (len(needed(whole)), len(needed(whole)))
    assert whole.plan(START, END).requests == []


def test_what_the_lake_has_is_not_asked_for(whole):
    whole.fetch(START, START + 90 * MINUTE)
    (request,) = whole.plan(START, END).requests
    assert request.spans == (((START + 90 * MINUTE) * 1000, END * 1000),)


def test_a_gap_is_asked_for_once(whole):
    whole.fetch(START, END)
    assert len(whole.rows()) < HOURS * 60
    assert whole.plan(START, END).requests == []


def test_a_lake_that_lost_its_candles_gets_them_again(whole, tmp_path):
    whole.fetch(START, END)
    (tmp_path / "lake").rename(tmp_path / "lost")
    whole.fetch(START, END)
    assert whole.rows() == needed(whole)


def test_numbers_as_text(whole):
    whole.source.as_text = True
    whole.fetch(START, END)
    assert whole.rows() == needed(whole)


def test_small_and_overlapping_pages(whole):
    whole.source.page, whole.source.overlap = 7, True
    whole.fetch(START, END)
    assert whole.rows() == needed(whole)


@pytest.mark.parametrize("newest_first", [False, True])
def test_whichever_candle_comes_first(whole, newest_first):
    whole.source.newest_first, whole.source.page = newest_first, 50
    whole.fetch(START, END)
    assert whole.rows() == needed(whole)


@pytest.mark.parametrize("world", [Gecko, CoinGecko, Birdeye, Binance], indirect=True)
@pytest.mark.parametrize("unit", [1, 1_000, 1_000_000])
def test_times_of_any_unit(whole, unit):
    """As an archive that went over to microseconds, and a service that may; what ccxt reads, it gives in one unit."""
    whole.source.unit = unit
    whole.fetch(START, END)
    assert whole.rows() == needed(whole)


def test_too_many_requests_then_an_answer(whole):
    whole.source.faults = [Response("slow down", 429, headers={"Retry-After": "1"}), Response("later", 503)]
    before = len(whole.source.asked)
    whole.fetch(START, END)
    assert whole.rows() == needed(whole)
    assert len(whole.source.asked) - before >= 3


def test_a_connection_that_is_cut(whole):
    whole.source.faults = [cut()]
    whole.fetch(START, END)
    assert whole.rows() == needed(whole)


def test_a_source_that_stays_away_is_named(whole):
    whole.source.faults = [Response("later", 503)] * 20
    with pytest.raises(FetchError, match=f"{whole.source.known} answers 503"):
        whole.fetch(START, END)
    assert whole.rows() == {}
    whole.source.faults = []
    whole.fetch(START, END)
    assert whole.rows() == needed(whole)


def test_a_refused_key_is_not_tried_again(whole):
    whole.source.faults = [Response("who are you", 401)] * 2
    with pytest.raises(FetchError, match="answers 401") as caught:
        whole.fetch(START, END)
    assert len(whole.source.faults) == 1
    assert KEY not in str(caught.value)


def test_a_token_without_candles_is_not_asked_for_ever(world):
    dead = world.source.token("DEAD")
    world.source.candles[world.source.token("OTHER")] = market(START, 60)
    fetched = world.fetch(START, END, dead)
    assert (fetched.candles, fetched.empty, fetched.report) == (0, 1, None)
    assert world.plan(START, END, dead).requests == []
    (asked,) = world.ledger.asked(world.source.known, "1m")[world.source.chain, dead]
    assert (asked.span, asked.asked_and_empty) == ((START * 1000, END * 1000), True)


def test_a_token_that_was_looked_for_on_another_chain_is_asked_for_again(birdeye):
    birdeye.ledger.record(
        "birdeye", "1m", [("base", "DEAD", Asked(START * 1000, END * 1000, asked_and_empty=True, asked_at=0))]
    )
    assert len(birdeye.plan(START, END, "DEAD").requests) == 1


def test_a_candle_that_breaks_a_rule_is_left_out_and_counted(whole):
    bad = START + 30 * MINUTE
    whole.source.candles[whole.mint][bad] = (1.0, 0.25, 0.5, 2.0, 8.0)  # its high is below its low
    fetched = whole.fetch(START, END)
    assert fetched.excluded == 1
    assert bad not in whole.rows()
    assert len(whole.rows()) == len(needed(whole)) - 1


def test_answers_are_kept_as_they_came(whole, tmp_path):
    whole.fetch(START, END)
    kept = list((tmp_path / "raw" / whole.source.known).rglob("*.zst"))
    assert kept
    content = pa.CompressedInputStream(pa.OSFile(str(kept[0])), "zstd").read()
    assert content[:1] in {b"{", b"[", b"P"} or b".zip" in content
    requests = [path.read_text() for path in (tmp_path / "raw").rglob("*.request.json")]
    assert {json.loads(text)["sha256"] for text in requests} == {path.name.partition(".")[0] for path in kept}
    assert KEY not in "".join(requests)


def test_only_closed_candles(whole):
    if whole.source.name == "binance_vision":
        whole.now = START + 2 * DAY + 90  # what it has ends with the day before yesterday
        last = at("2025-03-11")
    else:
        whole.now = START + 90 * MINUTE + 30
        last = START + 90 * MINUTE
    fetcher = whole.fetcher()
    until = fetcher.until_ms() // 1000 // MINUTE * MINUTE
    assert until == last
    whole.source.candles[whole.mint][until] = (99.0, 99.0, 99.0, 99.0, 1.0)  # not finished
    whole.fetch(START, until + 60 * MINUTE)
    assert max(whole.rows()) < until


def test_a_window_in_which_nothing_was_traded_is_not_asked_for_ever(whole):
    quiet = END + 10 * DAY, END + 10 * DAY + 60 * MINUTE
    fetched = whole.fetch(*quiet)
    assert (fetched.candles, fetched.empty, whole.rows()) == (0, 1, {})
    assert whole.plan(*quiet).requests == []


def test_a_restated_candle_replaces_the_old_one_and_is_counted(whole):
    """A file of an archive is replaced, a service corrects itself: what is young is read once more."""
    end = at("2025-03-11")
    whole.source.candles[whole.mint] = market(START, 18 * 60)
    for whole.now in range(end, end + 3 * DAY, DAY // 4):  # until it is there
        if whole.fetcher().until_ms() >= end * 1000:
            break
    first = whole.fetch(START, end)
    assert (first.report.added, first.report.changed) == (18 * 60, 0)
    restated = (3.0, 16.0, 0.5, 3.0, 64.0)
    whole.source.candles[whole.mint][end - MINUTE] = restated
    whole.now += DAY
    second = whole.fetch(START, end)
    assert (second.report.added, second.report.changed) == (0, 1)
    assert whole.rows()[end - MINUTE] == restated
    assert whole.plan(START, end).requests == [], "it has settled"
