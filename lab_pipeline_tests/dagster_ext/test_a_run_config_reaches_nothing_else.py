"""Whoever launches a run says what to compute, and reaches no code, file, address or variable thereby."""

import importlib.util
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._config import ConfigTypeKind
from dagster._core.errors import DagsterInvalidSubsetError
from dagster._core.system_config.objects import ResolvedRunConfig

from lab_pipeline.cli.jobs import backtest_job
from lab_pipeline.dagster_ext.executor import MOST_PROCESSES, lab_executor
from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.dagster_ext.run_admission import refusal
from lab_pipeline.definitions import defs
from lab_pipeline.defs.lake.assets import in_inbox
from lab_pipeline.defs.lake.jobs import DroppedFile, InboxFiles, ingest_inbox
from lab_pipeline.domain.errors import InvalidConfigError, LabError
from lab_pipeline.lake.inbox import key_of
from lab_pipeline.operations.lab import Lab
from lab_pipeline.operations.recovery import queue_forgotten
from lab_pipeline.settings import load_settings
from lab_pipeline_tests.support.daemon import daemon

SECRET = "not-for-the-author-of-a-run"  # noqa: S105 - an example
OPEN = {
    "__ASSET_JOB": {"ops", "resources"},  # what no op or resource of a selection has for a name is ignored
}
DATA = {"ops.run.config.params"}
"""Values of strategy fields: the strategy's own model says what they may be."""
SPACE = "config.space"
"""Paths of a strategy and the values to try: the model of a sweep says what they may be."""


@pytest.fixture
def instance(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home" / "dagster"))
    monkeypatch.setenv("LAB_API_TOKEN", SECRET)
    with open_instance(load_settings()) as instance:
        yield instance


@pytest.fixture(scope="module")
def repository():
    return defs().get_repository_def()


def variants_of(jobs):
    """Every job, whole and with each op alone, since what an op is not given the run's config would have to say."""
    for job in jobs:
        yield job.name, job
        for handle in job.graph.iterate_node_handles():
            try:
                yield f"{job.name}, {handle} alone", job.get_subset(op_selection=[str(handle)])
            except DagsterInvalidSubsetError:  # which says that it cannot be run alone
                continue


def fields_of(kind, path=""):
    """Yield every type that a value can have, and where; a type that takes anything has no more below it."""
    yield path, kind
    inner = "{}" if kind.kind is ConfigTypeKind.MAP else ""
    if ConfigTypeKind.has_fields(kind.kind):
        for name, field in kind.fields.items():
            yield from fields_of(field.config_type, f"{path}.{name}".lstrip("."))
    elif kind.kind in (ConfigTypeKind.ARRAY, ConfigTypeKind.NONEABLE, ConfigTypeKind.MAP):
        yield from fields_of(kind.inner_type, path + inner)


def test_every_field_of_every_job_is_a_plain_value_or_a_choice(repository):
    allowed = {ConfigTypeKind.SCALAR, ConfigTypeKind.ENUM, ConfigTypeKind.ARRAY, ConfigTypeKind.NONEABLE}
    allowed |= {ConfigTypeKind.STRICT_SHAPE, ConfigTypeKind.SELECTOR, ConfigTypeKind.MAP}
    seen, wrong = 0, []
    for name, job in variants_of(repository.get_all_jobs()):
        whole = name.partition(",")[0]
        for path, kind in fields_of(job.run_config_schema.config_type):
            seen += 1
            is_open = kind.kind is ConfigTypeKind.PERMISSIVE_SHAPE and path in OPEN.get(whole, ())
            is_data = kind.kind is ConfigTypeKind.ANY and path.removesuffix("{}") in DATA
            is_open |= kind.kind is ConfigTypeKind.PERMISSIVE_SHAPE and path.endswith(SPACE)
            if kind.kind not in allowed and not is_open and not is_data:
                wrong.append(f"{name}: {path} is {kind.kind.value} {kind.given_name or kind.key}")
            if kind.kind is ConfigTypeKind.SELECTOR and {"env", "pickle", "json"} & kind.fields.keys():
                wrong.append(f"{name}: {path} selects among {sorted(kind.fields)}")
    assert wrong == []
    assert seen > 300


def asked(**config):
    return {"ops": {"run": {"config": {"strategy": "ladder", "timeframe": "1m", **config}}}}


def executed(**config):
    return {**asked(), "execution": {"config": config}}


ESCAPES = {
    "dask preloads code": lambda canary: executed(
        dask={"cluster": {"local": {"n_workers": 1, "preload": [f"open({canary!r}, 'w')"]}}}
    ),
    "dask goes to an address": lambda _: executed(dask={"cluster": {"existing": {"address": "tcp://203.0.113.1:1"}}}),
    "dask listens": lambda _: executed(dask={"cluster": {"local": {"host": "0.0.0.0"}}}),  # noqa: S104 - refused
    "dask starts programs": lambda _: executed(dask={"cluster": {"ssh": {"hosts": ["h"], "remote_python": "x"}}}),
    "an op's process imports modules": lambda _: executed(
        multiprocess={"start_method": {"forkserver": {"preload_modules": ["antigravity"]}}}
    ),
    "a marker is closed": lambda canary: executed(in_process={"marker_to_close": canary}),
    "values are unpickled": lambda canary: {**asked(), "resources": {"io_manager": {"config": {"base_dir": canary}}}},
    "another home": lambda canary: {**asked(), "resources": {"lab": {"config": {"home": canary}}}},
    "anything for the scratch": lambda canary: {**asked(), "resources": {"scratch": {"config": {"dir": canary}}}},
    "a logger of code": lambda _: {**asked(), "loggers": {"python": {"config": {"class": "os.system"}}}},
    "an input from a pickle": lambda canary: {
        "ops": {"run": {**asked()["ops"]["run"], "inputs": {"candles": {"pickle": {"path": canary}}}}}
    },
    "an input of the job": lambda canary: {**asked(), "inputs": {"candles": {"json": {"path": canary}}}},
    "an output to a file": lambda canary: {
        "ops": {"run": {**asked()["ops"]["run"], "outputs": [{"fills": {"pickle": {"path": canary}}}]}}
    },
    **{
        f"a variable for {field}": lambda _, field=field: asked(**{field: {"env": "LAB_API_TOKEN"}})
        for field in ("strategy", "strategy_version", "timeframe", "start", "end", "seed", "candles_per_part")
    },
    "a variable for a mint": lambda _: asked(mints=[{"env": "LAB_API_TOKEN"}]),
    "a variable for a number of processes": lambda _: executed(multiprocess={"max_concurrent": {"env": "HOME"}}),
}


@pytest.mark.parametrize("escape", ESCAPES)
def test_an_escape_is_refused(repository, monkeypatch, tmp_path, escape):
    monkeypatch.setenv("LAB_API_TOKEN", SECRET)
    with pytest.raises(dg.DagsterInvalidConfigError) as refused:
        dg.validate_run_config(repository.get_job("backtest"), ESCAPES[escape](str(tmp_path / "canary")))
    assert SECRET not in str(refused.value)


def test_a_run_that_was_recorded_with_an_escape_does_nothing(instance, tmp_path):
    canary = tmp_path / "canary"
    config = ESCAPES["dask preloads code"](str(canary))
    with pytest.raises(dg.DagsterInvalidConfigError):
        dg.execute_job(dg.reconstructable(backtest_job), instance, run_config=config)
    assert not canary.exists()


@pytest.mark.parametrize(
    ("job", "config"),
    [
        ("statistics", {"compute_statistics": {"config": {"rebuild": {"env": "HOME"}}}}),
        ("inbox", {"ingest_inbox": {"config": {"files": [{"key": "k", "name": {"env": "LAB_API_TOKEN"}}]}}}),
        ("retention", {"operations__retention": {"config": {"older_than": 0}}}),
        ("__ASSET_JOB", {"lake__calls": {"config": {"files": [{"env": "LAB_API_TOKEN"}]}}}),
        ("__ASSET_JOB", {"lake__candles": {"config": {"timeframe": {"env": "LAB_API_TOKEN"}}}}),
    ],
)
def test_no_other_job_reads_variables_or_takes_what_it_does_not_know(repository, job, config):
    with pytest.raises(dg.DagsterInvalidConfigError):
        dg.validate_run_config(repository.get_job(job), {"ops": config})


def test_what_a_field_of_data_holds_is_data(repository):
    config = asked(params={"exit.stopLoss": {"env": "LAB_API_TOKEN"}})
    resolved = ResolvedRunConfig.build(repository.get_job("backtest"), config)
    assert resolved.ops["run.resolve"].config["params"] == {"exit.stopLoss": {"env": "LAB_API_TOKEN"}}


@pytest.fixture
def executor_of(repository):
    def make(config):
        run_config = ResolvedRunConfig.build(repository.get_job("backtest"), executed(**config))
        with dg.DagsterInstance.ephemeral() as instance:
            return lab_executor.executor_creation_fn(
                dg.InitExecutorContext(
                    job=dg.reconstructable(backtest_job),
                    executor_def=lab_executor,
                    executor_config=run_config.execution.execution_engine_config,
                    instance=instance,
                )
            )

    return make


@pytest.mark.parametrize("count", [0, -1, MOST_PROCESSES + 1, 10**9])
@pytest.mark.parametrize("kind", ["multiprocess", "dask"])
def test_the_number_of_processes_has_bounds(executor_of, kind, count):
    if kind == "dask" and importlib.util.find_spec("dagster_dask") is None:
        pytest.skip("dagster-dask is not installed: pip install 'lab-pipeline[dask]'")
    config = {
        "multiprocess": {"multiprocess": {"max_concurrent": count}},
        "dask": {"dask": {"cluster": {"local": {"n_workers": count}}}},
    }[kind]
    with pytest.raises(LabError, match=f"is {count}: give 1 to {MOST_PROCESSES}$"):
        executor_of(config)


def test_the_cluster_of_a_run_is_the_one_of_the_setting(executor_of, monkeypatch):
    pytest.importorskip("dagster_dask", reason="dagster-dask is not installed: pip install 'lab-pipeline[dask]'")
    existing = {"dask": {"cluster": {"existing": {}}}}
    monkeypatch.delenv("LAB_DASK_ADDRESS", raising=False)
    with pytest.raises(LabError, match="needs LAB_DASK_ADDRESS"):
        executor_of(existing)
    monkeypatch.setenv("LAB_DASK_ADDRESS", "tcp://scheduler:8786")
    made = executor_of(existing)
    assert (made.cluster_type, made.cluster_configuration) == ("existing", {"address": "tcp://scheduler:8786"})
    assert executor_of({"dask": {"cluster": {"local": {"n_workers": 2}}}}).cluster_configuration == {"n_workers": 2}


@pytest.mark.parametrize("address", ["scheduler", "scheduler:8786", "file:///etc/passwd", "tcp://host", "tcp://h:x"])
def test_the_address_of_a_cluster_is_checked_with_the_other_settings(monkeypatch, address):
    monkeypatch.setenv("LAB_DASK_ADDRESS", address)
    with pytest.raises(InvalidConfigError, match="LAB_DASK_ADDRESS"):
        load_settings()


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret.csv", "done/../../secret.csv", "../inbox-2/a.csv"])
def test_the_launchpad_ingests_nothing_outside_the_inbox(instance, tmp_path, name):
    inbox = load_settings().inbox_dir
    with pytest.raises(LabError, match="is not in the inbox"):
        in_inbox(inbox, [name])
    (tmp_path / "home" / "secret.csv").write_text("a,b\n1,2\n")
    run = (
        defs()
        .resolve_implicit_global_asset_job_def()
        .execute_in_process(
            {"ops": {"lake__calls": {"config": {"files": [name]}}}},
            instance=instance,
            asset_selection=[dg.AssetKey(["lake", "calls"])],
            raise_on_error=False,
        )
    )
    assert not run.success
    logged = [entry.to_json() for entry in instance.all_logs(run.run_id)]
    assert any("is not in the inbox" in entry for entry in logged)
    assert not any("root:" in entry for entry in logged)


def test_files_of_the_inbox_may_be_named_either_way(instance):  # noqa: ARG001 - whose home it is
    inbox = load_settings().inbox_dir
    assert in_inbox(inbox, ["a.csv", str(inbox / "done" / "b.csv")]) == [inbox / "a.csv", inbox / "done" / "b.csv"]


@pytest.mark.parametrize("name", ["../loot.csv", "{root}/loot.csv"])
def test_a_run_of_the_inbox_takes_no_file_from_elsewhere(instance, tmp_path, name):
    inbox = load_settings().inbox_dir
    inbox.mkdir(parents=True)
    loot = inbox.parent / "loot.csv"
    loot.write_text("call_id,caller,mint,called_at\nc1,ann,AAA,2018-01-10T00:00:00Z\n")
    named = name.format(root=loot.parent)
    config = InboxFiles(files=[DroppedFile(key=key_of(inbox / named, named), name=named)])
    job = defs().resolve_job_def("inbox")
    job.execute_in_process(dg.RunConfig(ops={ingest_inbox.name: config}), instance=instance, raise_on_error=False)
    assert loot.exists()
    assert Lab(load_settings()).lake.calls().is_empty()
    assert sorted(path.name for path in tmp_path.rglob("*") if path.name.endswith(".csv")) == ["loot.csv"]


REFUSED = {
    "dagster-k8s/config": '{"container_config": {"command": ["sh", "-c", "id"]}}',
    "dagster-celery-k8s/config": "{}",
    "ecs/task_overrides": "{}",
    ".dagster/lab_worker": "../../elsewhere",
    "dagster/priority": "9" * 5000,
    "dagster/max_retries": "1000000",
    "dagster/max_runtime": "nan",
}


@pytest.mark.parametrize("tag", REFUSED)
def test_a_tag_that_reaches_further_is_refused_in_one_sentence(tag):
    reason = refusal(dg.DagsterRun(job_name="backtest", tags={tag: REFUSED[tag]}))
    assert f"'{tag}'" in reason
    assert len(reason) < 200


def test_a_refused_run_has_failed_with_the_reason_and_is_not_repeated(instance):
    tag = "dagster-k8s/config"
    with daemon(instance) as lab:
        run = lab.launched(strategy="ladder", timeframe="1m")
        instance.add_run_tags(run.run_id, {tag: REFUSED[tag]})
        assert lab.submit(run).status is dg.DagsterRunStatus.FAILURE
        (event,) = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
        assert event.dagster_event.message.startswith(f"Refused by the queue: the tag '{tag}' ")
        lab.repeat_the_dead()
        assert len(instance.get_runs()) == 1


def test_a_run_whose_launcher_died_is_no_way_round_the_queue(instance):
    with daemon(instance) as lab:
        run = lab.launched(strategy="ladder", timeframe="1m")
        instance.add_run_tags(run.run_id, {"dagster-k8s/config": "{}"})
        assert queue_forgotten(instance, datetime.now(UTC) + timedelta(minutes=5)) == []
        assert instance.get_run_by_id(run.run_id).status is dg.DagsterRunStatus.FAILURE


def test_tags_that_people_use_are_taken(instance):
    with daemon(instance) as lab:
        run = lab.launched(strategy="ladder", timeframe="1m")
        tags = {
            "dagster/priority": "-3",
            "dagster/max_retries": "0",
            "dagster/max_runtime": "3600",
            "team": "dagster-x",
        }
        instance.add_run_tags(run.run_id, tags)
        lab.submit(run)
        assert instance.get_run_by_id(run.run_id).status is dg.DagsterRunStatus.QUEUED
        again = lab.repeated(run)
        assert again.status is dg.DagsterRunStatus.QUEUED
