"""Files that only old versions of the lake have are deleted, but for what pinned or leading runs read."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from lab_pipeline.cli.jobs import run_backtest_job
from lab_pipeline.lake import LakeError, tables
from lab_pipeline.lake.versions import parse
from lab_pipeline.operations import retention
from lab_pipeline.operations.backtest_config import BacktestConfig
from lab_pipeline.operations.lab import Lab
from lab_pipeline.operations.notes import PINNED_TAG
from lab_pipeline.operations.retention import Policy, forget_versions
from lab_pipeline_tests.support.markets import calls, candles

LATER = datetime.now(UTC) + timedelta(days=8)
DAYS = timedelta(days=7)


@pytest.fixture
def world(lab):
    settings, instance = lab
    opened = Lab(settings, instance)
    opened.lake.write_calls(calls())
    for factor in (1.0, 2.0, 3.0):
        opened.lake.write_candles(candles().with_columns(volume=factor + candles()["volume"]), "1m")
    return opened


def forget(world, *, remove=True, now=LATER):
    return forget_versions(world, Policy(), now, remove=remove, trust_clock=True)


def restate(world, value):
    world.lake.write_candles(candles().with_columns(volume=value + candles()["volume"]), "1m")


def test_what_is_young_stays(world):
    before = world.lake.version
    restate(world, 11.0)
    assert forget(world, now=datetime.now(UTC) + timedelta(minutes=50)) == 0
    assert world.lake.at(before).candles_count("1m") == candles().height


def test_of_versions_of_a_day_the_last_of_each_hour_stays_and_then_the_last_of_each_day(world, monkeypatch):
    ages = {
        60.0: False,
        52.0: True,
        28.2: False,
        28.1: True,
        9.3: False,
        9.2: True,
        8.5: True,
        1.5: True,
        0.9: True,
        0.8: True,
    }
    names = []
    for number in range(len(ages)):
        restate(world, 30.0 + number)
        names.append(world.lake.version)
    now = datetime(2026, 3, 10, 12, 5, tzinfo=UTC)
    newest = parse(names[-1])[0]
    first = newest - len(ages) + 1
    at = {first + number: now - timedelta(hours=age) for number, age in enumerate(ages)}
    told = tables.history

    def history(store, table):
        of_candles = table is tables.CANDLES
        moments = at if of_candles else {}
        old = now - timedelta(days=6)
        return [{**one, "timestamp": moments.get(one["version"], old).timestamp() * 1000} for one in told(store, table)]

    monkeypatch.setattr(tables, "history", history)
    assert world.lake.forget_versions(now - DAYS, (), settled=now - timedelta(hours=1), remove=True) > 0
    assert {age: is_whole(world, name) for age, name in zip(ages, names, strict=True)} == ages


def is_whole(world, name):
    try:
        return world.lake.at(name).candles_count("1m") > 0
    except LakeError:
        return False


def test_what_a_run_at_work_may_be_reading_stays(world):
    restate(world, 21.0)
    record = create_run_for_test(world.instance, status=dg.DagsterRunStatus.STARTED)
    names = []
    for value in (22.0, 23.0):
        restate(world, value)
        names.append(world.lake.version)
    forget(world, now=datetime.now(UTC) + timedelta(hours=3))
    assert is_whole(world, names[0])
    world.instance.delete_run(record.run_id)
    forget(world, now=datetime.now(UTC) + timedelta(hours=3))
    assert not is_whole(world, names[0])
    assert is_whole(world, names[1])


def test_what_is_old_goes_and_says_so(world):
    before = world.lake.version
    restate(world, 12.0)
    size = forget(world, remove=False)
    assert size > 1000
    assert world.lake.at(before).candles_count("1m") == candles().height  # it was only measured
    assert forget(world) == size
    assert forget(world) == 0
    assert world.lake.candles_count("1m") == candles().height
    assert world.lake.damage() == []
    with pytest.raises(LakeError, match=r"this version of the lake is there no longer: its files went after LAB_KEEP_"):
        world.lake.at(before).candles_count("1m")


def test_the_version_of_the_moment_and_what_came_since_stay(world):
    names = []
    for value in (13.0, 14.0):
        restate(world, value)
        names.append(world.lake.version)
    moment = world.lake.history()[-2].at
    restate(world, 15.0)
    world.lake.forget_versions(moment, (), settled=moment, remove=True)
    for name in (*names, world.lake.version):
        assert world.lake.at(name).candles("1m", "AAA", 0, 1 << 60).height


def test_what_a_pinned_run_read_stays(world):
    tags = {PINNED_TAG: "true"}
    restate(world, 16.0)
    run = run_backtest_job(world.instance, BacktestConfig(strategy="ladder", timeframe="1m"), tags)
    assert run.error is None
    read = world.artifacts.manifest(run.run_id)
    restate(world, 17.0)
    between = world.lake.version
    restate(world, 18.0)
    forget(world)
    with pytest.raises(LakeError, match="no longer"):
        world.lake.at(between).candles_count("1m")
    again = run_backtest_job(world.instance, BacktestConfig(strategy="ladder", timeframe="1m", as_of=read.lake))
    assert again.error is None
    assert world.artifacts.manifest(again.run_id).fingerprint == read.fingerprint


def test_what_a_leading_run_read_stays(world):
    restate(world, 19.0)
    run = run_backtest_job(world.instance, BacktestConfig(strategy="ladder", timeframe="1m"))
    read = world.artifacts.manifest(run.run_id).lake
    restate(world, 20.0)
    forget_versions(world, Policy(leaders=3), LATER, remove=True, trust_clock=True)
    assert world.lake.at(read).candles_count("1m") == candles().height


def test_an_inbox_that_is_fed_often_thins_out_what_it_replaced(world, monkeypatch):
    monkeypatch.setattr(retention, "THIN_EVERY", 3)
    later = datetime.now(UTC) + timedelta(hours=3)
    gone = 0
    for value in range(6):
        first = world.lake.version
        restate(world, 40.0 + value)
        freed = retention.thin_out(world, first, later)
        assert (freed > 0) == (parse(world.lake.version)[0] % 3 == 0)
        gone += freed > 0
    assert gone == 2
