"""What follows from a sweep: its walk as partitions, the sweep of the next night, and the winner a month later."""

from datetime import timedelta

import dagster as dg
import polars as pl
import pytest

from lab_pipeline.cli.jobs import run_sweep_job
from lab_pipeline.definitions import defs
from lab_pipeline.defs.operations.resources import LabResource
from lab_pipeline.defs.sweep.partitions import STRATEGIES, WALK, WINDOWS
from lab_pipeline.defs.sweep.schedules import nightly_sweeps
from lab_pipeline.lake import Lake
from lab_pipeline.operations.sweep_config import to_spec
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.sweeps.drift import Drift
from lab_pipeline_tests.engine.sweep.walks import walks
from lab_pipeline_tests.support import swept_lab
from lab_pipeline_tests.support.sweeps import sweeps_of
from lab_pipeline_tests.support.swept_lab import SPEC

lab = swept_lab.lab


@pytest.fixture(scope="module")
def run(lab):
    _, instance = lab
    run = run_sweep_job(instance, SPEC)
    assert run.error is None
    return run


def folds_of(settings, run):
    return pl.read_parquet(settings.sweeps_dir / run.run_id / "folds.parquet")


def windows_of(settings, run):
    days = folds_of(settings, run).select(pl.col("test_start", "test_end").dt.strftime("%Y-%m-%d"))
    return [f"{start}/{end}" for start, end in days.iter_rows()]


def walked(instance, window, config=None):
    key = dg.MultiPartitionKey({"strategy": "mine", "window": window})
    ops = {} if config is None else {"ops": {"sweep__walk": {"config": config}}}
    job = defs().resolve_job_def("walk")
    done = job.execute_in_process(partition_key=key, instance=instance, run_config=ops, raise_on_error=False)
    event = instance.get_latest_materialization_event(WALK)
    return done, None if event is None else event.asset_materialization


def test_a_sweep_adds_the_windows_of_its_walk(lab, run):
    settings, instance = lab
    assert instance.get_dynamic_partitions(STRATEGIES) == ["mine"]
    assert instance.get_dynamic_partitions(WINDOWS) == windows_of(settings, run)
    assert len(windows_of(settings, run)) >= 2


def test_a_partition_is_a_fold_of_the_walk(lab, run):
    """It has swept nothing but the days of the fold, and comes to what the sweep came to from the cells of all days."""
    settings, instance = lab
    fold = folds_of(settings, run).row(0, named=True)
    done, made = walked(instance, windows_of(settings, run)[0])
    assert done.success
    told = {
        name: made.metadata[name].value for name in ("set", "training expectancy", "test expectancy", "test trades")
    }
    assert told == {
        "set": fold["set_id"],
        "training expectancy": fold["train_expectancy"],
        "test expectancy": fold["test_expectancy"],
        "test trades": fold["test_trades"],
    }
    assert made.metadata["space of sweep"].value == run.run_id
    assert set(made.metadata["winner"].value) == set(SPEC.space)
    assert sweeps_of(settings.home).sweep_ids() == [run.run_id], "a fold publishes no sweep"


@pytest.mark.parametrize(
    ("window", "config", "says"),
    [
        ("2001-01-01/2001-01-11", None, "no calls"),
        ("soon", None, "is not two days"),
        ("2001-01-01/2001-01-11", {"sweep": "nothing"}, "no artifacts of sweep"),
    ],
)
def test_a_window_that_cannot_be_walked_says_why(lab, run, window, config, says):  # noqa: ARG001 - the sweep has to be there
    _, instance = lab
    instance.add_dynamic_partitions(WINDOWS, [window])
    done, _ = walked(instance, window, config)
    instance.delete_dynamic_partition(WINDOWS, window)
    (failure,) = [event for event in done.all_events if event.is_step_failure]
    assert says in failure.event_specific_data.error.message


def evaluate(instance, tick):
    resources = {"lab": LabResource()}
    with dg.build_schedule_context(instance, tick, resources=resources) as context:
        return nightly_sweeps.evaluate_tick(context)


def test_what_was_swept_is_swept_again_once_calls_have_come(lab, run):  # noqa: ARG001 - as above
    settings, instance = lab
    lake = Lake(settings.lake_dir)
    last = lake.calls()["called_at"].max()
    tick = last + timedelta(days=3)
    skipped = evaluate(instance, tick)
    assert skipped.run_requests == []
    assert "mine: no calls have come since its latest sweep" in skipped.skip_message
    assert "ladder: it was never swept" in skipped.skip_message
    later = (
        lake.calls().tail(1).with_columns(call_id=pl.lit("later"), called_at=pl.col("called_at") + timedelta(hours=1))
    )
    lake.write_calls(later)
    (asked,) = evaluate(instance, tick).run_requests
    spec = to_spec(asked.run_config["ops"]["search"]["config"])
    midnight = tick.replace(hour=0, minute=0, second=0, microsecond=0)
    assert (spec.end, spec.strategy_version) == (midnight, "1")
    assert spec.model_copy(update={"end": None, "strategy_version": None}) == SPEC
    assert asked.tags["lab/strategy"] == "mine"
    assert evaluate(instance, tick + timedelta(hours=1)).run_requests[0].run_key == asked.run_key
    StrategyStore.of(settings).describe("mine", is_active=False)
    assert evaluate(instance, tick).run_requests == []
    StrategyStore.of(settings).describe("mine", is_active=True)


def looked(instance, month):
    job = defs().resolve_job_def("drift")
    config = {"ops": {"sweep__selection_winners_hold": {"config": {"month": month}}}}
    done = job.execute_in_process(instance=instance, run_config=config, raise_on_error=False)
    return done, done.get_asset_check_evaluations() if done.success else []


def test_a_winner_is_run_on_a_month_that_its_sweep_knew_nothing_of(lab, run):
    settings, instance = lab
    lake = Lake(settings.lake_dir)
    seen = lake.calls()["called_at"].min()
    _, (known,) = looked(instance, f"{seen:%Y-%m}")
    assert (known.passed, known.metadata["winners"].records) == (True, [])
    assert "no active strategy has both" in known.description
    candles, calls = (
        one.with_columns(pl.col("mint") + "x", pl.col(time) + timedelta(days=60))
        for one, time in zip(walks(tokens=20, calls_each=4, seed=3), ("timestamp", "called_at"), strict=True)
    )
    lake.write_candles(candles, "1m")
    lake.write_calls(calls.with_columns(pl.col("call_id") + "x"))
    _, (later,) = looked(instance, f"{seen + timedelta(days=60):%Y-%m}")
    (record,) = [one.data for one in later.metadata["winners"].records]
    assert (record["strategy"], record["sweep"]) == ("mine", run.run_id)
    assert record["trades"] > 0
    assert record["now_low"] < record["now_high"]
    assert later.passed is not record["has_left"]
    assert later.severity is dg.AssetCheckSeverity.WARN


def test_a_winner_has_left_if_its_intervals_have_nothing_in_common():
    def drift(now):
        return Drift("mine", "one", 1, then=(0.01, 0.05), now=now, trades=10)

    assert not drift((0.05, 0.09)).has_left
    assert not drift((-0.02, 0.01)).has_left
    assert drift((0.051, 0.09)).has_left
    assert drift((-0.02, 0.009)).has_left
    assert not drift(None).has_left


def test_a_month_that_is_none_is_refused(lab, run):  # noqa: ARG001 - as above
    _, instance = lab
    done, _ = looked(instance, "2025-13")
    (failure,) = [event for event in done.all_events if event.is_step_failure]
    assert "write it as 2025-03" in failure.event_specific_data.error.message
