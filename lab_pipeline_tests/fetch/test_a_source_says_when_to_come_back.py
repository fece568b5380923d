import time
from email.utils import formatdate

import pytest
from werkzeug import Response

from lab_pipeline.fetch import FetchError
from lab_pipeline.fetch.web import retry_after_seconds
from lab_pipeline_tests.fetch.servers import MINUTE, at, market

START = at("2025-03-10T06:00")


def test_in_seconds_or_at_a_date():
    assert retry_after_seconds("7") == 7.0
    assert 25 < retry_after_seconds(formatdate(time.time() + 30, usegmt=True)) <= 30
    assert retry_after_seconds(formatdate(time.time() - 30, usegmt=True)) == 0.0


def test_no_request_is_sent_before(birdeye):
    birdeye.source.candles["TOKEN"] = market(START, 60)
    birdeye.source.faults = [Response("slow down", 429, headers={"Retry-After": "1"})]
    begun = time.monotonic()
    birdeye.fetch(START, START + 60 * MINUTE)
    assert time.monotonic() - begun >= 1
    assert len(birdeye.rows()) == 60


def test_what_is_too_long_to_wait_for_is_said(birdeye):
    birdeye.source.faults = [Response("enough for today", 429, headers={"Retry-After": "86400"})]
    with pytest.raises(FetchError, match="asks to come back in 86,400 seconds: do the same again then"):
        birdeye.fetch(START, START + 60 * MINUTE)
    assert len(birdeye.source.asked) == 1


def test_an_answer_of_another_shape_is_named_and_nothing_is_remembered(birdeye):
    for body in ('{"success": true, "data": {}}', "<html>", '{"success": false, "message": "no such plan"}'):
        birdeye.source.faults = [Response(body, content_type="application/json")]
        with pytest.raises(FetchError, match="birdeye"):
            birdeye.fetch(START, START + 60 * MINUTE)
    assert len(birdeye.plan(START, START + 60 * MINUTE).requests) == 1
