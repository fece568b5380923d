"""However an interrupt reaches a run in the foreground, the run is recorded as canceled."""

import dagster as dg
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError

from lab_pipeline.cli.jobs import run_backtest_job
from lab_pipeline.dagster_ext import foreground
from lab_pipeline.operations.backtest_config import BacktestConfig


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, DagsterExecutionInterruptedError])
def test_an_interrupt_that_dagster_has_not_recorded_cancels_the_run(lab, monkeypatch, interrupt):
    def interrupted(*_):
        raise interrupt

    monkeypatch.setattr(foreground, "execute_run", interrupted)
    _, instance = lab
    with pytest.raises(KeyboardInterrupt):
        run_backtest_job(instance, BacktestConfig(strategy="ladder", timeframe="1m"))
    (run,) = instance.get_runs(limit=1)
    assert run.status is dg.DagsterRunStatus.CANCELED
