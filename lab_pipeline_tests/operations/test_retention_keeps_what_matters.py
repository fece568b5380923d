import os
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.definitions import defs
from lab_pipeline.defs.operations.assets import RETENTION_KEY, retention
from lab_pipeline.defs.operations.resources import LabResource
from lab_pipeline.operations.lab import Lab
from lab_pipeline.operations.retention import Policy, collect, expired, leftovers
from lab_pipeline.settings import load_settings
from lab_pipeline.statistics import catalog, refresh
from lab_pipeline_tests.support.sweeps import publish_sweep
from lab_pipeline_tests.support.world import Call, World

NOW = datetime.now(UTC)


@pytest.fixture
def home(tmp_path, monkeypatch, clickhouse_url):
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    monkeypatch.setenv("LAB_CLICKHOUSE_URL", clickhouse_url)
    monkeypatch.setenv("LAB_KEEP_DAYS", "30")
    monkeypatch.setenv("LAB_KEEP_LEADERS", "1")
    return tmp_path


@pytest.fixture
def instance(home):  # noqa: ARG001 - it sets where the instance is
    with open_instance(load_settings()) as instance:
        yield instance


def record(instance, age_days, job="backtest", run_id=None, **fields):
    """Put a finished run on record, with an event of its own."""
    run = dg.DagsterRun(
        job_name=job,
        run_id=run_id or str(uuid.uuid4()),
        status=fields.pop("status", dg.DagsterRunStatus.SUCCESS),
        **fields,
    )
    instance.run_storage.add_historical_run(run, NOW - timedelta(days=age_days))
    instance.report_engine_event("something happened", run)
    return run.run_id


def publish(world, instance, age_days, returns, **summary):
    """Publish a backtest with a trade of each return, and put it on record."""
    run_id = world.add([Call(f"c{number}", "ann", "AAA", (net,)) for number, net in enumerate(returns)], **summary)
    return record(instance, age_days, run_id=run_id, tags={"lab/strategy": "plain"})


def numbers(quality):
    """Return a summary that is better in everything, the greater the quality is."""
    return {"total_return": quality, "sharpe": quality, "profit_factor": quality, "max_drawdown": 1 / quality}


def gone(instance, policy):
    settings = load_settings()
    return {run.run_id: run.reason for run in expired(Lab(settings, instance), policy, NOW)}


def test_leaders_stay_however_old_they_are_and_count(home, instance):
    world = World(home)
    best = publish(world, instance, 300, [0.9, 0.8], **numbers(3))
    worse = publish(world, instance, 200, [-0.5, 0.1], **numbers(2))
    newest = publish(world, instance, 1, [-0.6, 0.1], **numbers(1))
    months = Policy(max_age=timedelta(days=30), leaders=1)
    assert world.statistics.catalog.state() is None
    assert set(gone(instance, months)) == {worse}  # statistics are computed first: else nobody would lead
    refresh(world.statistics, world.runs)
    assert set(gone(instance, months)) == {worse}
    assert gone(instance, Policy(per_strategy=1, leaders=1)) == {worse: "1 newer ones of its strategy"}
    assert set(gone(instance, Policy(max_age=timedelta(days=30)))) == {best, worse}
    assert newest not in gone(instance, months)


def test_no_leader_goes_because_its_statistics_were_of_an_earlier_version(home, instance, monkeypatch):
    world = World(home)
    best = publish(world, instance, 300, [0.9, 0.8], **numbers(3))
    worse = publish(world, instance, 200, [-0.5, 0.1], **numbers(2))
    publish(world, instance, 1, [-0.6, 0.1], **numbers(1))
    refresh(world.statistics, world.runs)
    monkeypatch.setattr("lab_pipeline.statistics.catalog.FORMAT", catalog.FORMAT + 1)
    assert set(gone(instance, Policy(max_age=timedelta(days=30), leaders=1))) == {worse}
    assert best in set(world.statistics.catalog.run_records()["run_id"])


def test_who_leads_is_not_computed_while_nothing_goes(home, instance):
    publish(World(home), instance, 1, [0.1])
    assert gone(instance, Policy(max_age=timedelta(days=30), leaders=1)) == {}
    assert World(home).statistics.catalog.state() is None


def test_runs_of_other_jobs_go_by_age_but_for_the_newest_of_a_kind(instance):
    record(instance, 1, "ingest")  # the lab was up lately, so its clock is believed
    old, newest = record(instance, 90, "statistics"), record(instance, 60, "statistics")
    pinned = record(instance, 90, "statistics", tags={"lab/pinned": ""})
    unfinished = record(instance, 90, "statistics", status=dg.DagsterRunStatus.STARTED)
    by_hand = [
        record(instance, 80 - number, "__ASSET_JOB", asset_selection=frozenset([dg.AssetKey(["lake", name])]))
        for number, name in enumerate(("candles", "calls", "calls"))
    ]
    assert set(gone(instance, Policy(max_age=timedelta(days=30)))) == {old, by_hand[1]}
    assert gone(instance, Policy(per_strategy=1)) == {}
    assert gone(instance, Policy()) == {}
    assert {newest, pinned, unfinished} <= {run.run_id for run in instance.get_runs()}


def test_sweeps_go_by_age_and_number_but_for_the_pinned_and_the_promoted(home, instance):
    record(instance, 1, "ingest")  # the lab was up lately, so its clock is believed
    lab = Lab(load_settings(), instance)
    ages = {"old": 90, "older": 100, "pinned": 120, "tagged": 130, "promoted": 140, "running": 150, "new": 1}
    for sweep_id, age in ages.items():
        publish_sweep(home, sweep_id, age_days=age)
    publish_sweep(home, "another", strategy="another", age_days=40)
    record(instance, 130, "sweep", run_id="tagged", tags={"lab/pinned": ""})
    record(instance, 150, "sweep", run_id="running", status=dg.DagsterRunStatus.STARTED)
    made = record(instance, 99, "sweep", run_id="older")
    lab.sweeps.pin("pinned", pinned=True)
    lab.trials.record_promotion("child", "promoted", 0, "mine")

    months = Policy(max_age=timedelta(days=30))
    assert gone(instance, months) == dict.fromkeys(["old", made, "another"], "older than 30 days")
    assert gone(instance, Policy(per_strategy=2)) == {"older": "2 newer sweeps of its strategy"}
    assert gone(instance, Policy()) == {}
    before = lab.trials.tried("mine")
    found = expired(lab, months, NOW)
    assert all(one.job == "sweep" and one.bytes > 0 for one in found)
    assert {one.run_id for one in collect(lab, found)} == {"old", "older", "another"}
    assert set(lab.sweeps.sweep_ids()) == set(ages) - {"old", "older"}
    assert not instance.has_run("older")
    assert lab.trials.tried("mine") == before
    assert list(collect(lab, found)) == []  # another was faster


def test_a_backtest_that_goes_has_still_been_a_try(home, instance):
    world = World(home)
    old = publish(world, instance, 300, [0.9])
    publish(world, instance, 1, [0.1])
    lab = Lab(load_settings(), instance)
    policy = Policy(max_age=timedelta(days=30))
    assert [one.run_id for one in collect(lab, expired(lab, policy, NOW))] == [old]
    lab.trials.catch_up()
    assert lab.trials.tried("plain").trials == 2


def test_what_nobody_has_gone_on_with_for_a_week_goes(home, instance):
    partial = home / "sweeps" / ".partial"
    for name, days in (("given up", 8), ("going on", 6)):
        part = partial / name / "cells-0.parquet"
        part.parent.mkdir(parents=True)
        part.write_bytes(b"x" * 1000)
        for path in (part, part.parent):
            os.utime(path, ((NOW - timedelta(days=days)).timestamp(),) * 2)
    lab = Lab(load_settings(), instance)
    assert leftovers(lab, remove=False)["sweeps"] == 1000
    assert leftovers(lab, remove=True)["sweeps"] == 1000
    assert [path.name for path in partial.iterdir()] == ["going on"]


def test_the_asset_deletes_and_measures(home, instance, monkeypatch):
    monkeypatch.setenv("LAB_KEEP_LEADERS", "0")
    world = World(home)
    old, new = publish(world, instance, 90, [0.1]), publish(world, instance, 1, [0.2])
    statistics = [record(instance, age, "statistics") for age in (90, 80)]
    leftovers = home / "lake" / ".staging" / "killed" / "spill.arrow"
    leftovers.parent.mkdir(parents=True)
    leftovers.write_bytes(b"x" * 1000)

    done = dg.materialize([retention], instance=instance, resources={"lab": LabResource()})

    assert done.success
    left = {run.run_id for run in instance.get_runs()}
    assert left == {new, statistics[1], done.run_id}
    assert not (home / "artifacts" / old).exists()
    assert not leftovers.exists()
    events = Path(instance.event_log_storage.path_for_shard(old))
    assert not events.exists()
    assert not instance.all_logs(old)
    seen = instance.get_latest_materialization_event(RETENTION_KEY).asset_materialization.metadata
    assert seen["runs deleted"].value == 2
    assert seen["bytes freed"].value > 1000
    areas = {row.data["area"]: row.data["bytes"] for row in seen["disk use"].value.records}
    assert set(areas) == {
        "lake",
        "raw",
        "artifacts",
        "artifacts_cache",
        "sweeps",
        "clickhouse",
        "dagster",
        "statistics",
        "catalog",
        "inbox",
        "logs",
        "other",
    }
    assert areas["artifacts"] == sum(path.stat().st_size for path in (home / "artifacts").rglob("*") if path.is_file())
    assert seen["bytes of artifacts"].value == areas["artifacts"] > 0
    assert {row.data["run"] for row in seen["deleted"].value.records} == {old, statistics[0]}


def test_without_a_policy_the_asset_only_measures(home, instance, monkeypatch):
    monkeypatch.delenv("LAB_KEEP_DAYS")
    old = publish(World(home), instance, 900, [0.1])
    done = dg.materialize([retention], instance=instance, resources={"lab": LabResource()})
    assert done.success
    assert instance.has_run(old)
    seen = instance.get_latest_materialization_event(RETENTION_KEY).asset_materialization.metadata
    assert seen["runs deleted"].value == seen["bytes freed"].value == 0


def test_it_is_scheduled_but_not_switched_on(instance):
    schedule = defs().get_repository_def().get_schedule_def("retention_schedule")
    assert (schedule.cron_schedule, schedule.job.name) == ("30 3 * * *", "retention")
    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED
    with dg.build_schedule_context(instance, NOW) as context:
        (asked,) = schedule.evaluate_tick(context).run_requests
    assert asked.job_name in (None, "retention")
