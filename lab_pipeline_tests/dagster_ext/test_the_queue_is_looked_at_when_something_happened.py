"""When the lab's daemon looks at the queue of runs."""

import threading
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.run_coordinator import SubmitRunContext

from lab_pipeline.dagster_ext.daemon import queueing
from lab_pipeline.dagster_ext.daemon.queueing import PromptQueueDaemon
from lab_pipeline.dagster_ext.daemon.sensing import daemons
from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.dagster_ext.queue_signal import STIRRED, stir, stirred_at
from lab_pipeline.settings import load_settings
from lab_pipeline_tests.dagster_ext.queueing import origin_of
from lab_pipeline_tests.support.waiting import until

NEVER = 3600.0


@pytest.fixture
def instance(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    with open_instance(load_settings()) as opened:
        yield opened


@pytest.fixture
def looks(instance, monkeypatch):
    """Run a daemon that looks by itself once an hour, and return its looks."""
    found, ended = [], threading.Event()

    def look(_self, _context):
        found.append(1)
        if len(found) == 1:
            yield
        elif (Path(instance.root_directory) / "broken").exists():
            raise OSError

    monkeypatch.setattr(PromptQueueDaemon, "run_iteration", look)
    monkeypatch.setattr(queueing, "SIGN_SECONDS", 0.0)

    def work():
        for _ in PromptQueueDaemon(instance, NEVER).core_loop(None, ended):
            if ended.is_set():
                return

    working = threading.Thread(target=work)
    working.start()
    until(lambda: found)
    yield found
    ended.set()
    working.join()


def test_it_is_looked_at_as_soon_as_something_happened(instance, looks):
    for number in range(3):
        stir(Path(instance.root_directory))
        until(lambda number=number: len(looks) == number + 2)


def test_a_look_that_fails_ends_nothing_and_is_not_repeated_at_once(instance, looks):
    (Path(instance.root_directory) / "broken").touch()
    stir(Path(instance.root_directory))
    until(lambda: len(looks) == 2)
    (Path(instance.root_directory) / "broken").unlink()
    stir(Path(instance.root_directory))
    until(lambda: len(looks) == 3)


def test_a_home_that_cannot_be_written_is_looked_at_in_its_own_time(tmp_path):
    stir(tmp_path / "nowhere")
    assert stirred_at(tmp_path / "nowhere") == 0


def test_the_daemon_of_a_lab_has_it_at_the_interval_of_its_dagster_yaml(instance):
    (queue,) = [one for one in daemons(instance) if isinstance(one, PromptQueueDaemon)]
    assert queue.interval_seconds == 1


def test_a_run_that_is_queued_says_so(instance):
    @dg.job
    def nothing():
        pass

    run = instance.create_run_for_job(nothing, remote_job_origin=origin_of("nothing"))
    assert not (Path(instance.root_directory) / STIRRED).exists()
    instance.run_coordinator.submit_run(SubmitRunContext(run, workspace=None))
    assert stirred_at(Path(instance.root_directory)) > 0
