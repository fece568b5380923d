"""`lab fetch candles`, killed at any moment and begun again, ends with the rows of one that nobody disturbed."""

import os
import subprocess
import sys
import threading

import numpy as np
import polars as pl
import pytest

from lab_pipeline.domain import frames
from lab_pipeline.fetch import Ledger
from lab_pipeline.lake import Lake
from lab_pipeline_tests.fetch.servers import MINUTE, Binance, Birdeye, CoinGecko, Gecko, Spot, at, market

PROGRAM = (
    "from lab_pipeline.fetch import fetching; fetching.COMMIT_ROWS = 700; from lab_pipeline.cli import main; main()"
)
CALLED = at("2025-03-10T06:02")
TOKENS = ("ONE", "TWO", "THREE", "DEAD")
LONGEST_DELAY = 0.2
"""Seconds from an answer to the kill: what was answered is read, written and remembered in less."""


class Fetches:
    """Processes that fetch into a home, and the source that they ask."""

    def __init__(self, source, monkeypatch):
        self.source, self.killer, self.left = source, None, None
        answer = source.answer

        def counted(request, build):
            if self.left is not None:
                self.left -= 1
                if self.left == 0:
                    self.killer()
            return answer(request, build)

        monkeypatch.setattr(source, "answer", counted)
        for number, name in enumerate(TOKENS):
            start = CALLED - (180 + number) * MINUTE
            mint = source.token(name)
            source.candles[mint] = {} if name == "DEAD" else market(start, 3 * 1440, missing={7, 500, 501, 1100})

    def stock(self, home):
        calls = pl.DataFrame(
            {
                "call_id": list(TOKENS),
                "caller": "ann",
                "mint": [self.source.token(name) for name in TOKENS],
                "called_at": CALLED * 1000,
            }
        )
        Lake(home / "lake").write_calls(calls.with_columns(pl.col("called_at").cast(frames.TIMESTAMP)))

    def run(self, home, *, requests=None, delay=0.0):
        """Fetch to the end, or until so many seconds after so many requests; return the status."""
        words = ["fetch", "candles", "--source", self.source.name, "--timeframe", "1m", "--for-calls"]
        words += ["--exchange", self.source.exchange] if self.source.exchange else []
        settings = {f"LAB_{name.upper()}": str(value) for name, value in self.source.settings().items()}
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *words],
            env={**os.environ, **settings, "LAB_HOME": str(home)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        ) as process:
            self.killer = lambda: threading.Timer(delay, process.kill).start()
            self.left = requests
            _, said = process.communicate(timeout=300)
            self.left = None
        assert process.returncode in {0, -9}, said.decode()
        return process.returncode

    def rows(self, home):
        lake = Lake(home / "lake")
        mints = [self.source.token(name) for name in TOKENS]
        return lake.candles("1m", mints, 0, at("2100-01-01") * 1000)


@pytest.mark.long
@pytest.mark.parametrize("kind", [Gecko, CoinGecko, Birdeye, Binance, Spot], ids=lambda kind: kind.name)
def test_whenever_it_is_killed_the_lake_has_the_same_rows(kind, httpserver, tmp_path, monkeypatch):
    chance = np.random.default_rng(len(kind.name))
    fetches = Fetches(kind(httpserver), monkeypatch)
    fetches.source.page = 450
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    for home in (undisturbed, killed):
        fetches.stock(home)
    assert fetches.run(undisturbed) == 0
    most = len(fetches.source.asked)
    expected = fetches.rows(undisturbed)
    assert expected.height > len(TOKENS) * 100
    deaths = 0
    for _ in range(6):
        requests, delay = int(chance.integers(1, max(most // 2, 2))), float(chance.uniform(0, LONGEST_DELAY))
        status = fetches.run(killed, requests=requests, delay=delay)
        deaths += status != 0
        found = fetches.rows(killed)
        assert found.join(expected, on=found.columns, how="anti").is_empty(), "what is there is right at any time"
    assert fetches.run(killed) == 0
    assert deaths >= 2, "nothing was killed that was under way"
    assert fetches.rows(killed).equals(expected)
    before = len(fetches.source.asked)
    assert fetches.run(killed) == 0
    assert len(fetches.source.asked) == before, "all of it is remembered"
    assert Ledger(killed / "catalog.duckdb").asked(fetches.source.known, "1m").keys() == (
        Ledger(undisturbed / "catalog.duckdb").asked(fetches.source.known, "1m").keys()
    )
