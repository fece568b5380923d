"""The library coingecko-sdk says what to ask of CoinGecko; the lab asks it, as it asks every source."""

import json
import re
import sys

import pytest
from werkzeug import Response

from lab_pipeline.fetch import FetchError
from lab_pipeline_tests.fetch.servers import KEY, MINUTE, CoinGecko, at, market
from lab_pipeline_tests.fetch.world import World

START = at("2025-03-10T06:00")


@pytest.fixture
def coingecko(tmp_path, httpserver):
    found = World(tmp_path, CoinGecko(httpserver))
    found.source.candles["TOKEN"] = market(START, 60)
    return found


def test_the_address_may_have_a_path_and_the_environment_adds_nothing(coingecko, httpserver, monkeypatch):
    """What the library reads of its own variables does not reach the source."""
    monkeypatch.setenv("COINGECKO_BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("COINGECKO_DEMO_API_KEY", "another")
    monkeypatch.setenv("COINGECKO_CUSTOM_HEADERS", "x-more: 1")
    coingecko.fetch(START, START + 60 * MINUTE)
    assert len(coingecko.rows()) == 60
    sent = [set(request.headers.keys()) for request, _ in httpserver.log]
    assert not {name.lower() for names in sent for name in names} & {"x-more", "x-cg-demo-api-key"}
    said = [json.loads(path.read_text()) for path in coingecko.home.glob("raw/coingecko/*/*.request.json")]
    assert {one["path"] for one in said} == {
        "/onchain/networks/solana/tokens/TOKEN/pools",
        "/onchain/networks/solana/pools/poolTOKEN/ohlcv/minute",
    }


def test_an_odd_name_stays_one_part_of_the_path(coingecko, httpserver):
    httpserver.expect_request(re.compile("/onchain/networks/solana/tokens/.*")).respond_with_data("", 404)
    assert coingecko.fetch(START, START + 60 * MINUTE, "a/../b?c").empty == 1
    ((request, _),) = httpserver.log
    assert request.environ["RAW_URI"] == "/onchain/networks/solana/tokens/a%2F..%2Fb%3Fc/pools"


def test_a_refused_key_names_its_setting(coingecko):
    coingecko.source.faults = [Response("no", 401)]
    with pytest.raises(FetchError, match=r"coingecko answers 401 .*set LAB_COINGECKO_KEY") as caught:
        coingecko.fetch(START, START + 60 * MINUTE)
    assert KEY not in str(caught.value)


def test_without_the_library_it_says_how_to_get_it(coingecko, monkeypatch):
    monkeypatch.setitem(sys.modules, "coingecko_sdk", None)
    with pytest.raises(FetchError, match=r"pip install 'lab-pipeline\[coingecko\]'"):
        coingecko.fetcher()
