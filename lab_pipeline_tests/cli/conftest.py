import json
import os
import shutil
import sys
from dataclasses import dataclass

import pytest

from lab_pipeline.cli import main
from lab_pipeline.lake import Lake
from lab_pipeline_tests.engine.sweep.walks import walks
from lab_pipeline_tests.support.duck_files import leave_no_logs
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
def stocked(lab, files, stocked_home):  # noqa: ARG001 - what was ingested is there as files, too
    """The command line on a home that has the small market in its lake."""
    shutil.copytree(stocked_home, lab.home)
    return lab


@pytest.fixture
def backtested(lab, backtested_home):
    """The command line on such a home with two completed backtests; `runs` are what it lists, by strategy."""
    shutil.copytree(backtested_home, lab.home)
    lab.runs = {run["strategyId"]: run for run in lab("runs", "list", "--json").json["runs"]}
    return lab


@pytest.fixture(scope="session")
def stocked_home(made_once):
    """A home into which the small market was ingested, to be copied."""

    def ingest(directory):
        candles().write_csv(directory / "candles.csv")
        calls().write_csv(directory / "calls.csv")
        run_on(
            directory / "home",
            ("ingest", "candles", directory / "candles.csv", "--timeframe", "1m"),
            ("ingest", "calls", directory / "calls.csv"),
        )

    return made_once("stocked", ingest) / "home"


@pytest.fixture(scope="session")
def backtested_home(stocked_home, tmp_path_factory, clickhouse_url):
    """A home with two backtests, to be copied; their rows are in the ClickHouse of this process' tests."""
    home = tmp_path_factory.mktemp("backtested") / "home"
    shutil.copytree(stocked_home, home)
    commands = [("backtest", "--strategy", name, "--timeframe", "1m") for name in ("ladder", "trend-rider")]
    run_on(home, *commands, LAB_CLICKHOUSE_URL=clickhouse_url)
    return home


@pytest.fixture(scope="session")
def swept_home(tmp_path_factory):
    """A home with two sweeps of `ladder` on random walks, to be copied; one of their sets is the same."""
    directory = tmp_path_factory.mktemp("swept")
    home, commands = directory / "home", []
    candles, calls = walks(tokens=40, calls_each=2)
    lake = Lake(home / "lake")
    lake.write_candles(candles, "1m")
    lake.write_calls(calls)
    for number, stops in enumerate(([0.2, 0.3, 0.4], [0.4, 0.5])):
        request = {
            "strategy": "ladder",
            "timeframe": "1m",
            "space": {"exit.stopLoss": stops, "horizonMinutes": [60]},
            "objective": {"name": "expectancy", "min_trades": 1, "min_days": 1, "min_callers": 1},
            "validation": {"placebo": 0, "bootstrap": 100},
        }
        (directory / f"{number}.json").write_text(json.dumps(request))
        commands.append(("sweep", "run", directory / f"{number}.json"))
    run_on(home, *commands)
    return home


def run_on(home, *commands, **variables):
    """Run commands in this process on a home, and leave it as it can be copied."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"LAB_HOME": str(home), **variables}.items():
            patch.setenv(name, value)
        for words in commands:
            patch.setattr(sys, "argv", ["lab", *map(str, words)])
            with pytest.raises(SystemExit) as ended:
                main()
            assert not ended.value.code, words
    leave_no_logs(home)
