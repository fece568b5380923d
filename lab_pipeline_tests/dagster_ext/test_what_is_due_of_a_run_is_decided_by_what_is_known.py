"""What is due of a run follows from its record, its lock and what it has left; no store is needed to say it."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster import DagsterRunStatus as Status
from dagster._core.storage.tags import RUN_FAILURE_REASON_TAG
from hypothesis import given
from hypothesis import strategies as st

from lab_pipeline.dagster_ext.reconcile import PATIENCE, UNPUBLISHED_WITHIN, Action, Do, Left, Lock, reconcile
from lab_pipeline_tests.dagster_ext.queueing import origin_of

NOW = datetime(2026, 3, 1, tzinfo=UTC)
ALL = Left.SCRATCH | Left.PUBLISHED
FINISHED = {Status.SUCCESS, Status.FAILURE, Status.CANCELED}
CLAIMED, SEEN, HELD = Lock(held=False), Lock(held=False, seen="ended with status 3"), Lock(held=True)
BY_AN_OP = {RUN_FAILURE_REASON_TAG: "STEP_FAILURE"}


def record(status, unchanged=timedelta(), run_id="run", tags=None):
    moment = NOW - unchanged
    origin = origin_of("backtest")
    run = dg.DagsterRun("backtest", run_id=run_id, status=status, tags=tags or {}, remote_job_origin=origin)
    return dg.RunRecord(storage_id=1, dagster_run=run, create_timestamp=moment, update_timestamp=moment)


def due(status, lock=None, unchanged=timedelta(), left=ALL, tags=None):
    records = [] if status is None else [record(status, unchanged, tags=tags)]
    return reconcile(records, {"run": lock} if lock else {}, {"run": left}, NOW)


def verbs(*args, **kwargs):
    return [action.do for action in due(*args, **kwargs)]


@pytest.mark.parametrize("status", [Status.NOT_STARTED, Status.STARTED])
def test_a_run_whose_process_is_gone_fails_and_then_leaves_nothing(status):
    assert verbs(status, CLAIMED) == [Do.FAIL, Do.DISCARD, Do.UNPUBLISH]
    assert verbs(status, unchanged=timedelta(days=1)) == []  # nothing is known of its process


def test_a_run_that_was_to_stop_is_canceled():
    assert verbs(Status.CANCELING, CLAIMED) == [Do.CANCEL, Do.DISCARD, Do.UNPUBLISH]
    assert verbs(Status.CANCELING) == []
    assert verbs(Status.CANCELING, unchanged=PATIENCE)[0] is Do.CANCEL


def test_a_run_that_leaves_the_queue_is_given_its_time_unless_its_launcher_saw_it_end():
    assert verbs(Status.STARTING, CLAIMED) == []  # it may be about to take that lock
    assert verbs(Status.STARTING, SEEN)[0] is Do.FAIL
    assert verbs(Status.STARTING, unchanged=PATIENCE)[0] is Do.FAIL


@pytest.mark.parametrize(
    ("status", "lock", "reason"),
    [
        (Status.STARTED, CLAIMED, "Its process was killed before it was done."),
        (Status.STARTED, SEEN, "Its process ended with status 3 before it was done."),
        (Status.STARTING, SEEN, "Its process ended with status 3 before it began."),
        (Status.STARTING, None, "It left the queue, and has no process."),
        (Status.CANCELING, None, "It has no process any more."),
    ],
)
def test_the_reason_says_how_the_process_ended(status, lock, reason):
    first, *_ = due(status, lock, unchanged=PATIENCE)
    assert (first.reason, first.seen) == (reason, status)


def test_what_was_canceled_or_killed_is_unpublished_and_what_succeeded_or_failed_by_an_op_is_kept():
    assert verbs(Status.FAILURE, CLAIMED, tags=BY_AN_OP) == [Do.DISCARD]
    assert verbs(Status.SUCCESS, CLAIMED) == [Do.DISCARD]
    assert verbs(Status.FAILURE, CLAIMED) == [Do.DISCARD, Do.UNPUBLISH]
    # A re-execution has the tags of the run that it repeats.
    assert verbs(Status.CANCELED, CLAIMED, tags=BY_AN_OP) == [Do.DISCARD, Do.UNPUBLISH]
    assert Do.UNPUBLISH in verbs(Status.STARTED, CLAIMED, tags=BY_AN_OP)


def test_what_another_launcher_ran_is_unpublished_once_its_own_would_have_been():
    assert Do.UNPUBLISH not in verbs(Status.FAILURE)
    assert Do.UNPUBLISH in verbs(Status.FAILURE, unchanged=UNPUBLISHED_WITHIN)


def test_a_process_that_goes_on_after_its_run_is_asked_to_stop_then_killed():
    assert verbs(Status.CANCELED, HELD) == []
    assert verbs(Status.CANCELED, HELD, unchanged=PATIENCE) == [Do.STOP]
    assert verbs(None, HELD) == [Do.STOP]  # its run was deleted
    asked = Lock(held=True, stop_requested=NOW - PATIENCE)
    assert verbs(Status.CANCELING, asked) == [Do.KILL]


UNCHANGED = st.timedeltas(min_value=-timedelta(days=400), max_value=timedelta(days=400))
LOCKS = st.builds(
    Lock,
    held=st.booleans(),
    stop_requested=st.none() | UNCHANGED.map(lambda before: NOW - before),
    seen=st.none() | st.just("was killed by signal 9"),
)
LEFT = st.sampled_from([Left(0), Left.SCRATCH, Left.PUBLISHED, ALL])


@st.composite
def labs(draw):
    """Some runs, each with what is known of it."""
    ids = draw(st.lists(st.sampled_from("abcdef"), unique=True))
    records = [
        record(draw(st.sampled_from(Status)), draw(UNCHANGED), name, draw(st.sampled_from([{}, BY_AN_OP])))
        for name in ids
    ]
    names = st.sampled_from("abcdefgh")
    return records, draw(st.dictionaries(names, LOCKS)), draw(st.dictionaries(names, LEFT))


@given(labs())
def test_nothing_is_done_to_what_lives_or_succeeded(lab):
    records, locks, artifacts = lab
    status = {one.dagster_run.run_id: one.dagster_run.status for one in records}
    for action in reconcile(records, locks, artifacts, NOW):
        lock, was = locks.get(action.run_id), status.get(action.run_id)
        if lock and lock.held:
            assert action.do in {Do.STOP, Do.KILL}
        else:
            assert action.do not in {Do.STOP, Do.KILL}
        if was in {None, Status.SUCCESS}:
            assert action.do not in {Do.FAIL, Do.CANCEL, Do.UNPUBLISH}
        if was in FINISHED:
            assert action.do not in {Do.FAIL, Do.CANCEL}
        assert action.seen is was


@given(labs())
def test_when_it_is_done_nothing_is_due_any_more(lab):
    records, locks, artifacts = lab
    now_status = {one.dagster_run.run_id: one.dagster_run.status for one in records}
    left = dict(artifacts)
    ends = {Do.FAIL: Status.FAILURE, Do.CANCEL: Status.CANCELED}
    removed = {Do.DISCARD: Left.SCRATCH, Do.UNPUBLISH: Left.PUBLISHED}
    done = reconcile(records, locks, artifacts, NOW)
    for action in done:
        if action.do in ends:
            now_status[action.run_id] = ends[action.do]
        elif action.do in removed:
            left[action.run_id] &= ~removed[action.do]
    killed = {action.run_id for action in done if action.do in {Do.STOP, Do.KILL}}
    after = [
        record(
            now_status[one.dagster_run.run_id], NOW - one.update_timestamp, one.dagster_run.run_id, one.dagster_run.tags
        )
        if now_status[one.dagster_run.run_id] is one.dagster_run.status
        else record(now_status[one.dagster_run.run_id], run_id=one.dagster_run.run_id)
        for one in records
    ]
    again = reconcile(after, {name: lock for name, lock in locks.items() if name not in killed}, left, NOW)
    assert [action for action in again if action.run_id not in killed and action.do is not Do.UNPUBLISH] == []


@given(labs())
def test_what_is_due_of_a_run_does_not_depend_on_others(lab):
    records, locks, artifacts = lab
    together = reconcile(records, locks, artifacts, NOW)
    for name in "abcdefgh":
        own = [one for one in records if one.dagster_run.run_id == name]
        alone: list[Action] = reconcile(
            own,
            {name: locks[name]} if name in locks else {},
            {name: artifacts[name]} if name in artifacts else {},
            NOW,
        )
        assert [action for action in together if action.run_id == name] == alone
