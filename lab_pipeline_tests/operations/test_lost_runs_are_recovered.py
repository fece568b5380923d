from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.events import DagsterEvent, DagsterEventType, JobFailureData, RunFailureReason

from lab_pipeline.dagster_ext import reconcile, run_worker
from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.dagster_ext.worker_locks import WORKER_TAG, take, workers_dir
from lab_pipeline.operations import recovery
from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline.settings import load_settings
from lab_pipeline_tests.support.daemon import daemon

RETRY = "dagster._daemon.auto_run_reexecution.auto_run_reexecution.retry_run"
CONFIG = {"strategy": "ladder", "timeframe": "1m"}


@pytest.fixture
def lab(tmp_path, monkeypatch):
    for name, value in {"LAB_HOME": tmp_path, "DAGSTER_HOME": tmp_path / "dagster"}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(recovery, "QUEUED_WITHIN", timedelta())
    monkeypatch.setattr(reconcile, "PATIENCE", timedelta())
    monkeypatch.setattr(recovery, "RETRIED_WITHIN", timedelta())
    with open_instance(load_settings()) as instance, daemon(instance) as stopped:
        stopped.repeat_the_dead()  # which looks at nothing older than its first turn
        yield stopped


def die(lab, run, reason=RunFailureReason.UNKNOWN):
    lab.instance.report_run_failed(run, message="killed", job_failure_data=JobFailureData(None, reason))


def died(lab, reason=RunFailureReason.UNKNOWN, **tags):
    """Let a run fail while the code server is away, so that the daemon fails to repeat it."""
    run = lab.launched(**CONFIG)
    lab.instance.add_run_tags(run.run_id, tags)
    die(lab, run, reason)

    def away(*_):
        raise DagsterUserCodeUnreachableError("the code server is away")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RETRY, away)
        lab.repeat_the_dead()
    return run.run_id


def re_executions(lab, run_id):
    return [run for run in lab.instance.get_runs() if run.parent_run_id == run_id]


def tick(lab):
    return lab.run_sensor("recover_runs").skip_reason


def test_a_dead_run_is_repeated_once_though_the_code_server_was_away(lab):
    lost = died(lab)
    lab.repeat_the_dead()
    assert re_executions(lab, lost) == []  # the daemon alone never comes back to it
    for _ in range(2):
        tick(lab)
        lab.repeat_the_dead()
        (again,) = re_executions(lab, lost)
        assert (again.status, again.root_run_id) == (dg.DagsterRunStatus.QUEUED, lost)
        assert again.run_config == {"ops": {"run": {"config": CONFIG}}}
    assert lab.instance.get_run_by_id(lost).tags["dagster/will_retry"] == "true"
    assert tick(lab) == "no run is lost"


def test_a_dead_run_that_can_be_seen_still_is_unpublished(lab, monkeypatch):
    monkeypatch.setattr(reconcile, "UNPUBLISHED_WITHIN", timedelta())
    monkeypatch.setattr(ArtifactStore, "has", lambda *_: True)
    unpublished = []
    monkeypatch.setattr(reconcile, "unpublish", lambda _, run_id: unpublished.append(run_id))
    lost = died(lab, **{"dagster/max_retries": "0"})
    died(lab, RunFailureReason.STEP_FAILURE)  # which keeps what it has published
    assert tick(lab) == f"unpublished: {lost}"
    assert unpublished == [lost]


def test_it_is_asked_for_again_while_the_code_server_stays_away_but_not_for_ever(lab, monkeypatch):
    monkeypatch.setattr(recovery, "ASKED_AT_MOST", 3)
    lost = died(lab)
    assert [tick(lab) for _ in range(4)] == [f"retried: {lost}"] * 3 + ["no run is lost"]


def test_a_repetition_has_all_attempts_of_its_own(lab, monkeypatch):
    monkeypatch.setattr(recovery, "ASKED_AT_MOST", 1)
    lost = died(lab)
    assert tick(lab) == f"retried: {lost}"
    lab.repeat_the_dead()
    (again,) = re_executions(lab, lost)
    die(lab, again)
    assert tick(lab) == f"retried: {again.run_id}"


def killed(lab, run):
    """Let a run die, and return its re-execution, which the daemon may have made."""
    die(lab, run)
    lab.repeat_the_dead()
    return next(iter(re_executions(lab, run.run_id)), None)


@pytest.mark.parametrize("by_hand", [1, 4])
def test_a_run_that_somebody_repeats_is_run_again_as_often_as_a_new_one(lab, by_hand):
    run = lab.launched(**CONFIG)
    for _ in range(by_hand):
        lab.instance.report_run_canceled(run)
        run = lab.repeated(run)
    for _ in range(lab.instance.run_retries_max_retries):
        run = killed(lab, run)
        assert run is not None
    assert killed(lab, run) is None


def test_a_number_of_repetitions_that_was_chosen_for_a_run_is_kept(lab):
    first = lab.launched(**CONFIG)
    lab.instance.add_run_tags(first.run_id, {"dagster/max_retries": "1"})
    lab.instance.report_run_canceled(first)
    again = lab.repeated(first)
    assert lab.instance.get_run_by_id(again.run_id).tags["dagster/max_retries"] == "2"  # of all that go back to it
    run = killed(lab, again)
    assert killed(lab, run) is None


def test_what_goes_back_to_a_deleted_run_can_be_repeated_by_hand(lab):
    first = lab.launched(**CONFIG)
    lab.instance.report_run_canceled(first)
    second = lab.repeated(first)
    lab.instance.delete_run(first.run_id)
    lab.instance.report_run_canceled(second)
    assert lab.repeated(second).status is dg.DagsterRunStatus.QUEUED


def test_launchers_and_the_daemon_are_given_their_time_before_a_run_counts_as_lost(lab, monkeypatch):
    monkeypatch.setattr(recovery, "QUEUED_WITHIN", timedelta(seconds=60))
    monkeypatch.setattr(recovery, "RETRIED_WITHIN", timedelta(seconds=60))
    died(lab)
    lab.launched(**CONFIG)
    assert tick(lab) == "no run is lost"


def test_what_is_not_to_be_repeated_is_left_alone(lab):
    died(lab, RunFailureReason.STEP_FAILURE)
    died(lab, **{"dagster/max_retries": "0"})
    repeated_by_hand = died(lab)
    group = {"parent_run_id": repeated_by_hand, "root_run_id": repeated_by_hand}
    tags = {f"dagster/{name}": run_id for name, run_id in group.items()}
    lab.instance.add_run(dg.DagsterRun(job_name="backtest", tags=tags, **group))
    assert tick(lab) == "no run is lost"


def test_a_run_whose_launcher_died_before_it_was_queued_is_queued(lab):
    run = lab.launched(**CONFIG)
    assert tick(lab) == f"queued: {run.run_id}"
    queued = lab.instance.get_run_by_id(run.run_id)
    assert queued.status is dg.DagsterRunStatus.QUEUED
    assert (queued.tags["lab/strategy"], queued.tags["lab/timeframe"]) == ("ladder", "1m")
    assert tick(lab) == "no run is lost"
    assert len(lab.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_ENQUEUED)) == 1


def left_the_queue(lab):
    """Let the daemon be killed, or meet a full disk, between taking a run from the queue and starting its process."""
    run = lab.launched(**CONFIG)
    starting = DagsterEventType.RUN_STARTING.value
    lab.instance.report_dagster_event(DagsterEvent(starting, run.job_name, message="it left the queue"), run.run_id)
    return run.run_id


def test_a_run_that_left_the_queue_and_got_no_process_is_failed_and_repeated_once(lab):
    lost = left_the_queue(lab)
    for said in (f"failed: {lost}", "no run is lost"):
        assert tick(lab) == said
        lab.repeat_the_dead()
        (again,) = re_executions(lab, lost)
        assert again.status is dg.DagsterRunStatus.QUEUED
    assert lab.instance.get_run_by_id(lost).status is dg.DagsterRunStatus.FAILURE
    (failure,) = lab.instance.all_logs(lost, of_type=dg.DagsterEventType.RUN_FAILURE)
    assert failure.dagster_event.message == "It left the queue, and has no process."


def test_a_process_that_comes_after_its_run_was_failed_leaves_it_as_it_is(lab, tmp_path):
    lost = left_the_queue(lab)
    tick(lab)
    lab.instance.add_run_tags(lost, {WORKER_TAG: lost})
    with pytest.raises(SystemExit) as ended:
        run_worker.execute(lost, take(workers_dir(tmp_path / "dagster"), lost))
    assert ended.value.code == 0
    assert lab.instance.get_run_by_id(lost).status is dg.DagsterRunStatus.FAILURE
    assert lab.instance.all_logs(lost, of_type=dg.DagsterEventType.STEP_START) == []


@pytest.mark.parametrize("spared", ["one that has a process", "one that left the queue just now", "one of others"])
def test_a_run_that_may_begin_yet_is_left_alone(lab, monkeypatch, tmp_path, spared):
    starting = left_the_queue(lab)
    if spared == "one that has a process":
        take(workers_dir(tmp_path / "dagster"), starting)
    elif spared == "one that left the queue just now":
        monkeypatch.setattr(reconcile, "PATIENCE", timedelta(seconds=15))
    else:
        ref = lab.instance.get_ref()
        of_others = ref.run_launcher_data._replace(class_name="K8sRunLauncher")
        monkeypatch.setattr(dg.DagsterInstance, "get_ref", lambda _: ref._replace(run_launcher_data=of_others))
    assert reconcile.reconcile_lost(lab.instance, load_settings(), datetime.now(UTC)) == []
    assert lab.instance.get_run_by_id(starting).status is dg.DagsterRunStatus.STARTING


@pytest.mark.parametrize("put", [-timedelta(days=300), -timedelta(hours=2), timedelta(hours=2)])
def test_runs_are_found_whatever_the_clock_said_when_they_were_lost(lab, monkeypatch, put):
    monkeypatch.setattr(recovery, "QUEUED_WITHIN", timedelta(seconds=60))
    monkeypatch.setattr(recovery, "RETRIED_WITHIN", timedelta(seconds=15))
    lost, forgotten = died(lab), lab.launched(**CONFIG).run_id
    now = datetime.now(UTC) + put
    assert recovery.queue_forgotten(lab.instance, now) == [forgotten]
    assert recovery.ask_for_retry(lab.instance, now) == [lost]
    lab.repeat_the_dead()
    assert len(re_executions(lab, lost)) == 1
    assert recovery.queue_forgotten(lab.instance, now) == []
    assert recovery.ask_for_retry(lab.instance, now) == []
