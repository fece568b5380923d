"""What was evaluated at a time yet to come is named by `lab doctor`, and goes on once `lab up` has seen to it."""

from datetime import UTC, datetime, timedelta

from dagster._daemon.types import DaemonHeartbeat

from lab_pipeline.cli import up
from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.settings import load_settings
from lab_pipeline_tests.support.ticks import tick

YEAR = timedelta(days=365)


def finding(lab, part):
    """Return what `lab doctor` says of a part, with its mark."""
    return next(line for line in lab("doctor").out.splitlines() if line[5:].startswith(f"{part} "))


def test_schedules_and_sensors_that_wait_for_a_later_time_are_named_until_they_do_not(lab, capfd):
    assert lab("runs", "list").status == 0
    with open_instance(load_settings()) as instance:
        tick(instance, datetime.now(UTC) + YEAR)
    named = finding(lab, "automation")
    assert named.startswith("FAIL")
    assert named.endswith("evaluated later than the clock says it is: inbox")
    capfd.readouterr()
    up.rewind_automation(load_settings())
    assert capfd.readouterr().out == "ahead of the clock were inbox\n"
    assert finding(lab, "automation").startswith("ok")


def test_what_stands_against_it_is_said_and_ends_nothing(lab, capfd):
    with open_instance(load_settings()) as instance:
        tick(instance, datetime.now(UTC) + YEAR)
    (lab.home / "dagster" / "dagster.yaml").unlink()
    (lab.home / "dagster" / "dagster.yaml").mkdir()
    up.rewind_automation(load_settings())
    assert "schedules and sensors may wait for later times" in capfd.readouterr().out


def test_a_daemon_whose_last_sign_is_of_a_later_time_is_not_alive(lab):
    with open_instance(load_settings()) as instance:
        for kind in instance.get_required_daemon_types():
            instance.add_daemon_heartbeat(DaemonHeartbeat((datetime.now(UTC) + YEAR).timestamp(), kind, "one", []))
    assert finding(lab, "daemon").endswith("not running; `lab up` starts it")
