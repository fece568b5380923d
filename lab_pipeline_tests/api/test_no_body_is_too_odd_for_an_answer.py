"""Bodies and parameters that no honest client sends: each is refused in the one shape, quickly, by the field's name."""

import copy
import time

import pytest

from lab_pipeline_tests.support.markets import stock

CONFIG = {
    "exit": {"targets": [{"multiple": 2.0, "fraction": 0.5}], "stopLoss": 0.3, "breakEvenAfter": 1},
    "reentry": {"retrace": 0.3, "maxCount": 1},
    "portfolio": {"initialCapital": 10_000, "sizing": {"kind": "fixed", "amount": 100}, "maxOpenPositions": 25},
}
HUGE = [2**63, 10**30, -(10**30), 10**300]
JSON = {"Content-Type": "application/json"}


def changed(path, value):
    document = copy.deepcopy(CONFIG)
    node = document
    *parents, last = path
    for part in parents:
        node = node[part]
    node[last] = value
    return document


def refused(answer, status=422):
    assert answer.status_code == status, answer.text[:500]
    error = answer.json()["error"]
    assert len(answer.content) < 3_000
    return [problem["path"] for problem in error["details"]]


@pytest.mark.parametrize("value", HUGE)
@pytest.mark.parametrize(
    ("path", "field"),
    [
        (("exit", "breakEvenAfter"), "config.exit.breakEvenAfter"),
        (("exit", "maxHoldMinutes"), "config.exit.maxHoldMinutes"),
        (("exit", "targets", 0, "multiple"), "config.exit.targets[0].multiple"),
        (("reentry", "maxCount"), "config.reentry.maxCount"),
        (("portfolio", "maxOpenPositions"), "config.portfolio.maxOpenPositions"),
        (("portfolio", "initialCapital"), "config.portfolio.initialCapital"),
        (("portfolio", "sizing", "amount"), "config.portfolio.sizing.amount"),
        (("horizonMinutes",), "config.horizonMinutes"),
    ],
)
def test_a_number_without_end_is_named(api, path, field, value):
    assert refused(api.post("/strategies", json={"id": "odd", "config": changed(path, value)})) == [field]


def test_a_hundred_thousand_targets_are_one_error_at_once(api):
    targets = [{"multiple": 1 + (number + 1) / 1000, "fraction": 1e-6} for number in range(20_000)]
    body = {"id": "odd", "config": changed(("exit", "targets"), targets)}
    began = time.perf_counter()
    assert refused(api.post("/strategies", json=body)) == ["config.exit.targets"]
    assert time.perf_counter() - began < 5  # it is milliseconds; a machine may be busy


@pytest.mark.parametrize("value", HUGE)
def test_a_seed_without_end_is_named(api, home, value):
    stock(home)
    body = {"strategyId": "ladder", "timeframe": "1m", "seed": value,
            "range": {"start": "2024-01-01", "end": "2024-01-02"}}  # fmt: skip
    assert refused(api.post("/backtest/dry-run", json=body)) == ["seed"]
    named = refused(api.post("/backtest/dry-run", json=body | {"seed": 1, "params": {"exit.breakEvenAfter": value}}))
    assert named == ["params.exit.breakEvenAfter"]


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ('{"id": "odd", "config": {"exit": {"breakEvenAfter": ' + "9" * 10_000 + "}}}", 422),
        ('{"id": "odd", "config": {"exit": {"stopLoss": NaN}}}', 422),
        ('{"id": "odd", "config": {"exit": {"stopLoss": -Infinity}}}', 422),
        ('{"id": "odd", "config": {"exit": {"stopLoss": 1e400}}}', 422),
        ('{"id": "odd", "name": "\\ud800", "config": {"exit": {"stopLoss": 0.5}}}', 422),
        ('{"id": "odd", "config": {"exit": {"stopLoss": 0.5}, "' + "x" * 100_000 + '": 1}}', 422),
        ('{"id": "odd", "config": {"exit": {"stopLoss": "' + "x" * 100_000 + '"}}}', 422),
        ('{"id": "odd", "config": {"exit": {"stopLoss": 0.5, "stopLoss": 0.2}}}', 400),
        ('{"id": "odd", "config": ' + "[" * 200 + "]" * 200 + "}", 422),
        ("[" * 100_000, 400),
        ('{"a":' * 50_000, 400),
        ("9" * 100_000, 422),
        ('"\\ud800"', 422),
        ("\ufeff{}", 400),
    ],
)
@pytest.mark.parametrize("path", ["/strategies", "/strategies/odd/validate", "/backtest", "/backtest/dry-run"])
def test_json_that_is_hard_to_read(api, path, text, status):
    answer = api.post(path, content=text.encode(), headers=JSON)
    if path.endswith("/validate") and answer.status_code == 200:  # to find what is wrong is its answer
        assert answer.json()["valid"] is False
        assert len(answer.content) < 3_000
        return
    assert answer.status_code in {status, 422}, answer.text[:300]
    refused(answer, answer.status_code)


@pytest.mark.parametrize(
    "path", ["exit.targets[" + "9" * 5_000 + "].multiple", "exit." * 2_000, "", ".", "[", "\x1b[2J"]
)
def test_an_odd_path_of_an_override_is_named(api, home, path):
    stock(home)
    body = {"strategyId": "ladder", "timeframe": "1m", "params": {path: 1},
            "range": {"start": "2024-01-01", "end": "2024-01-02"}}  # fmt: skip
    assert api.post("/backtest/dry-run", json=body).status_code == 422


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/runs?limit=" + "9" * 5_000, "limit"),
        ("/runs?limit=1e400", "limit"),
        ("/runs?cursor=" + "W" * 1_000, "cursor"),
        ("/statistics/distribution?bins=" + "9" * 5_000, "bins"),
        ("/statistics/distribution?bins=quantile:" + "0" * 5_000, "bins"),
        ("/strategies/ladder?version=" + "9" * 5_000, "version"),
        ("/leaderboard?window=" + "9" * 5_000 + "h", "window"),
    ],
)
def test_an_odd_parameter_is_named(api, path, field):
    assert refused(api.get(path)) == [field]


@pytest.mark.parametrize("span", ["9" * 5_000 + "-", "-" + "9" * 5_000, "0-" + "9" * 5_000])
def test_an_odd_range_of_bytes_is_no_range(api, span):
    assert api.get("/runs", headers={"Range": f"bytes={span}"}).status_code == 200
