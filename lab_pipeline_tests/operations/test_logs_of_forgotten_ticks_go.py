import os
import time
import uuid
from pathlib import Path

import dagster as dg
import pytest

from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.operations.lab import Lab
from lab_pipeline.operations.retention import leftovers
from lab_pipeline.settings import load_settings
from lab_pipeline_tests.support.daemon import daemon

SENSOR = "notify_failures"
TWO_DAYS = 2 * 86_400


@pytest.fixture
def instance(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    with open_instance(load_settings()) as instance:
        yield instance


@pytest.fixture
def logs(instance):
    """Return the logs of three ticks that each told of a failure, two days ago, with its tick, oldest first."""
    found = []
    with daemon(instance) as lab:
        lab.run_sensor(SENSOR)  # it looks at what happens from now on
        for _ in range(3):
            run = instance.add_run(dg.DagsterRun(job_name="backtest", run_id=str(uuid.uuid4())))
            instance.report_run_failed(run)
            tick = lab.run_sensor(SENSOR)
            log = Path(instance.storage_directory()).joinpath(*tick.log_key).with_suffix(".err")
            assert run.run_id in log.read_text()
            os.utime(log, times=(time.time() - TWO_DAYS,) * 2)
            found.append((tick, log))
    return found


def forget(instance, last):
    """Delete ticks up to this one, as Dagster does after the days that it keeps them."""
    instance.purge_ticks(last.instigator_origin_id, last.selector_id, last.timestamp + 1e-3)


def collected(instance, *, remove):
    """Do what retention does; return the bytes."""
    return leftovers(Lab(load_settings(), instance), remove=remove)["dagster"]


def test_a_log_goes_after_its_tick(instance, logs):
    (first, log), *others = logs
    assert collected(instance, remove=True) == 0
    forget(instance, first)
    size = log.stat().st_size
    assert collected(instance, remove=False) == size
    assert log.exists()
    assert collected(instance, remove=True) == size
    assert not log.exists()
    assert all(path.exists() for _, path in others)
    assert collected(instance, remove=True) == 0


def test_a_log_of_today_stays_for_its_tick_may_be_under_way(instance, logs):
    *old, (last, new) = logs
    forget(instance, last)
    os.utime(new)
    collected(instance, remove=True)
    assert not any(path.exists() for _, path in old)
    assert new.exists()


def test_what_runs_printed_stays(instance, logs):
    output = Path(instance.storage_directory()) / str(uuid.uuid4()) / "compute_logs" / "1.err"
    output.parent.mkdir(parents=True)
    output.write_text("said\n")
    os.utime(output, times=(time.time() - TWO_DAYS,) * 2)
    forget(instance, logs[-1][0])
    collected(instance, remove=True)
    assert output.exists()
