"""The graph of definitions, written out: a change shows in review."""

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from dagster._cli.utils import get_temporary_instance_for_cli

from lab_pipeline.definitions import defs
from lab_pipeline.domain.enums import Fault
from lab_pipeline.operations.sweep_config import fields_of, to_spec
from lab_pipeline.runs.strategies import example_strategies
from lab_pipeline.runs.tags import run_config
from lab_pipeline.sweeps.spec import SweepSpec

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def repository():
    return defs().get_repository_def()


def test_the_definitions_load():
    dg.Definitions.validate_loadable(defs())


def test_assets_and_their_lineage(repository):
    graph = repository.asset_graph
    lineage = {
        key.to_user_string(): sorted(parent.to_user_string() for parent in graph.get(key).parent_keys)
        for key in graph.get_all_asset_keys()
    }
    from_the_lake = ["lake/calls", "lake/candles"]
    from_runs = ["backtest/equity", "backtest/nightly", "backtest/paths", "backtest/summary", "backtest/trades"]
    from_statistics = ["statistics/correlation", "statistics/distribution", "statistics/overview", "statistics/pnl"]
    assert lineage == {
        "lake/calls": [],
        "lake/candles": [],
        "backtest/equity": from_the_lake,
        "backtest/fill_certainty": from_the_lake,
        "backtest/fills": from_the_lake,
        "backtest/nightly": from_the_lake,
        "backtest/nulls": from_the_lake,
        "backtest/outcomes": from_the_lake,
        "backtest/paths": from_the_lake,
        "backtest/report": from_the_lake,
        "backtest/run_fills": ["backtest/fills"],
        "backtest/run_metrics": ["backtest/equity"],
        "backtest/summary": from_the_lake,
        "backtest/trades": from_the_lake,
        "statistics/correlation": from_runs,
        "statistics/distribution": from_runs,
        "statistics/overview": from_runs,
        "statistics/pnl": from_runs,
        "leaderboard/callers": from_statistics,
        "leaderboard/runs": from_statistics,
        "leaderboard/strategies": from_statistics,
        "operations/retention": [],
        "sweep/callers": from_the_lake,
        "sweep/days": from_the_lake,
        "sweep/folds": from_the_lake,
        "sweep/report": from_the_lake,
        "sweep/selection": from_the_lake,
        "sweep/sets": from_the_lake,
        "sweep/sweep_days": ["sweep/days"],
        "sweep/sweep_sets": ["sweep/sets"],
        "sweep/walk": from_the_lake,
        "statistics/trials": ["sweep/sets"],
    }
    assert {graph.get(key).group_name for key in graph.get_all_asset_keys()} == {
        "lake",
        "backtest",
        "nightly",
        "statistics",
        "leaderboard",
        "operations",
        "sweep",
        "walk",
    }
    assert all(graph.get(key).description for key in graph.get_all_asset_keys())


def test_jobs_and_checks(repository):
    assert sorted(job.name for job in repository.get_all_jobs() if not job.name.startswith("__")) == [
        "backtest",
        "drift",
        "inbox",
        "nightly",
        "retention",
        "statistics",
        "sweep",
        "walk",
    ]
    assert sorted(key.to_user_string() for key in repository.asset_graph.asset_check_keys) == [
        "backtest/run_fills:rows_equal_artifacts",
        "backtest/run_metrics:rows_equal_artifacts",
        "backtest/summary:calls_have_candles",
        "backtest/summary:few_calls_are_ambiguous",
        "backtest/summary:fills_do_not_decide_the_sign",
        "backtest/summary:has_costs",
        "backtest/summary:has_enough_trades",
        "backtest/summary:no_day_makes_the_profit",
        "backtest/summary:no_token_makes_the_profit",
        "backtest/summary:profit_is_told_from_zero",
        "lake/calls:callers_are_known",
        "lake/calls:calls_follow_candles",
        "lake/calls:no_bursts",
        "lake/candles:coverage",
        "lake/candles:duplicates",
        "lake/candles:gaps",
        "statistics/overview:counts_equal_the_manifests",
        "statistics/overview:win_rates_are_shares",
        "statistics/pnl:totals_agree",
        "sweep/days:cells_equal_trades",
        "sweep/selection:holdout_untouched",
        "sweep/selection:overfit",
        "sweep/selection:winners_hold",
        "sweep/sets:no_lookahead",
        "sweep/sets:top_equals_backtest",
        "sweep/sweep_days:rows_equal_artifacts",
        "sweep/sweep_sets:rows_equal_artifacts",
    ]


def test_schedules_and_whether_they_run_by_themselves(repository):
    assert {
        one.name: (one.cron_schedule, one.job.name, one.default_status.name) for one in repository.schedule_defs
    } == {
        "nightly_backtests": ("0 2 * * *", "nightly", "STOPPED"),
        "nightly_sweeps": ("0 2 * * *", "sweep", "STOPPED"),
        "retention_schedule": ("30 3 * * *", "retention", "STOPPED"),
        "statistics_schedule": ("0 * * * *", "statistics", "RUNNING"),
        "sweep_drift": ("0 2 * * *", "drift", "STOPPED"),
    }
    assert {one.execution_timezone for one in repository.schedule_defs} == {"UTC"}


def test_sensors_and_whether_they_run_by_themselves(repository):
    assert {one.name: one.default_status.name for one in repository.sensor_defs} == {
        "notify_data_quality": "RUNNING",
        "notify_failures": "RUNNING",
        "recover_runs": "RUNNING",
        "statistics_after_backtests": "RUNNING",
        "watch_calls": "RUNNING",
        "watch_inbox": "RUNNING",
    }


def test_statistics_are_scheduled_and_follow_backtests(repository):
    schedule = repository.get_schedule_def("statistics_schedule")
    assert (schedule.cron_schedule, schedule.job.name) == ("0 * * * *", "statistics")
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    sensor = repository.get_sensor_def("statistics_after_backtests")
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    graph = repository.asset_graph
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert (node.freshness_policy is not None) == (node.group_name in ("lake", "statistics", "leaderboard"))
        assert (node.automation_condition is not None) == (node.group_name == "statistics")


def test_the_ops_of_a_backtest(repository):
    job = repository.get_job("backtest")
    run, upload = job.graph.nodes_in_topological_order
    assert [node.name for node in run.definition.nodes_in_topological_order] == [
        "resolve",
        "load",
        "simulate",
        "simulate_part",
        "merge",
        "publish",
    ]
    assert upload.name == "upload"


def test_the_ops_of_a_sweep(repository):
    nodes = {node.name: node for node in repository.get_job("sweep").graph.nodes_in_topological_order}
    swept = nodes.pop("search")
    assert [node.name for node in swept.definition.nodes_in_topological_order] == [
        "resolve_space",
        "plan_sweep",
        "sweep_part",
        "sweep_whole",
        "merge_cells",
        "search_placebos",
        "select",
        "publish_sweep",
    ]
    assert set(nodes) == {"statistics__trials", "upload_sweep"}


def test_the_launchpad_asks_for_every_field_and_checks_it(repository):
    job = repository.get_job("backtest")
    good = {"ops": {"run": {"config": {"strategy": "ladder", "timeframe": "5m"}}}}
    assert dg.validate_run_config(job, good)
    fields = job.run_config_schema.config_type.fields["ops"].config_type.fields["run"].config_type.fields["config"]
    assert set(fields.config_type.fields) == {
        "strategy",
        "strategy_version",
        "timeframe",
        "start",
        "end",
        "mints",
        "callers",
        "first_mention",
        "without_faults",
        "params",
        "seed",
        "as_of",
        "candles_per_part",
    }
    assert all(field.description for field in fields.config_type.fields.values())
    for wrong in (
        {"strategy": "ladder"},
        {"strategy": "ladder", "timeframe": "5m", "speed": 1},
        {"strategy": 1, "timeframe": "5m"},
    ):
        with pytest.raises(dg.DagsterInvalidConfigError):
            dg.validate_run_config(job, {"ops": {"run": {"config": wrong}}})


def test_the_launchpad_opens_with_an_example_that_runs(repository):
    job = repository.get_job("backtest")
    assert job.run_config == {"ops": {"run": {"config": {"strategy": "ladder", "timeframe": "5m"}}}}
    assert dg.validate_run_config(job, job.run_config)
    assert "ladder" in {strategy.id for strategy in example_strategies()}


def test_the_launchpad_asks_for_a_sweep_as_its_document_has_it(repository):
    """It opens with a whole example, defaults filled in, and names what no field of the document can be."""
    job = repository.get_job("sweep")
    config = job.run_config["ops"]["search"]["config"]
    assert dg.validate_run_config(job, job.run_config)
    assert set(SweepSpec.model_fields) - set(config) == {
        "strategy_version",
        "start",
        "end",
        "mints",
        "callers",
        "first_mention",
        "without_faults",
        "calls_per_part",
    }
    assert config["validation"]["walk_forward"]["kind"] == "rolling"
    spec = to_spec(config)
    assert fields_of(spec) == {name: config[name] for name in ("strategy", "timeframe", "space")}
    fields = job.run_config_schema.config_type.fields["ops"].config_type.fields["search"].config_type.fields["config"]
    assert set(fields.config_type.fields) == set(SweepSpec.model_fields)
    assert all(field.description for field in fields.config_type.fields.values())
    for wrong, path in (
        ({"search": {"method": "guess"}}, "search:method"),
        ({"validation": {"walk_forward": {"train_days": "ten"}}}, "walk_forward:train_days"),
        ({"spaces": {}}, "spaces"),
        ({"strategy": {"env": "SECRET"}}, "strategy"),
    ):
        with pytest.raises(dg.DagsterInvalidConfigError, match=path):
            dg.validate_run_config(job, {"ops": {"search": {"config": {**config, **wrong}}}})


@pytest.mark.parametrize(
    "group", ["lake", "backtest", "nightly", "statistics", "leaderboard", "operations", "sweep", "walk"]
)
def test_all_assets_of_a_group_can_be_materialised_together(repository, group):
    graph = repository.asset_graph
    chosen = [key for key in graph.get_all_asset_keys() if graph.get(key).group_name == group]
    together = {
        other for key in chosen for other in graph.get(key).execution_set_asset_keys
    }  # as the UI completes them
    job = repository.get_implicit_asset_job_names()[0]
    subset = repository.get_maybe_subset_job_def(job, asset_selection=together)
    asks_for_more = group in {"backtest", "sweep"}
    if asks_for_more:
        with pytest.raises(dg.DagsterInvalidConfigError, match='Missing required config entry "ops"'):
            dg.validate_run_config(subset, {})
    else:
        assert dg.validate_run_config(subset, {})


@pytest.mark.slow
@pytest.mark.parametrize("command", [("check", "defs"), ("list", "defs")])
def test_dagsters_own_tool_reads_the_project(command, tmp_path):
    dg_tool = Path(sys.executable).parent / "dg"
    done = subprocess.run(
        [dg_tool, *command],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        env={"HOME": str(tmp_path), "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if command[0] == "list":
        assert "backtest/trades" in done.stdout


def test_a_temporary_instance_keeps_its_runs_with_the_rest(tmp_path, monkeypatch):
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dagster.yaml").write_text((REPOSITORY / "dagster.yaml").read_text())
    with get_temporary_instance_for_cli() as instance:
        assert instance.get_runs() == []
        (home,) = tmp_path.glob(".tmp_dagster_home_*")
        assert (home / "runs.duckdb").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["dagster.yaml"]


def test_faults_are_chosen_on_the_launchpad_by_the_names_they_have_everywhere(repository):
    job = repository.get_job("backtest")
    asked = {"strategy": "ladder", "timeframe": "1m", "without_faults": [fault.value for fault in Fault]}
    assert dg.validate_run_config(job, run_config(asked))
    with pytest.raises(dg.DagsterInvalidConfigError, match="not in enum type Fault got wobble"):
        dg.validate_run_config(job, run_config({**asked, "without_faults": ["wobble"]}))
