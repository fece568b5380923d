import pytest

from lab_pipeline.fetch import web
from lab_pipeline_tests.fetch.servers import Binance, Birdeye, CoinGecko, Gecko, Spot
from lab_pipeline_tests.fetch.world import World


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(web, "PAUSE_SECONDS", 0.001)


@pytest.fixture
def gecko(tmp_path, httpserver):
    return World(tmp_path, Gecko(httpserver))


@pytest.fixture
def birdeye(tmp_path, httpserver):
    return World(tmp_path, Birdeye(httpserver))


@pytest.fixture
def binance(tmp_path, httpserver):
    return World(tmp_path, Binance(httpserver))


@pytest.fixture(params=[Gecko, CoinGecko, Birdeye, Binance, Spot], ids=lambda kind: kind.name)
def world(request, tmp_path, httpserver):
    return World(tmp_path, request.param(httpserver))
