"""The ledger of everything that was ever evaluated."""

import hashlib
import os
import random
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from lab_pipeline.domain.strategy import Strategy
from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.statistics.trials import Evaluation, Kind, TrialsLedger, Tried
from lab_pipeline_tests.support.world import Call, World

JANUARY = datetime(2024, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)

# Records sweeps of its own until it is killed, and says each one that is on record.
WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline.statistics.trials import Evaluation, Kind, TrialsLedger

home, name = Path(sys.argv[1]), sys.argv[2]
ledger = TrialsLedger(home / "catalog.duckdb", ArtifactStore(home / "artifacts"))
moments = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC)
for number in range(int(sys.argv[3])):
    one = Evaluation(f"{name}{number}", Kind.SWEEP, "mine", "s", "expectancy", *moments)
    ledger.record((one, [f"{name}-{number}-{which}" for which in range(50)] + ["of all"]))
    print(number + 1, flush=True)
"""


@pytest.fixture
def ledger(tmp_path):
    return TrialsLedger(tmp_path / "catalog.duckdb", ArtifactStore(tmp_path / "artifacts"))


def sweep(run_id, strategy="mine", *, snapshot="s", objective="expectancy", start=JANUARY, days=10):
    return Evaluation(run_id, Kind.SWEEP, strategy, snapshot, objective, start, start + days * DAY)


def hashes(*names):
    return [hashlib.sha256(name.encode()).hexdigest() for name in names]


def test_nothing_was_tried_in_a_new_lab(ledger, tmp_path):
    assert ledger.tried("mine") == Tried(0, 0, 0)
    assert ledger.earlier(sweep("one"), hashes("a")) == 0
    assert ledger.family("mine") == ["mine"]
    assert not (tmp_path / "catalog.duckdb").exists()


def test_a_configuration_counts_once_for_the_same_data_and_objective(ledger):
    ledger.record((sweep("one"), hashes("a", "b", "c")))
    ledger.record((sweep("two"), hashes("b", "c", "d")))
    assert ledger.tried("mine") == Tried(4, 2, 0)
    assert ledger.earlier(sweep("three"), hashes("d", "e")) == 3
    ledger.record((sweep("three", snapshot="t"), hashes("a")))
    ledger.record((sweep("four", objective="sharpe"), hashes("a")))
    assert ledger.tried("mine") == Tried(6, 4, 0)
    assert ledger.tried("another") == Tried(0, 0, 0)


def test_recording_again_changes_nothing(ledger):
    for _ in range(3):
        ledger.record((sweep("one"), hashes("a", "b")))
    assert ledger.tried("mine") == Tried(2, 1, 0)
    assert ledger.earlier(sweep("one"), hashes("a", "b")) == 0


def test_only_tries_on_calls_of_the_same_time_are_tries_on_these_calls(ledger):
    ledger.record((sweep("one"), hashes("a", "b")), (sweep("two", snapshot="t", start=JANUARY + 10 * DAY), hashes("a")))
    assert ledger.tried("mine", JANUARY, JANUARY + DAY) == Tried(2, 1, 0)
    assert ledger.tried("mine", JANUARY + 10 * DAY, JANUARY + 11 * DAY) == Tried(1, 1, 0)
    assert ledger.tried("mine", JANUARY + 9 * DAY, JANUARY + 11 * DAY) == Tried(3, 2, 0)
    assert ledger.tried("mine", JANUARY + 20 * DAY) == Tried(0, 0, 0)


def test_promotions_make_families_however_many_steps_away(ledger):
    ledger.record((sweep("one"), hashes("a", "b")))
    ledger.record((sweep("two", "child"), hashes("c")), (sweep("three", "grandchild"), hashes("d")))
    assert ledger.tried("mine").trials == 2
    ledger.record_promotion("child", "one", 0, "mine")
    ledger.record_promotion("grandchild", "two", 0, "child")
    for name in ("mine", "child", "grandchild"):
        assert ledger.family(name) == ["child", "grandchild", "mine"]
        assert ledger.tried(name) == Tried(4, 3, 0)
    assert ledger.promoted_sweeps() == {"one", "two"}


def test_what_two_strategies_of_a_family_have_both_tried_counts_once(ledger):
    ledger.record((sweep("one"), hashes("a", "b")), (sweep("two", "child"), hashes("b", "c")))
    ledger.record((sweep("three", "child", snapshot="t"), hashes("b")))
    ledger.record_promotion("child", "one", 0, "mine")
    assert ledger.tried("mine") == ledger.tried("child") == Tried(4, 3, 0)
    assert ledger.earlier(sweep("four", "child"), hashes("a", "d")) == 3
    ledger.record((sweep("four", "child"), hashes("a", "d")))
    assert ledger.tried("mine") == Tried(5, 4, 0)


def test_the_tag_of_a_strategy_tells_its_family_too(ledger):
    """As of one that was taken from a file of another lab's, or of one's own."""
    ledger.record((sweep("one"), hashes("a", "b")))
    exit_rules = {"exit": {"stopLoss": 0.2, "stopFill": {"through": 0}}}
    StrategyStore(ledger.catalog).add(
        Strategy.parse({"id": "copied", "tags": ["sweep:one", "sweep:gone"], **exit_rules})
    )
    assert ledger.family("copied") == ["copied", "mine"]
    assert ledger.promoted_sweeps() == {"one", "gone"}


def test_backtests_that_were_published_before_there_was_a_ledger_count(tmp_path):
    world = World(tmp_path)
    runs = [world.add([Call("c", "ann", "AAA", (net,))]) for net in (0.1, 0.2)]
    ledger = TrialsLedger(tmp_path / "catalog.duckdb", ArtifactStore(tmp_path / "artifacts"))
    spec = ledger.artifacts.manifest(runs[0]).spec
    assert ledger.tried(spec.strategy_id).backtests == 0
    ledger.catch_up()
    counted = ledger.tried(spec.strategy_id, spec.range.start, spec.range.end)
    assert counted.backtests == 2
    for run_id in runs:
        ledger.artifacts.delete(run_id)
    ledger.catch_up()
    assert ledger.tried(spec.strategy_id) == counted


def test_a_backtest_that_goes_is_recorded_first_and_a_damaged_one_goes_all_the_same(tmp_path):
    world = World(tmp_path)
    whole, damaged = (world.add([Call("c", "ann", "AAA", (net,))]) for net in (0.1, 0.2))
    ledger = TrialsLedger(tmp_path / "catalog.duckdb", ArtifactStore(tmp_path / "artifacts"))
    strategy = ledger.artifacts.manifest(whole).spec.strategy_id
    (tmp_path / "artifacts" / damaged / "manifest.json").write_text("{")
    for run_id in (whole, damaged, "never there"):
        ledger.keep(run_id)
    assert ledger.tried(strategy).backtests == 1
    assert ledger.missing([whole, damaged]) == [damaged]


def start(home, name, count):
    code = [sys.executable, "-c", WRITER, str(home), name, str(count)]
    return subprocess.Popen(code, stdout=subprocess.PIPE, text=True)


def test_two_processes_record_at_once(ledger, tmp_path):
    writers = [start(tmp_path, name, 10) for name in ("a", "b")]
    for writer in writers:
        writer.communicate(timeout=120)
        assert writer.returncode == 0
    assert ledger.tried("mine") == Tried(2 * 10 * 50 + 1, 20, 0)


def test_a_killed_process_leaves_whole_sweeps_only(ledger, tmp_path):
    chance = random.Random(3)  # noqa: S311 - no secret
    acknowledged = {}
    for round_ in range(3):
        name = f"k{round_}-"
        writer = start(tmp_path, name, 10_000)
        assert writer.stdout is not None
        for _ in range(chance.randrange(1, 6)):
            acknowledged[name] = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
        rest = writer.communicate()[0].split()
        acknowledged[name] = int(rest[-1]) if rest else acknowledged[name]
    found = ledger.tried("mine")
    assert found.trials == 50 * found.sweeps + 1
    assert 0 <= found.sweeps - sum(acknowledged.values()) <= len(acknowledged)  # one each may be on record and unsaid
    ledger.record((sweep("after"), hashes("a")))
    assert ledger.tried("mine").sweeps == found.sweeps + 1
