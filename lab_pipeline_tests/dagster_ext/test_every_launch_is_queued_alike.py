"""Whichever way of the UI or GraphQL launches it, a run waits in the queue under the same limits and tags."""

import itertools
import json
import logging
from types import SimpleNamespace

import dagster as dg
import pytest
from dagster._core.events import JobFailureData, RunFailureReason
from dagster._daemon.backfill import execute_backfill_iteration
from dagster_graphql.test.utils import execute_dagster_graphql

from lab_pipeline.cli.jobs import run_backtest_job, run_statistics_job
from lab_pipeline.dagster_ext import foreground
from lab_pipeline.dagster_ext.graphql import LOCATION, REPOSITORY
from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.dagster_ext.io_manager import LabIOManager
from lab_pipeline.operations.backtest_config import BacktestConfig
from lab_pipeline.runs.tags import ASSET_JOB
from lab_pipeline.settings import load_settings
from lab_pipeline_tests.dagster_ext.queueing import chosen
from lab_pipeline_tests.support.daemon import daemon

LAUNCHED = """
__typename
... on LaunchRunSuccess { run { runId } }
... on RunConfigValidationInvalid { errors { message } }
... on PythonError { message }
... on InvalidSubsetError { message }
"""
LAUNCH = f"mutation($p: ExecutionParams!) {{ launchRun(executionParams: $p) {{ {LAUNCHED} }} }}"
LAUNCH_MANY = f"""mutation($p: [ExecutionParams!]!) {{ launchMultipleRuns(executionParamsList: $p) {{
  ... on LaunchMultipleRunsResult {{ launchMultipleRunsResult {{ {LAUNCHED} }} }} }} }}"""
REEXECUTE = f"mutation($p: ReexecutionParams!) {{ launchRunReexecution(reexecutionParams: $p) {{ {LAUNCHED} }} }}"
REEXECUTE_BY_HAND = f"mutation($p: ExecutionParams!) {{ launchRunReexecution(executionParams: $p) {{ {LAUNCHED} }} }}"
BACKFILL = """mutation($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) {
  __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
TERMINATE = """mutation($id: String!) { terminateRun(runId: $id) {
  __typename ... on TerminateRunFailure { message } ... on PythonError { message } } }"""

ORIGIN = """query($id: ID!) { runOrError(runId: $id) {
  ... on Run { repositoryOrigin { repositoryLocationName repositoryName } } } }"""

CONFIG = {"strategy": "ladder", "timeframe": "1m"}
BACKTEST = {"ops": {"run": {"config": CONFIG}}}
FILES = ["fills", "trades", "paths", "outcomes", "equity", "summary", "report"]
ROWS = ["run_metrics", "run_fills"]
TAGS = {"lab/strategy": "ladder", "lab/timeframe": "1m", "dagster/retry_strategy": "ALL_STEPS"}

KINDS = {
    "the job": ("backtest", BACKTEST, []),
    "all assets": (ASSET_JOB, BACKTEST, FILES + ROWS),
    "all files": (ASSET_JOB, BACKTEST, FILES),
    "one file": (ASSET_JOB, BACKTEST, ["fills"]),
    "one file in the job": ("backtest", BACKTEST, ["report"]),
    "a file and its rows": (ASSET_JOB, BACKTEST, ["equity", "run_metrics"]),
    "rows": (ASSET_JOB, {}, ROWS),
    "statistics": ("statistics", {}, []),
}
SIMULATING = [kind for kind, (_, config, _) in KINDS.items() if config]
OF_THE_JOB = {kind for kind, (job, _, _) in KINDS.items() if job == "backtest"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_HOME", str(home))
        patch.setenv("DAGSTER_HOME", str(home / "dagster"))
        with open_instance(load_settings()) as instance, daemon(instance) as stopped:
            stopped.repeat_the_dead()  # which looks at nothing older than its first turn
            yield stopped


@pytest.fixture(autouse=True)
def queue(lab):
    """Leave an empty queue to the next test."""
    yield lab.instance
    for run in lab.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED])):
        lab.instance.report_run_canceled(run)


def ask(lab, query, **variables):
    (answer,) = execute_dagster_graphql(lab.request_context(), query, variables).data.values()
    return answer


def params(kind, tags=(), **metadata):
    """Return what the launchpad, or *Materialize*, sends."""
    job, config, assets = KINDS[kind]
    selector = {"repositoryLocationName": LOCATION, "repositoryName": REPOSITORY, "jobName": job}
    if assets:
        selector["assetSelection"] = [{"path": ["backtest", name]} for name in assets]
    tags = [{"key": key, "value": value} for key, value in tags]
    return {
        "selector": selector,
        "mode": "default",
        "runConfigData": json.dumps(config),
        "executionMetadata": {"tags": tags, **metadata},
    }


def run_of(lab, answer):
    assert answer["__typename"] == "LaunchRunSuccess", answer
    return lab.instance.get_run_by_id(answer["run"]["runId"])


def launched(lab, kind):
    return run_of(lab, ask(lab, LAUNCH, p=params(kind)))


def launched_with_others(lab, kind):
    (answer,) = ask(lab, LAUNCH_MANY, p=[params(kind)])["launchMultipleRunsResult"]
    return run_of(lab, answer)


def died(lab, kind):
    """Launch a run whose process is killed."""
    run = launched(lab, kind)
    lab.instance.report_run_failed(run, "killed", JobFailureData(None, RunFailureReason.UNKNOWN))
    return run


def reexecuted(strategy):
    def reexecute(lab, kind):
        parent = died(lab, kind)
        return run_of(lab, ask(lab, REEXECUTE, p={"parentRunId": parent.run_id, "strategy": strategy}))

    return reexecute


def reexecuted_without_tags(lab, kind):
    asked = {"parentRunId": died(lab, kind).run_id, "strategy": "ALL_STEPS", "useParentRunTags": False}
    return run_of(lab, ask(lab, REEXECUTE, p=asked))


def reexecuted_by_hand(lab, kind):
    """Re-execute with a configuration of one's own, as the launchpad of a run does; `lab runs retry` does the like."""
    parent = died(lab, kind).run_id
    return run_of(lab, ask(lab, REEXECUTE_BY_HAND, p=params(kind, parentRunId=parent, rootRunId=parent)))


def retried(lab, kind):
    parent = died(lab, kind)
    lab.repeat_the_dead()
    return next(run for run in lab.instance.get_runs() if run.parent_run_id == parent.run_id)


WAYS = {
    "launch": launched,
    "launch of many": launched_with_others,
    "from start": reexecuted("ALL_STEPS"),
    "from failure": reexecuted("FROM_FAILURE"),
    "from asset failure": reexecuted("FROM_ASSET_FAILURE"),
    "from start without the tags": reexecuted_without_tags,
    "by hand": reexecuted_by_hand,
    "retry": retried,
}


@pytest.mark.parametrize(
    ("way", "kind"),
    [
        *itertools.product(["launch", "launch of many"], KINDS),
        *itertools.product(list(WAYS)[2:], ["the job", "all assets", "statistics"]),
    ],
)
def test_a_run_waits_with_its_tags_however_it_is_launched(lab, way, kind):
    run = WAYS[way](lab, kind)
    assert run.status is dg.DagsterRunStatus.QUEUED
    wanted = TAGS if kind in SIMULATING else {}
    assert {key: value for key, value in run.tags.items() if key in TAGS and key in wanted} == wanted
    if kind not in SIMULATING:
        assert not {"lab/strategy", "lab/timeframe"} & run.tags.keys()


def test_all_ways_together_obey_the_limit_of_a_strategy(lab):
    waiting = [launch(lab, kind).run_id for launch, kind in zip(WAYS.values(), itertools.cycle(SIMULATING))]
    assert len(waiting) == len(set(waiting))
    taken = chosen(lab.instance)
    assert len(taken) == load_settings().max_concurrent_runs_per_strategy
    assert set(taken) <= set(waiting)


def test_a_tag_that_somebody_typed_moves_no_run_to_another_limit(lab):
    run = run_of(lab, ask(lab, LAUNCH, p=params("all assets", tags=[("lab/strategy", "dip-scalper")])))
    assert run.tags["lab/strategy"] == "ladder"


def re_executions(lab, run):
    """Kill a run, and return the runs that Dagster's daemon makes of it."""
    lab.instance.report_run_failed(run, "killed", JobFailureData(None, RunFailureReason.UNKNOWN))
    lab.repeat_the_dead()
    return [one for one in lab.instance.get_runs() if one.parent_run_id == run.run_id]


def test_what_was_re_executed_twice_is_run_again_as_often_as_a_new_one(lab):
    first = launched(lab, "all assets")
    lab.instance.report_run_canceled(first)
    parent = run_of(lab, ask(lab, REEXECUTE, p={"parentRunId": first.run_id, "strategy": "ALL_STEPS"}))
    lab.instance.report_run_canceled(parent)
    again = params("all assets", parentRunId=parent.run_id, rootRunId=parent.root_run_id)
    run = run_of(lab, ask(lab, REEXECUTE_BY_HAND, p=again))
    for _ in range(lab.instance.run_retries_max_retries):
        (run,) = re_executions(lab, run)
    assert re_executions(lab, run) == []


def backfilled(lab, **asked):
    assets = [{"path": ["backtest", name]} for name in FILES + ROWS]
    answer = ask(lab, BACKFILL, p={"assetSelection": assets, "allPartitions": True, **asked})
    assert answer["__typename"] == "LaunchBackfillSuccess", answer
    for _ in range(3):
        list(execute_backfill_iteration(lab.workspace, logging.getLogger("backfill")))
    return answer["backfillId"]


def test_a_backfill_waits_with_its_tags(lab):
    backfill = backfilled(lab, runConfigData=json.dumps(BACKTEST))
    (run,) = lab.instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": backfill}))
    assert run.status is dg.DagsterRunStatus.QUEUED
    assert run.tags.items() >= TAGS.items()


def test_what_says_no_strategy_is_told_what_to_give(lab):
    before = lab.instance.get_runs_count()
    needed = 'Missing required config entry "ops" at the root.'
    example = (
        "Example config for the missing entry: {'ops': {'run': {'config': {'strategy': '...', 'timeframe': '...'}}}}"
    )
    for kind in set(SIMULATING) - OF_THE_JOB:  # without a config, the job runs the example of its launchpad
        answer = ask(lab, LAUNCH, p={**params(kind), "runConfigData": "{}"})
        (error,) = answer["errors"]
        assert error["message"].startswith(needed)
        assert error["message"].endswith(example)
    failed = lab.instance.get_backfill(backfilled(lab))
    assert needed in failed.error.message
    assert example in failed.error.message
    assert lab.instance.get_runs_count() == before


def in_terminal(lab, monkeypatch, execute, error=None):
    """Let a run of the foreground end as it does on Ctrl-C or, with an error, by failing; return it."""

    def end(_job, run, instance):
        if error is None:
            raise KeyboardInterrupt
        instance.report_run_failed(run, error, JobFailureData(None, RunFailureReason.STEP_FAILURE))
        return SimpleNamespace(__enter__=None)

    monkeypatch.setattr(foreground, "execute_run", end)
    with foreground.alive(load_settings(), lab.instance) as tags, pytest.raises((KeyboardInterrupt, TypeError)):
        execute(tags)
    (run,) = lab.instance.get_runs(limit=1)
    return run


@pytest.mark.parametrize(("strategy", "error"), [("ALL_STEPS", None), ("FROM_FAILURE", "bad input")])
@pytest.mark.parametrize("kind", ["the job", "statistics"])
def test_a_run_of_the_foreground_is_repeated_by_the_queue(lab, monkeypatch, kind, strategy, error):
    def execute(tags):
        if kind == "the job":
            run_backtest_job(lab.instance, BacktestConfig(**CONFIG), tags)
        else:
            run_statistics_job(lab.instance, tags)

    parent = in_terminal(lab, monkeypatch, execute, error)
    assert parent.is_finished
    wanted = TAGS if kind == "the job" else {}
    assert parent.tags.items() >= wanted.items()
    assert parent.tags["dagster/max_retries"] == "0"
    assert ask(lab, ORIGIN, id=parent.run_id)["repositoryOrigin"] == {
        "repositoryLocationName": LOCATION,
        "repositoryName": REPOSITORY,
    }
    again = run_of(lab, ask(lab, REEXECUTE, p={"parentRunId": parent.run_id, "strategy": strategy}))
    assert again.status is dg.DagsterRunStatus.QUEUED
    assert again.tags.items() >= wanted.items()
    assert len(re_executions(lab, again)) == 1, again.tags


def test_a_run_of_the_foreground_counts_against_the_limits(lab, monkeypatch):
    in_progress = []

    def go_on(_job, run, instance):
        start = dg.DagsterEvent(event_type_value="PIPELINE_START", job_name=run.job_name)
        instance.report_dagster_event(start, run.run_id)
        waiting = [launched(lab, "all assets").run_id for _ in range(3)]
        in_progress.append((waiting, chosen(instance)))
        raise KeyboardInterrupt

    monkeypatch.setattr(foreground, "execute_run", go_on)
    with foreground.alive(load_settings(), lab.instance) as tags, pytest.raises(KeyboardInterrupt):
        run_backtest_job(lab.instance, BacktestConfig(**CONFIG), tags)
    ((waiting, taken),) = in_progress
    assert taken == waiting[:1]


def test_going_on_from_a_failure_says_that_what_was_in_memory_is_gone():
    step = SimpleNamespace(
        resolved_run_config=SimpleNamespace(execution=SimpleNamespace(execution_engine_config={"in_process": {}})),
        job_def=SimpleNamespace(executor_def=SimpleNamespace(get_requirements=lambda _: [])),
    )
    context = SimpleNamespace(get_identifier=lambda: ["parent", "run.load", "whole"], step_context=step)
    with pytest.raises(dg.Failure) as failed:
        LabIOManager(load_settings).load_input(context)
    assert failed.value.description == (
        "what `run.load` made went with run parent: re-execute all steps of it, not just from the failure on"
    )
    assert not failed.value.allow_retries


def test_a_run_that_just_starts_is_not_said_to_be_terminated(lab):
    run = launched(lab, "the job")
    starting = dg.DagsterEvent(event_type_value="PIPELINE_STARTING", job_name=run.job_name)
    lab.instance.report_dagster_event(starting, run.run_id)
    answer = ask(lab, TERMINATE, id=run.run_id)
    assert answer == {
        "__typename": "TerminateRunFailure",
        "message": f"Run {run.run_id} could not be terminated due to having status STARTING.",
    }
