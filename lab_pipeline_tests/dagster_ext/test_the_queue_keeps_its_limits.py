import dagster as dg
import pytest
import yaml
from dagster._core.events import DagsterEvent, RunFailureReason
from dagster._core.execution.retries import auto_reexecution_should_retry_run
from dagster._core.run_coordinator import SubmitRunContext

from lab_pipeline.dagster_ext.instance import open_instance, prepare_environment
from lab_pipeline.definitions import defs
from lab_pipeline.runs.tags import asked_fields, search_tags
from lab_pipeline.settings import Settings
from lab_pipeline_tests.dagster_ext.queueing import chosen, origin_of


@pytest.fixture
def settings(tmp_path, monkeypatch):
    for name in ("LAB_HOME", "DAGSTER_HOME"):
        monkeypatch.setenv(name, "set so that it is restored")
    return Settings(home=tmp_path, max_concurrent_runs=5, max_concurrent_runs_per_strategy=2, run_retries=1)


def written(settings):
    return yaml.safe_load((settings.dagster_home / "dagster.yaml").read_text())


def test_the_settings_reach_dagsters_own_file(settings):
    prepare_environment(settings)
    config = written(settings)
    assert config["concurrency"]["runs"]["max_concurrent_runs"] == 5
    assert config["concurrency"]["runs"]["tag_concurrency_limits"][0]["limit"] == 2
    assert config["run_retries"]["max_retries"] == 1


def test_only_what_is_about_the_whole_lab_writes_the_file_again(settings):
    prepare_environment(settings)
    changed = settings.model_copy(update={"max_concurrent_runs": 9})
    prepare_environment(changed)
    assert written(settings)["concurrency"]["runs"]["max_concurrent_runs"] == 5
    prepare_environment(changed, apply_settings=True)
    assert written(settings)["concurrency"]["runs"]["max_concurrent_runs"] == 9


def test_a_file_of_the_users_own_stays(settings, tmp_path):
    settings.dagster_home.mkdir(parents=True)
    mine = settings.dagster_home / "dagster.yaml"
    elsewhere = tmp_path / "config" / "dagster.yaml"
    elsewhere.parent.mkdir()
    elsewhere.write_text("telemetry: {enabled: false}\n")
    for make in (lambda: mine.write_text("telemetry: {enabled: false}\n"), lambda: mine.symlink_to(elsewhere)):
        make()
        prepare_environment(settings, apply_settings=True)
        assert mine.read_text() == "telemetry: {enabled: false}\n"
        mine.unlink()


def test_a_backtest_is_tagged_with_what_it_asks_for():
    config = {"ops": {"run": {"config": {"strategy": "ladder", "timeframe": "5m"}}}}
    assert search_tags(asked_fields(config, {})) == {"lab/strategy": "ladder", "lab/timeframe": "5m"}
    config["ops"]["run"]["config"]["strategy_version"] = "2"
    assert search_tags(asked_fields(config, {}))["lab/strategy_version"] == "2"


@pytest.mark.parametrize("config", [None, [], {}, {"ops": None}, {"ops": {"run": {"config": {"strategy": 7}}}}])
def test_a_configuration_that_is_nonsense_waits_for_the_op_to_refuse_it(config):
    assert search_tags(asked_fields(config, {})) == {}


def queued(instance, strategy, priority=None):
    tags = {"lab/strategy": strategy, **({"dagster/priority": str(priority)} if priority is not None else {})}
    run = dg.DagsterRun(
        job_name="backtest", status=dg.DagsterRunStatus.QUEUED, tags=tags, remote_job_origin=origin_of("backtest")
    )
    return instance.add_run(run).run_id


def test_the_queue_obeys_the_limits_and_the_priorities(settings):
    with open_instance(settings) as instance:
        first, second, third = (queued(instance, "ladder") for _ in range(3))
        low, high = queued(instance, "dip", -1), queued(instance, "trend", 5)
        others = [queued(instance, f"s{number}") for number in range(3)]
        next_ones = chosen(instance)
    assert next_ones == [high, first, second, *others[:2]]
    assert third not in next_ones
    assert low not in next_ones


@pytest.mark.parametrize("job", ["inbox", "retention", "statistics"])
def test_what_must_not_run_beside_itself_waits_until_the_run_before_has_ended(settings, monkeypatch, job):
    monkeypatch.setenv("DAGSTER_OP_CONCURRENCY_KEYS_ALLOTTED_FOR_STARTED_RUN_SECONDS", "0")  # as if it ran for long
    definition = defs().resolve_job_def(job)
    with open_instance(settings) as instance:
        first, second = (
            submitted(instance, instance.create_run_for_job(definition, remote_job_origin=origin_of(job)))
            for _ in range(2)
        )
        other = queued(instance, "ladder")
        assert chosen(instance) == [first, other]
        for under_way in ("PIPELINE_STARTING", "PIPELINE_START"):
            report(instance, first, under_way)
            assert chosen(instance) == [other]
        report(instance, first, "PIPELINE_SUCCESS")
        assert chosen(instance) == [second, other]


def submitted(instance, run):
    """Queue a run as everybody does who launches one; the code location plays no part in it."""
    return instance.run_coordinator.submit_run(SubmitRunContext(run, workspace=None)).run_id


def report(instance, run_id, event):
    """Record what a launcher or the run itself says of it."""
    name = instance.get_run_by_id(run_id).job_name
    instance.report_dagster_event(DagsterEvent(event_type_value=event, job_name=name), run_id)


@pytest.mark.parametrize(
    ("reason", "retried"), [("STEP_FAILURE", False), ("RUN_EXCEPTION", True), ("UNEXPECTED_TERMINATION", True)]
)
def test_a_crash_is_retried_and_bad_input_is_not(settings, reason, retried):
    with open_instance(settings) as instance:
        run = instance.add_run(dg.DagsterRun(job_name="backtest", status=dg.DagsterRunStatus.FAILURE))
        assert auto_reexecution_should_retry_run(instance, run, RunFailureReason(reason)) is retried
