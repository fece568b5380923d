"""How far a sweep is, as it goes."""

from types import SimpleNamespace

import pytest

from lab_pipeline.defs.sweep import progress_log
from lab_pipeline.lake import Lake
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.sweeps import running
from lab_pipeline_tests.engine.sweep.walks import walks
from lab_pipeline_tests.support.swept_lab import SPEC, STRATEGY


@pytest.fixture(scope="module")
def resolved(tmp_path_factory):
    home = tmp_path_factory.mktemp("world")
    lake, strategies = Lake(home / "lake"), StrategyStore(home / "catalog.duckdb")
    candles, calls = walks(tokens=100, calls_each=4)
    lake.write_candles(candles, "1m")
    lake.write_calls(calls)
    strategies.add(STRATEGY)
    return running.resolve(SPEC, strategies, lake), lake


def test_calls_are_told_as_they_are_decided_and_end_with_all(resolved, monkeypatch):
    swept, lake = resolved
    monkeypatch.setattr(running, "SECONDS_BETWEEN_GLANCES", 0.0)
    told, best = [], []
    sweep, _ = running.evaluate(
        swept,
        lake,
        threads=2,
        on_progress=lambda done, total: told.append((done, total)),
        on_best=lambda number, objective: best.append((number, objective)),
    )
    calls = swept.calls.height
    assert told == sorted(told)
    assert told[-1] == (calls, calls)
    assert len({done for done, _ in told}) > 2
    number, objective = best[-1]
    assert objective == pytest.approx(sweep.sets["expectancy_lower"].max())
    assert number == sweep.sets["expectancy_lower"].arg_max()


def test_a_line_every_two_seconds_says_what_is_done_the_best_and_what_is_left(monkeypatch):
    lines, now = [], [100.0]
    monkeypatch.setattr(progress_log.time, "monotonic", lambda: now[0])
    log = progress_log.ProgressLog(SimpleNamespace(info=lines.append), "calls", 24, "expectancy_lower")
    for second, done in ((1.0, 10), (2.0, 20), (3.0, 25)):
        now[0] = 100.0 + second
        log.report(done, 100)
    log.note_best(7, 0.0123)
    now[0] = 104.0
    log.report(50, 100)
    assert lines == [
        "24 sets x 20 of 100 calls (20%), 8 s left",
        "24 sets x 50 of 100 calls (50%), 4 s left; best so far is set 7 (expectancy_lower +0.0123)",
    ]
