"""Checks on results and on calls: warnings in the UI, each told once."""

import dagster as dg
import polars as pl

from lab_pipeline.defs.lake.checks import evaluate_calls, recorded_callers
from lab_pipeline.defs.lake.events import report_calls
from lab_pipeline.defs.lake.metadata import measure
from lab_pipeline.domain.doubts import DOUBTS
from lab_pipeline.lake import Lake
from lab_pipeline.operations import notices
from lab_pipeline.operations.lab import Lab
from lab_pipeline_tests.support.markets import MINUTE, START

SUMMARY = dg.AssetKey(["backtest", "summary"])
KEYS = [dg.AssetCheckKey(SUMMARY, name) for name in DOUBTS]


def test_a_run_is_judged_by_every_doubt_as_a_warning(lab, run):
    _, instance = lab
    records = notices.evaluated_checks(instance, KEYS)
    assert set(records) == {f"backtest/summary:{name} of ladder" for name in DOUBTS}
    assert {record.run_id for record in records.values()} == {run.run_id}
    assert {record.evaluation.severity for record in records.values()} == {dg.AssetCheckSeverity.WARN}
    assert not any(record.evaluation.blocking for record in records.values())
    few = records["backtest/summary:has_enough_trades of ladder"].evaluation
    assert not few.passed
    assert few.description.endswith(" trades")
    assert records["backtest/summary:has_costs of ladder"].evaluation.passed
    assert instance.get_run_by_id(run.run_id).status is dg.DagsterRunStatus.SUCCESS


def test_a_notice_of_a_doubt_says_which_strategy_it_is_about(lab, run):
    _, instance = lab
    name = "backtest/summary:has_enough_trades of ladder"
    record = notices.evaluated_checks(instance, KEYS)[name]
    notice = notices.of_check(name, record)
    assert notice.data["severity"] == "WARN"
    assert notice.data["metadata"]["strategy"] == "ladder"
    assert notice.data["runId"] == run.run_id
    assert not notices.is_error(record)


def frame(*rows):
    rows = [(f"c{number}", caller, mint, START + after) for number, (caller, mint, after) in enumerate(rows)]
    frame = pl.DataFrame(rows, schema=["call_id", "caller", "mint", "called_at"], orient="row")
    return frame.with_columns(pl.col("called_at").cast(pl.Datetime("ms", "UTC")))


def judged(lab, calls, known=None):
    settings, _ = lab
    results = list(evaluate_calls(calls, measure(Lake(settings.lake_dir)), known))
    assert {result.severity for result in results} == {dg.AssetCheckSeverity.WARN}
    return {result.check_name: result for result in results}


def test_callers_are_new_that_had_not_called_before_the_latest_calls_came(lab):
    calls = frame(("ann", "AAA", MINUTE), ("zoe", "AAA", MINUTE))
    assert judged(lab, calls)["callers_are_known"].passed, "all are new in a lake that is"
    new = judged(lab, calls, {"ann"})["callers_are_known"]
    assert not new.passed
    assert new.metadata["new"].value == 1
    assert [row.data["caller"] for row in new.metadata["new callers"].records] == ["zoe"]
    assert judged(lab, calls, {"ann", "zoe"})["callers_are_known"].passed


def test_ten_calls_of_one_caller_in_a_minute_are_a_burst(lab):
    nine = [("ann", "AAA", MINUTE + 1000 * number) for number in range(9)]
    assert judged(lab, frame(*nine, ("ben", "AAA", MINUTE)))["no_bursts"].passed
    assert judged(lab, frame(*nine, ("ann", "AAA", 2 * MINUTE + 1)))["no_bursts"].passed
    burst = judged(lab, frame(*nine, ("ann", "AAA", 2 * MINUTE)))["no_bursts"]
    assert not burst.passed
    assert [row.data["caller"] for row in burst.metadata["bursts"].records] == ["ann"]


def test_a_call_before_the_first_candle_of_its_token_is_told(lab):
    early = judged(lab, frame(("ann", "AAA", -1), ("ann", "BBB", 0), ("ann", "ZZZ", 0)))["calls_follow_candles"]
    assert not early.passed
    assert (early.metadata["early calls"].value, early.metadata["calls on mints without candles"].value) == (1, 1)
    assert judged(lab, frame(("ann", "AAA", 0)))["calls_follow_candles"].passed


def test_an_ingest_evaluates_the_checks_of_the_calls_against_those_before(lab):
    settings, instance = lab
    lake, key = Lake(settings.lake_dir), dg.AssetCheckKey(dg.AssetKey(["lake", "calls"]), "callers_are_known")
    assert recorded_callers(instance) is None
    report_calls(Lab(settings, instance), lake.write_calls(frame(("ann", "AAA", MINUTE))))
    (first,) = notices.evaluated_checks(instance, [key]).values()
    assert first.evaluation.passed
    before = recorded_callers(instance)
    assert "ann" in before
    assert "zoe" not in before
    report_calls(Lab(settings, instance), lake.write_calls(frame(("zoe", "AAA", MINUTE))))
    (second,) = notices.evaluated_checks(instance, [key]).values()
    assert not second.evaluation.passed
    assert recorded_callers(instance, back=1) == before
