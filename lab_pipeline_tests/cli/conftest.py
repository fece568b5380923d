import json
import os
import shutil
import sys
from dataclasses import dataclass

import pytest

from lab_pipeline.cli import main
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


@pytest.fixture(scope="session")
def stocked_home(made_once, clickhouse_url):
    """A home into which the small market was ingested, to be copied."""

    def ingest(directory):
        candles().write_csv(directory / "candles.csv")
        calls().write_csv(directory / "calls.csv")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LAB_HOME", str(directory / "home"))
            patch.setenv("LAB_CLICKHOUSE_URL", clickhouse_url)
            for words in (
                ("candles", directory / "candles.csv", "--timeframe", "1m"),
                ("calls", directory / "calls.csv"),
            ):
                patch.setattr(sys, "argv", ["lab", "ingest", *map(str, words)])
                with pytest.raises(SystemExit) as ended:
                    main()
                assert not ended.value.code
        leave_no_logs(directory / "home")

    return made_once("stocked", ingest) / "home"
