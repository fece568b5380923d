"""The library ccxt says what to ask of an exchange; the lab asks it, as it asks every source."""

import json
import sys

import pytest
from werkzeug import Response

from lab_pipeline.fetch import FetchError, open_source
from lab_pipeline_tests.fetch.servers import MINUTE, Spot, at, cut, market
from lab_pipeline_tests.fetch.world import World

START = at("2025-03-10")
MINT = "BTC/USDT"
ROWS = 1200


@pytest.fixture
def exchange(tmp_path, httpserver):
    found = World(tmp_path, Spot(httpserver))
    found.mint = MINT
    found.source.candles[MINT] = market(START, ROWS)
    return found


@pytest.mark.parametrize("page", [7, 500])
@pytest.mark.parametrize("overlap", [False, True])
def test_whatever_the_page_what_is_needed_comes_and_no_more(exchange, page, overlap):
    exchange.source.page, exchange.source.overlap = page, overlap
    start, end = START + 10 * MINUTE, START + 150 * MINUTE
    fetched = exchange.fetch(start, end)
    expected = {time: one for time, one in exchange.source.candles[MINT].items() if start <= time < end}
    assert exchange.rows(MINT) == expected
    assert fetched.candles == len(expected) == 140


def test_a_long_window_is_asked_for_in_pages_and_once(exchange):
    exchange.fetch(START, START + ROWS * MINUTE)
    assert exchange.rows(MINT) == exchange.source.candles[MINT]
    assert [int(query["startTime"]) // 1000 for _, query in exchange.source.asked[:2]] == [START, START + 500 * MINUTE]
    assert exchange.plan(START, START + ROWS * MINUTE).requests == []


def test_a_candle_that_is_not_closed_is_left_where_it_is(exchange):
    exchange.now = START + 30 * MINUTE + 30
    exchange.fetch(START, START + 60 * MINUTE)
    assert max(exchange.rows(MINT)) == START + 29 * MINUTE


def test_a_symbol_that_is_not_traded_there_is_remembered_as_empty(exchange):
    assert exchange.fetch(START, START + 60 * MINUTE, "NO/USDT").empty == 1
    assert exchange.plan(START, START + 60 * MINUTE, "NO/USDT").requests == []


@pytest.mark.parametrize("fault", [lambda: Response("busy", 503), lambda: Response("slow down", 429), cut])
def test_what_may_pass_is_asked_again(exchange, fault):
    exchange.source.faults = [fault()]
    exchange.fetch(START, START + 60 * MINUTE)
    assert len(exchange.rows(MINT)) == 60


def test_answers_are_kept_as_they_came(exchange):
    exchange.fetch(START, START + 60 * MINUTE)
    said = [json.loads(path.read_text()) for path in exchange.home.glob("raw/ccxt-binance/*/*.request.json")]
    assert {one["path"] for one in said} >= {"/api/v3/exchangeInfo", "/api/v3/klines"}


def test_what_is_no_exchange_or_has_no_such_candles_is_named(exchange):
    with pytest.raises(FetchError, match="ccxt knows no exchange 'nowhere'"):
        open_source("ccxt", exchange.settings, exchange.ledger, exchange="nowhere")
    with pytest.raises(FetchError, match="source ccxt needs --exchange"):
        open_source("ccxt", exchange.settings, exchange.ledger)
    with pytest.raises(FetchError, match="--exchange is not for source binance_vision"):
        open_source("binance_vision", exchange.settings, exchange.ledger, exchange="binance")
    with pytest.raises(FetchError, match="ccxt-binance has no candles of 7m: it has 1s, 1m"):
        exchange.fetcher("7m").plan([exchange.token(START, START + 420, MINT)])


def test_without_the_library_it_says_how_to_get_it(exchange, monkeypatch):
    monkeypatch.setitem(sys.modules, "ccxt", None)
    with pytest.raises(FetchError, match=r"pip install 'lab-pipeline\[ccxt\]'"):
        exchange.fetcher()
