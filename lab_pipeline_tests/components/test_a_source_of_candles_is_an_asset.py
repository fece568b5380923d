"""`CandleSource`: an asset of which a day's partition has the candles that calls need of that day."""

import re
from datetime import UTC, datetime, timedelta

import dagster as dg
import polars as pl
import pytest
from pydantic import ValidationError
from werkzeug import Response

from lab_pipeline.components import CandleSource, candle_source
from lab_pipeline.defs.lake.metadata import CANDLES_KEY
from lab_pipeline.fetch import web
from lab_pipeline.lake import Lake
from lab_pipeline.operations.lab import Lab
from lab_pipeline.settings import load_settings
from lab_pipeline_tests.fetch.servers import MINUTE, Gecko, at, market

KEY = dg.AssetKey(["source", "pools"])
CALLED = at("2025-03-10T06:02")
FIELDS = {"name": "pools", "source": "geckoterminal", "timeframe": "5m", "start": "2025-03-01", "retry_seconds": 0.001}
CHECKS = ["before_launch", "copy", "flat", "gaps", "no_volume", "restated", "spike", "stale", "unit"]


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A lab with two calls and no candle."""
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    monkeypatch.setattr(web, "PAUSE_SECONDS", 0.001)
    time = pl.Datetime("ms", "UTC")
    rows = {
        "call_id": ["1", "2"],
        "caller": ["ann", "bob"],
        "mint": ["ALIVE", "DEAD"],
        "called_at": [CALLED * 1000] * 2,
    }
    Lake(tmp_path / "lake").write_calls(pl.DataFrame(rows).with_columns(pl.col("called_at").cast(time)))
    with dg.DagsterInstance.ephemeral() as instance, Lab(load_settings(), instance) as opened:
        yield opened


@pytest.fixture
def gecko(httpserver, monkeypatch, lab):  # noqa: ARG001 - settings are read after it
    source = Gecko(httpserver)
    every = market(CALLED - 182 * MINUTE, 4 * 1440)
    source.candles["ALIVE"] = {time: candle for time, candle in every.items() if time % 300 == 0}
    monkeypatch.setenv("LAB_GECKOTERMINAL_URL", source.url)
    monkeypatch.setenv("LAB_GECKOTERMINAL_PER_MINUTE", "1000000")
    return source


def definitions(**changed):
    return CandleSource(**{**FIELDS, **changed}).build_defs(None)


def run(lab, day=None, **options):
    """Run the job of the source for a day."""
    with Lab(load_settings(), lab.instance) as opened:
        defined = dg.Definitions.merge(definitions(), dg.Definitions(resources={"lab": opened}))
        job = defined.resolve_job_def("source_pools")
        return job.execute_in_process(instance=lab.instance, raise_on_error=False, partition_key=day, **options)


def said(ended):
    """Return what was said of the source's asset."""
    (found,) = (
        event.event_specific_data.materialization.metadata
        for event in ended.all_events
        if event.event_type_value == "ASSET_MATERIALIZATION" and event.asset_key == KEY
    )
    return {name: one.value for name, one in found.items()}


def checks(ended):
    return {one.check_name: one for one in ended.get_asset_check_evaluations() if one.asset_key == KEY}


@pytest.mark.usefixtures("gecko")
def test_a_partition_has_what_calls_need_of_its_day(lab):
    ended = run(lab, "2025-03-10")
    assert ended.success
    told = said(ended)
    first, last = lab.lake.candles_extent("5m")
    assert first >= datetime(2025, 3, 10, tzinfo=UTC)
    assert last == datetime(2025, 3, 10, 23, 55, tzinfo=UTC)
    assert told["candles"] == told["added"] == lab.lake.candles_count("5m")
    assert (told["windows"], told["empty windows"], told["restated"]) == (2, 1, 0)
    assert lab.instance.get_latest_materialization_event(CANDLES_KEY) is not None, "the lake is described, too"


def test_the_next_partition_goes_on_and_the_same_again_asks_nothing(lab, gecko):
    assert run(lab, "2025-03-10").success
    assert said(run(lab, "2025-03-11"))["added"] == 288
    asked = len(gecko.asked)
    assert said(run(lab, "2025-03-11"))["windows"] == 0
    assert len(gecko.asked) == asked


def test_a_day_that_no_call_needs_asks_nothing(lab, gecko):
    assert said(run(lab, "2025-03-02"))["windows"] == 0
    assert gecko.asked == []


@pytest.mark.usefixtures("gecko")
def test_a_range_of_days_is_one_run_of_a_backfill(lab):
    days = {"dagster/asset_partition_range_start": "2025-03-10", "dagster/asset_partition_range_end": "2025-03-12"}
    ended = run(lab, tags=days)
    assert ended.success
    assert lab.lake.candles_extent("5m")[1] > datetime(2025, 3, 11, tzinfo=UTC)
    (asset,) = definitions().assets
    assert asset.backfill_policy.max_partitions_per_run == 30


def test_what_may_pass_is_tried_again(lab, gecko):
    gecko.faults = [Response("busy", 503)] * web.ATTEMPTS
    ended = run(lab, "2025-03-10")
    assert ended.success
    assert [event.event_type_value for event in ended.all_events].count("STEP_UP_FOR_RETRY") == 1


def test_what_will_not_pass_fails_at_once(lab, gecko):
    gecko.faults = [Response("no", 401)]
    ended = run(lab, "2025-03-10")
    assert not ended.success
    assert "STEP_UP_FOR_RETRY" not in {event.event_type_value for event in ended.all_events}


@pytest.mark.usefixtures("gecko")
def test_candles_that_keep_to_what_markets_do_pass_the_checks(lab):
    found = checks(run(lab, "2025-03-10"))
    assert sorted(found) == CHECKS
    assert {name for name, one in found.items() if not one.passed} == set()


def test_a_spike_and_a_candle_before_the_launch_are_warned_of(lab, gecko):
    opened, _, low, close, volume = gecko.candles["ALIVE"][at("2025-03-10T08:00")]
    gecko.candles["ALIVE"][at("2025-03-10T08:00")] = (opened, 1024.0, low, close, volume)
    gecko.pools["ALIVE"] = [("poolALIVE", "2025-03-10T05:31:00Z", "1000.5")]
    found = checks(run(lab, "2025-03-10"))
    assert {name for name, one in found.items() if not one.passed} == {"spike", "before_launch"}
    (spike,) = found["spike"].metadata["first"].records
    assert (spike.data["mint"], spike.data["detail"]) == ("ALIVE", "high is 64.0 times off")


def test_a_source_that_stands_still_is_warned_of_while_calls_run(lab, gecko, monkeypatch):
    monkeypatch.setattr(candle_source, "now", lambda: datetime(2025, 3, 10, 22, tzinfo=UTC))
    gecko.candles["ALIVE"] = {
        time: one for time, one in gecko.candles["ALIVE"].items() if time < at("2025-03-10T09:00")
    }
    made = CandleSource(**FIELDS, stale_hours=6)
    run(lab, "2025-03-10")
    (stale,) = [one for one in candle_source.evaluate(lab, made, KEY) if one.check_name == "stale"]
    assert not stale.passed
    (since,) = stale.metadata["first"].records
    assert (since.data["mint"], since.data["stale_since"][:16]) == ("ALIVE", "2025-03-10 08:55")


def test_the_schedule_is_off_and_asks_for_the_latest_days_that_are_over():
    defined = dg.Definitions.merge(definitions(days=2), dg.Definitions(resources={"lab": None}))
    (schedule,) = defined.schedules
    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED
    tick = datetime(2025, 3, 12, 0, 30, tzinfo=UTC)
    repository = defined.get_repository_def()
    with dg.build_schedule_context(scheduled_execution_time=tick, repository_def=repository) as context:
        asked = schedule.evaluate_tick(context).run_requests
    assert [one.partition_key for one in asked] == ["2025-03-10", "2025-03-11"]
    assert definitions(running=True).schedules[0].default_status is dg.DefaultScheduleStatus.RUNNING


def test_the_asset_is_fresh_for_as_long_as_was_chosen():
    (asset,) = definitions(fresh_hours=5).assets
    (spec,) = asset.specs
    assert spec.freshness_policy.fail_window.to_timedelta() == timedelta(hours=5)
    (asset,) = definitions(fresh_hours=None).assets
    assert next(iter(asset.specs)).freshness_policy is None


def test_what_may_pass_is_tried_again_later_and_later_give_or_take():
    (asset,) = definitions(retry_seconds=60).assets
    policy = asset.op.retry_policy
    assert (policy.max_retries, policy.delay) == (5, 60)
    assert (policy.backoff, policy.jitter) == (dg.Backoff.EXPONENTIAL, dg.Jitter.PLUS_MINUS)
    assert asset.op.pool == "source_geckoterminal"


def test_the_component_is_read_from_yaml():
    made = CandleSource.resolve_from_yaml("{name: pools, source: birdeye, timeframe: 5m, start: '2025-03-01', days: 5}")
    assert (made.name, made.source, made.days, made.running) == ("pools", "birdeye", 5, False)


@pytest.mark.parametrize(
    ("changed", "wrong"),
    [
        ({"source": "nobody"}, "there is no 'nobody': use one of geckoterminal"),
        ({"timeframe": "7m"}, "'7m' does not divide a day"),
        ({"start": "March"}, "Invalid isoformat string: 'March'"),
        ({"source": "duckdb"}, "path: duckdb needs it"),
        ({"path": "/x"}, "path: geckoterminal has none"),
        ({"source": "ccxt"}, "exchange: ccxt needs one"),
        ({"exchange": "kraken"}, "exchange: geckoterminal has none"),
        ({"name": "my pools"}, "name"),
    ],
)
def test_what_cannot_be_fetched_is_named_before_anything_runs(changed, wrong):
    with pytest.raises(ValidationError, match=re.escape(wrong)):
        CandleSource(**{**FIELDS, **changed})
