"""With a bucket, a worker that simulates a part needs the files of the lake, and no home."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import polars as pl

from lab_pipeline.dagster_ext import io_manager
from lab_pipeline.dagster_ext.io_manager import LabIOManager
from lab_pipeline.files.bucket import Bucket
from lab_pipeline.lake import Lake
from lab_pipeline.operations.backtest_config import BacktestConfig
from lab_pipeline.operations.lab import Lab
from lab_pipeline.runs import backtest as steps
from lab_pipeline.settings import load_settings
from lab_pipeline_tests.support.markets import calls, candles

REPOSITORY = Path(__file__).resolve().parents[2]
MINTS = [f"mint{number}" for number in range(6)]
WORKER = textwrap.dedent("""
    import sys
    from types import SimpleNamespace
    from lab_pipeline.dagster_ext import io_manager
    from lab_pipeline.runs import backtest as steps
    from lab_pipeline.settings import load_settings

    io_manager.crosses_processes = lambda _: True
    passing = io_manager.LabIOManager(load_settings)
    def named(*names):
        return SimpleNamespace(get_identifier=lambda: ["run-1", *names], step_context=None)
    backtest, piece = (passing.load_input(named(*names)) for names in (("resolve", "result"), ("load", sys.argv[1])))
    passing.handle_output(named("simulate_part", sys.argv[1]), steps.simulate_part(backtest, piece))
""")


def named(*names):
    return SimpleNamespace(get_identifier=lambda: ["run-1", *names], step_context=None)


def test_the_result_is_that_of_one_process(tmp_path, bucket, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LAB_ARTIFACTS", bucket)
    monkeypatch.setattr(io_manager, "crosses_processes", lambda _: True)
    settings = load_settings()
    lake, lab = Lake(settings.lake_dir), Lab(settings)
    lake.write_candles(candles(MINTS).with_columns(pl.col("timestamp").cast(pl.Datetime("ms", "UTC"))), "1m")
    more = pl.concat([calls().with_columns(call_id=pl.col("call_id") + mint, mint=pl.lit(mint)) for mint in MINTS])
    lake.write_calls(more.with_columns(pl.col("called_at").cast(pl.Datetime("ms", "UTC"))))
    backtest = steps.resolve(BacktestConfig(strategy="ladder", timeframe="1m").to_spec(lake), lab.strategies, lake)
    passing = LabIOManager(load_settings)
    passing.handle_output(named("resolve", "result"), backtest)
    with steps.plan(backtest, lake) as planned:
        pieces = planned.pieces(500)
    assert len(pieces) >= 2
    parts = []
    for number, piece in enumerate(pieces):
        passing.handle_output(named("load", str(number)), piece)
        home = tmp_path / f"worker-{number}"
        environment = {**os.environ, "LAB_HOME": str(home)}
        subprocess.run([sys.executable, "-c", WORKER, str(number)], cwd=REPOSITORY, env=environment, check=True)
        parts.append(passing.load_input(named("simulate_part", str(number))))
        assert not home.exists()
    manifest = steps.publish("run-1", steps.merge(backtest, parts), lab.artifacts)
    plain = steps.publish("run-2", steps.simulate(backtest, steps.plan(backtest, lake)), lab.artifacts)
    assert [(file.name, file.sha256) for file in manifest.files] == [(file.name, file.sha256) for file in plain.files]
    io_manager.discard(settings, "run-1")
    assert list(Bucket(bucket).objects(".scratch")) == []
