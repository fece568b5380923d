import tempfile
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab_pipeline.fetch import fetching
from lab_pipeline.fetch.ledger import Ledger
from lab_pipeline_tests.fetch.servers import MINUTE, Birdeye, CoinGecko, Gecko, at, market
from lab_pipeline_tests.fetch.world import World

START = at("2025-03-10T06:00")
SPANS = [(0, 40), (70, 75), (100, 160)]
CANDLES = market(START - 30 * MINUTE, 240, missing={3, 40, 41, 42, 90, 150})
EXPECTED = {
    time: candle
    for time, candle in CANDLES.items()
    if any(START + begin * MINUTE <= time < START + end * MINUTE for begin, end in SPANS)
}


class Killed(BaseException):
    """As a signal, nobody's except clause takes it for an error."""


class Mortal:
    """Dies at the end of a number of steps, each a request, a write of the lake or one of the ledger."""

    def __init__(self, steps):
        self.left = steps

    def before(self, function):
        def step(*args, **named):
            if self.left == 0:
                raise Killed
            self.left -= 1
            return function(*args, **named)

        return step


def fetch(world, page, mortal):
    fetcher = world.fetcher()
    object.__setattr__(fetcher.source, "page", page)
    token = fetching.Token(
        "TOKEN",
        "solana",
        START * 1000,
        tuple(((START + a * MINUTE) * 1000, (START + b * MINUTE) * 1000) for a, b in SPANS),
    )
    with (
        patch.object(type(fetcher.source), "candles", mortal.before(type(fetcher.source).candles), create=True),
        patch.object(type(world.lake), "write_candles", mortal.before(type(world.lake).write_candles)),
        patch.object(Ledger, "record", mortal.before(Ledger.record)),
        patch.object(fetching, "COMMIT_ROWS", 10),
    ):
        fetcher.carry_out(fetcher.plan([token]))


@pytest.mark.parametrize("kind", [Gecko, CoinGecko, Birdeye], ids=lambda kind: kind.name)
@settings(
    deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    pages=st.lists(st.integers(3, 200), min_size=1, max_size=3),
    answered=st.integers(2, 50),
    deaths=st.lists(st.integers(0, 9), max_size=2),
    overlap=st.booleans(),
)
def test_rows_depend_on_neither_pages_nor_kills(httpserver, kind, *, pages, answered, deaths, overlap):
    httpserver.clear()
    source = kind(httpserver)
    source.candles["TOKEN"], source.page, source.overlap = CANDLES, answered, overlap
    with tempfile.TemporaryDirectory() as home:
        world = World(Path(home), source)
        for number, steps in enumerate([*deaths, 1_000]):
            try:
                fetch(world, pages[number % len(pages)], Mortal(steps))
            except Killed:
                continue
        assert world.rows() == EXPECTED
        assert world.fetcher().plan([world.token(START, START + 40 * MINUTE)]).requests == []
