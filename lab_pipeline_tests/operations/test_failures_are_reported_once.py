from datetime import UTC, datetime

import dagster as dg
import pytest
from dagster._core.events import JobFailureData, RunFailureReason

from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.defs.lake.checks import evaluate
from lab_pipeline.defs.lake.metadata import measure
from lab_pipeline.defs.operations.sensors import notify_data_quality, notify_failures
from lab_pipeline.lake import Lake
from lab_pipeline.operations import webhook
from lab_pipeline.operations.webhook import DeliveryError, Notice, Webhook
from lab_pipeline.settings import load_settings
from lab_pipeline_tests.support.daemon import daemon, tick_of
from lab_pipeline_tests.support.fake_webhook import SECRET, receiving
from lab_pipeline_tests.support.markets import candles

NOTICE = Notice("n1", "run.failed", datetime(2025, 3, 1, tzinfo=UTC), {"text": "größer"})


@pytest.fixture
def receiver(monkeypatch, tmp_path):
    monkeypatch.setattr(webhook, "PAUSE_SECONDS", 0.01)
    with receiving() as receiver:
        monkeypatch.setenv("LAB_HOME", str(tmp_path))
        monkeypatch.setenv("LAB_WEBHOOK_URL", receiver.url)
        monkeypatch.setenv("LAB_WEBHOOK_SECRET", SECRET)
        yield receiver


@pytest.fixture
def instance(receiver):  # noqa: ARG001 - whom the lab tells
    with open_instance(load_settings()) as instance:
        yield instance


class Sensor:
    """A sensor with its cursor, which is kept only if an evaluation ends well, as Dagster does."""

    def __init__(self, definition, instance):
        self.definition, self.instance, self.cursor = definition, instance, None

    def evaluate(self):
        with tick_of(self.definition, self.instance, self.cursor) as context:
            answer = self.definition.evaluate_tick(context)
        self.cursor = answer.cursor
        return answer.skip_message


@pytest.fixture
def failures(instance):
    sensor = Sensor(notify_failures, instance)
    assert sensor.evaluate() == "runs that fail from now on are reported"
    return sensor


def fail(instance, reason="the disk is full", **tags):
    run = instance.add_run(dg.DagsterRun(job_name="backtest", tags=tags))
    instance.report_run_failed(run, message=reason)
    return run.run_id


def test_a_failed_run_is_told_with_what_one_wants_to_know(instance, failures, receiver):
    run_id = fail(
        instance,
        **{"lab/strategy": "ladder", "lab/timeframe": "5m", "lab/window": "a/b", "dagster/will_retry": "true"},
    )
    assert failures.evaluate() == "1 failed runs reported"
    ((notice_id, told),) = receiver.taken
    assert notice_id == f"run_failed_{run_id}"
    assert told["type"] == "run.failed"
    age = datetime.now(UTC) - datetime.fromisoformat(told["timestamp"])
    assert abs(age.total_seconds()) < 60
    assert told["data"] == {
        "runId": run_id,
        "job": "backtest",
        "strategyId": "ladder",
        "timeframe": "5m",
        "window": "a/b",
        "error": "the disk is full",
        "willRetry": True,
        "dagsterUrl": f"http://127.0.0.1:3000/runs/{run_id}",
    }


def test_a_run_is_told_once_however_often_the_sensor_looks(instance, failures, receiver):
    first = fail(instance)
    failures.evaluate()
    assert failures.evaluate() == "no run has failed since"
    second = fail(instance)
    failures.evaluate()
    assert [told["data"]["runId"] for _, told in receiver.taken] == [first, second]


def test_a_repetition_that_fails_too_is_told_as_well(tmp_path, receiver, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    killed = JobFailureData(None, RunFailureReason.UNKNOWN)
    with open_instance(load_settings()) as instance, daemon(instance) as lab:
        lab.repeat_the_dead()  # which looks at nothing older than its first turn
        lab.run_sensor("notify_failures")
        run = lab.launched(strategy="ladder", timeframe="1m")
        instance.report_run_failed(run, message="killed", job_failure_data=killed)
        lab.run_sensor("notify_failures")
        lab.repeat_the_dead()
        (again,) = (other for other in instance.get_runs() if other.parent_run_id == run.run_id)
        instance.report_run_failed(again, message="killed again", job_failure_data=killed)
        for _ in range(2):
            lab.run_sensor("notify_failures")
    assert [told["data"]["error"] for _, told in receiver.taken] == ["killed", "killed again"]


def test_a_tick_that_dies_after_the_delivery_tells_nothing_again(instance, failures, receiver):
    fail(instance)
    before = failures.cursor
    failures.evaluate()
    failures.cursor = before  # it was never saved
    failures.evaluate()
    assert len(receiver.taken) == 1


def test_what_the_receiver_does_not_take_is_told_when_it_does(instance, failures, receiver):
    ids = [fail(instance) for _ in range(3)]
    receiver.answers = [204, *[503] * webhook.ATTEMPTS]
    with pytest.raises(Exception, match="answers 503 Service Unavailable"):
        failures.evaluate()
    assert [told["data"]["runId"] for _, told in receiver.taken] == ids[:1]
    assert failures.evaluate() == "2 failed runs reported"
    assert [told["data"]["runId"] for _, told in receiver.taken] == ids


def test_failures_from_before_the_first_look_are_not_told(instance, receiver):
    fail(instance)
    sensor = Sensor(notify_failures, instance)
    sensor.evaluate()
    sensor.evaluate()
    assert receiver.asked == 0


def test_without_a_webhook_there_is_a_line_in_the_log(instance, failures, receiver, monkeypatch, capfd):
    monkeypatch.delenv("LAB_WEBHOOK_URL")
    run_id = fail(instance)
    assert failures.evaluate() == "1 failed runs reported"
    assert receiver.asked == 0
    assert f'run.failed {{"runId": "{run_id}"' in capfd.readouterr().err
    assert failures.evaluate() == "no run has failed since"


def check_candles(instance, rows):
    """Record what the checks say of a lake with these candles."""
    lake = Lake(load_settings().lake_dir)
    lake.write_candles(rows, "1m")
    for result in evaluate(measure(lake), load_settings().min_coverage):
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=result.asset_key,
                check_name=result.check_name,
                passed=result.passed,
                severity=result.severity,
                metadata=result.metadata,
            )
        )


def test_coverage_that_falls_below_the_threshold_is_told_once_until_it_has_recovered(instance, receiver, monkeypatch):
    whole = candles(mints=("AAA",)).lazy().collect()
    thin = whole.filter((whole["timestamp"] // 60_000) % 10 == 0)
    sensor = Sensor(notify_data_quality, instance)
    sensor.evaluate()
    check_candles(instance, thin)
    assert sensor.evaluate() == "1 checks reported"
    check_candles(instance, thin)
    assert sensor.evaluate() == "1 checks do not pass, all reported"
    ((_, told),) = receiver.taken
    assert told["type"] == "data_quality.failed"
    data = told["data"]
    assert (data["asset"], data["check"], data["severity"]) == ("lake/candles", "coverage", "WARN")
    assert data["metadata"] == {"mints": 1, "mints below the minimum": 1, "minimum": 0.5, "lowest": 12 / 111}

    check_candles(instance, whole)
    assert sensor.evaluate() == "0 checks do not pass, all reported"
    monkeypatch.setenv("LAB_MIN_COVERAGE", "1.0")
    check_candles(instance, candles(mints=("BBB",)).filter(whole["timestamp"] != whole["timestamp"][5]))
    assert sensor.evaluate() == "1 checks reported"
    assert len(receiver.taken) == 2


def test_a_check_that_the_receiver_does_not_take_is_told_when_it_does(instance, receiver):
    whole = candles(mints=("AAA",))
    check_candles(instance, whole.filter((whole["timestamp"] // 60_000) % 10 == 0))
    sensor = Sensor(notify_data_quality, instance)
    receiver.answers = [400]
    with pytest.raises(Exception, match="answers 400 Bad Request"):
        sensor.evaluate()
    assert sensor.evaluate() == "1 checks reported"
    assert len(receiver.taken) == 1


def doubt(instance, strategy, *, passed):
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey(["backtest", "summary"]),
            check_name="has_costs",
            passed=passed,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"strategy": strategy},
        )
    )


def test_a_doubt_is_told_once_a_strategy_though_runs_of_others_have_none(instance, receiver):
    sensor = Sensor(notify_data_quality, instance)
    for _ in range(3):
        doubt(instance, "ladder", passed=False)
        sensor.evaluate()
        doubt(instance, "dip-scalper", passed=True)
        sensor.evaluate()
    assert [told["data"]["metadata"]["strategy"] for _, told in receiver.taken] == ["ladder"]
    doubt(instance, "dip-scalper", passed=False)
    sensor.evaluate()
    assert [told["data"]["metadata"]["strategy"] for _, told in receiver.taken] == ["ladder", "dip-scalper"]
    doubt(instance, "ladder", passed=True)
    sensor.evaluate()
    doubt(instance, "ladder", passed=False)
    assert sensor.evaluate() == "1 checks reported"


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_a_receiver_that_may_recover_is_asked_again(receiver, status):
    receiver.answers = [status, status]
    Webhook(receiver.url, SECRET).deliver(NOTICE)
    assert receiver.asked == 3
    assert receiver.taken == [("n1", {"type": "run.failed", "timestamp": "2025-03-01T00:00:00.000Z",
                                      "data": {"text": "größer"}})]  # fmt: skip


@pytest.mark.parametrize("status", [301, 400, 404])
def test_a_receiver_that_refuses_is_not_asked_again(receiver, status):
    receiver.answers = [status]
    with pytest.raises(DeliveryError, match=f"answers {status}"):
        Webhook(receiver.url, SECRET).deliver(NOTICE)
    assert receiver.asked == 1


def test_an_error_names_the_receiver_and_no_secret(receiver, monkeypatch):
    monkeypatch.setattr(webhook, "PAUSE_SECONDS", 0.0)
    with pytest.raises(DeliveryError) as wrong:
        Webhook(receiver.url, "another secret").deliver(NOTICE)
    assert "answers 401" in str(wrong.value)
    with pytest.raises(DeliveryError) as away:
        Webhook("http://user:hush@127.0.0.1:9/hook?token=hush", SECRET).deliver(NOTICE)
    assert str(away.value).startswith("the webhook at 127.0.0.1:9 cannot be reached")
    assert "hush" not in str(wrong.value) + str(away.value)
