import json
import os
import sys
from dataclasses import dataclass

import pytest

from lab_pipeline.cli import main
from lab_pipeline_tests.support.markets import calls, candles


@dataclass(frozen=True)
class Ended:
    status: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def lab(tmp_path, monkeypatch, capfd, clickhouse_url):
    """Run the command line in this process, on a home of its own."""
    home = tmp_path / "home"
    monkeypatch.setenv("LAB_HOME", str(home))
    monkeypatch.setenv("LAB_CLICKHOUSE_URL", clickhouse_url)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["lab", *map(str, words)])
        before = os.umask(0o022)
        try:
            with pytest.raises(SystemExit) as ended:
                main()
        finally:
            os.umask(before)
        out, err = capfd.readouterr()
        code = ended.value.code
        return Ended(code if isinstance(code, int) else int(code is not None), out, err)

    run.home = home
    return run


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
