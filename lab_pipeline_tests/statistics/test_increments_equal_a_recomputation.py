"""However runs come and go, the tables are those of a computation from nothing."""

import shutil
from datetime import timedelta

import duckdb
import pytest

from lab_pipeline.domain.errors import LabError
from lab_pipeline.runs.artifact_storage import DirectoryStorage
from lab_pipeline.statistics import GroupBy, Range, RunRecord, overview, pnl, refresh
from lab_pipeline.statistics import refreshing as module
from lab_pipeline.statistics.segments import SegmentFiles
from lab_pipeline_tests.statistics.chance import add_some, from_nothing
from lab_pipeline_tests.support.duck_files import content, leave_no_log
from lab_pipeline_tests.support.world import START, Call, World, rows_of


def test_adding_runs_one_by_one_equals_all_at_once_to_the_last_bit(world, tmp_path):
    for _ in range(7):
        add_some(world)
        refresh(world.statistics, world.runs)
    assert rows_of(world.statistics) == from_nothing(world, tmp_path)


def test_order_and_threads_change_nothing(world, tmp_path):
    add_some(world, 6)
    refresh(world.statistics, world.runs)
    shuffled = World(tmp_path / "shuffled", runs=world.runs[::-1])
    shuffled.home.mkdir()
    (shuffled.home / "artifacts").symlink_to(world.home / "artifacts")
    one_thread = module.Statistics(
        shuffled.statistics.catalog, shuffled.statistics.files, shuffled.statistics.artifacts, threads=1
    )
    for count in (1, 3, 6):
        refresh(one_thread, shuffled.runs[:count])
    assert rows_of(world.statistics) == rows_of(one_thread)


def test_a_rebuild_gives_identical_tables(world):
    add_some(world, 3)
    refresh(world.statistics, world.runs)
    add_some(world, 2)
    refresh(world.statistics, world.runs)
    before = rows_of(world.statistics)
    done = refresh(world.statistics, world.runs, rebuild=True)
    assert (done.changed, done.added) == (True, 5)
    assert rows_of(world.statistics) == before


@pytest.mark.parametrize("artifacts_only", [True, False])
def test_a_deleted_run_leaves_no_trace(world, tmp_path, artifacts_only):
    add_some(world, 4)
    refresh(world.statistics, world.runs)
    gone = world.runs[1]
    world.forget(gone.run_id)
    if artifacts_only:  # the record still says that it completed
        world.runs.append(gone)
    done = refresh(world.statistics, world.runs)
    assert (done.removed, done.added, done.runs) == (1, 0, 3)
    assert rows_of(world.statistics) == from_nothing(world, tmp_path)
    add_some(world)
    refresh(world.statistics, world.runs)
    assert rows_of(world.statistics) == from_nothing(world, tmp_path)


def test_the_last_run_deleted_leaves_statistics_of_nothing(world):
    add_some(world)
    refresh(world.statistics, world.runs)
    world.forget(world.runs[0].run_id)
    refresh(world.statistics, world.runs)
    assert overview(world.statistics).body["totalTrades"] == 0
    assert pnl(world.statistics, GroupBy.TOKEN)[0].body["groups"] == []


def test_artifacts_that_were_written_again_are_read_again(world, tmp_path):
    add_some(world, 3)
    refresh(world.statistics, world.runs)
    run_id = world.runs[0].run_id
    record = world.runs[0]
    world.forget(run_id)
    world.add([Call("new", "zoe", "ZZZ", (9.0,))], run_id=run_id)
    assert record.run_id == world.runs[-1].run_id
    done = refresh(world.statistics, world.runs)
    assert (done.added, done.removed) == (1, 1)
    assert rows_of(world.statistics) == from_nothing(world, tmp_path)


def test_runs_that_have_not_completed_do_not_count(world):
    add_some(world, 2)
    running = world.runs[1]
    world.runs[1] = RunRecord(running.run_id, "running", running.strategy_id)
    assert refresh(world.statistics, world.runs).runs == 1
    world.runs[1] = running
    done = refresh(world.statistics, world.runs)
    assert (done.added, done.runs) == (1, 2)


def test_nothing_new_writes_nothing(world, monkeypatch):
    add_some(world, 2)
    refresh(world.statistics, world.runs)
    path = world.statistics.catalog.path
    leave_no_log(path)
    before = content(path)
    files = sorted(world.statistics.files.directory.iterdir())

    def touched(*_args, **_kwargs):
        raise AssertionError("something was computed")

    monkeypatch.setattr(module, "DuckDBSession", touched)
    done = refresh(world.statistics, world.runs)
    assert not done.changed
    assert content(path) == before
    assert sorted(world.statistics.files.directory.iterdir()) == files


def test_only_new_artifacts_are_opened(world):
    add_some(world, 2)
    refresh(world.statistics, world.runs)
    for run in world.runs:
        for name in ("trades.parquet", "paths.parquet", "equity.parquet"):
            (world.artifacts.storage.directory / run.run_id / name).write_bytes(b"not Parquet")
    add_some(world)
    assert refresh(world.statistics, world.runs).added == 1


def test_a_change_of_status_alone_is_seen(world):
    add_some(world)
    world.record("running")
    refresh(world.statistics, world.runs)
    world.runs[-1] = RunRecord(world.runs[-1].run_id, "failed", "plain")
    assert refresh(world.statistics, world.runs).changed
    assert overview(world.statistics).body["runsByStatus"] == {"completed": 1, "failed": 1}


def test_a_run_that_lies_elsewhere_is_not_read_again(world, tmp_path):
    add_some(world, 3)
    refresh(world.statistics, world.runs)
    home = world.artifacts.storage.directory / world.runs[0].run_id
    home.rename(tmp_path / "away")
    shutil.copytree(tmp_path / "away", home)
    add_some(world)
    done = refresh(world.statistics, world.runs)
    assert (done.added, done.removed, done.runs) == (1, 0, 4)
    with world.statistics.catalog.reading() as (connection, _):
        known = connection.execute("SELECT directory FROM leaderboard_runs WHERE run_id = ?", [home.name])
    assert known == [(home.stat().st_ino,)]
    assert rows_of(world.statistics) == from_nothing(world, tmp_path)


def test_of_many_runs_only_new_ones_and_a_few_others_are_looked_at(world, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOOKED_AT_AGAIN", 1)
    add_some(world, 6)
    refresh(world.statistics, world.runs)
    add_some(world, 2)
    world.forget(world.runs[2].run_id)
    looked_at = []
    look = DirectoryStorage.signature
    monkeypatch.setattr(DirectoryStorage, "signature", lambda *asked: looked_at.append(asked) or look(*asked))
    done = refresh(world.statistics, world.runs)
    assert (done.added, done.removed, done.runs) == (2, 1, 7)
    assert len(looked_at) <= 3
    assert rows_of(world.statistics) == from_nothing(world, tmp_path)


def test_a_damaged_manifest_names_the_file_and_leaves_the_old_tables(world):
    add_some(world)
    refresh(world.statistics, world.runs)
    before = rows_of(world.statistics)
    add_some(world)
    path = world.artifacts.storage.directory / world.runs[-1].run_id / "manifest.json"
    path.write_text("{")
    with pytest.raises(LabError, match=str(path)):
        refresh(world.statistics, world.runs)
    assert rows_of(world.statistics) == before


def test_a_computation_that_dies_before_its_transaction_changes_nothing(world, tmp_path, monkeypatch):
    add_some(world, 2)
    refresh(world.statistics, world.runs)
    before = rows_of(world.statistics)
    add_some(world)

    def killed(*_args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module.Catalog, "apply", killed)
        with pytest.raises(KeyboardInterrupt):
            refresh(world.statistics, world.runs)
    assert rows_of(world.statistics) == before
    refresh(world.statistics, world.runs)
    assert rows_of(world.statistics) == from_nothing(world, tmp_path)


def test_a_full_disk_leaves_no_file_and_the_same_again_computes_the_same(world, tmp_path, monkeypatch):
    add_some(world)
    refresh(world.statistics, world.runs)
    before, files = rows_of(world.statistics), sorted((world.home / "statistics").iterdir())
    add_some(world)
    run = module.DuckDBSession.run

    def full(bench, query, parameters=None):
        run(bench, query, parameters)
        if ".paths.parquet." in query:
            raise duckdb.IOException("IO Error: Could not write: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module.DuckDBSession, "run", full)
        with pytest.raises(LabError, match=r"those computed before stay: the disk of .* is full"):
            refresh(world.statistics, world.runs)
    assert rows_of(world.statistics) == before
    assert sorted((world.home / "statistics").iterdir()) == files
    refresh(world.statistics, world.runs)
    assert rows_of(world.statistics) == from_nothing(world, tmp_path)


def test_segments_stay_few_and_unused_files_go(world, monkeypatch):
    monkeypatch.setattr("lab_pipeline.statistics.segments.GRACE_SECONDS", -1.0)
    for _ in range(12):
        add_some(world)
        refresh(world.statistics, world.runs)
    state = world.statistics.catalog.state()
    assert len(state.segments) <= 5
    kept = {path.name.partition(".")[0] for path in world.statistics.files.directory.glob("*.parquet")}
    assert kept == set(state.files)
    assert isinstance(world.statistics.files, SegmentFiles)


def test_a_computed_answer_is_kept_until_the_numbers_change(world, monkeypatch):
    add_some(world)
    refresh(world.statistics, world.runs)
    period = Range(end=START + timedelta(hours=100))
    first = overview(world.statistics, period)

    def touched(*_args, **_kwargs):
        raise AssertionError("it was computed again")

    with monkeypatch.context() as patch:
        patch.setattr("lab_pipeline.statistics.answers.DuckDBSession", touched)
        assert overview(world.statistics, period) == first
    add_some(world)
    refresh(world.statistics, world.runs)
    second = overview(world.statistics, period)
    assert second.etag != first.etag
    assert second.body["totalTrades"] > first.body["totalTrades"]
