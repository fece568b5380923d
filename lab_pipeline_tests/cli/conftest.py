import json
import sys
from dataclasses import dataclass

import polars as pl
import pytest

from lab_pipeline.cli import main

MINUTE = 60_000
START = 1_515_542_400_000  # 2018-01-10T00:00:00Z


@dataclass(frozen=True)
class Ended:
    status: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def lab(tmp_path, monkeypatch, capfd):
    """Run the command line in this process, on a home of its own."""
    home = tmp_path / "home"
    monkeypatch.setenv("LAB_HOME", str(home))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["lab", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        code = ended.value.code
        return Ended(code if isinstance(code, int) else int(code is not None), out, err)

    run.home = home
    return run


def candles(mints=("AAA", "BBB"), rows=120):
    """Prices that rise by one percent a minute from 1.0, for each mint."""
    frames = []
    for mint in mints:
        price = pl.int_range(rows, eager=True).cast(pl.Float64) * 0.01 + 1.0
        frames.append(
            pl.DataFrame(
                {
                    "mint": [mint] * rows,
                    "timestamp": [START + i * MINUTE for i in range(rows)],
                    "open": price,
                    "high": price + 0.01,
                    "low": price - 0.005,
                    "close": price + 0.01,
                    "volume": [10.0] * rows,
                }
            )
        )
    return pl.concat(frames)


def calls():
    rows = [("c1", "ann", "AAA", 30_000), ("c2", "ben", "BBB", 10 * MINUTE + 1), ("c3", "ann", "BBB", 20 * MINUTE)]
    return pl.DataFrame(
        [(call_id, caller, mint, START + after) for call_id, caller, mint, after in rows],
        schema=["call_id", "caller", "mint", "called_at"],
        orient="row",
    )


@pytest.fixture
def files(tmp_path):
    """Candle and call files of a small, rising market."""
    candles().write_csv(tmp_path / "candles.csv")
    calls().write_csv(tmp_path / "calls.csv")
    return tmp_path


@pytest.fixture
def stocked(lab, files):
    """The command line on a home that has the small market in its lake."""
    assert lab("ingest", "candles", files / "candles.csv", "--timeframe", "1m").status == 0
    assert lab("ingest", "calls", files / "calls.csv").status == 0
    return lab
