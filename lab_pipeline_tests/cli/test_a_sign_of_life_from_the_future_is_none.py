"""The doctor does not believe a sign of life from a time yet to come."""

from datetime import UTC, datetime, timedelta

from dagster._daemon.types import DaemonHeartbeat

from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.settings import load_settings

YEAR = timedelta(days=365)


def finding(lab, part):
    """Return what `lab doctor` says of a part, with its mark."""
    return next(line for line in lab("doctor").out.splitlines() if line[5:].startswith(f"{part} "))


def test_a_daemon_whose_last_sign_is_of_a_later_time_is_not_alive(lab):
    with open_instance(load_settings()) as instance:
        for kind in instance.get_required_daemon_types():
            instance.add_daemon_heartbeat(DaemonHeartbeat((datetime.now(UTC) + YEAR).timestamp(), kind, "one", []))
    assert finding(lab, "daemon").endswith("not running; `lab up` starts it")
