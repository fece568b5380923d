import logging
import time

import pytest

from lab_pipeline.domain.loglines import LineFormatter


@pytest.fixture
def elsewhere(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("elsewhere")
def test_a_line_says_when_in_utc_wherever_it_is_written():
    record = logging.makeLogRecord({"created": 1_515_542_400.25, "msecs": 250.0, "msg": "listening"})
    assert LineFormatter("%(asctime)s %(message)s").format(record) == "2018-01-10T00:00:00.250Z listening"
