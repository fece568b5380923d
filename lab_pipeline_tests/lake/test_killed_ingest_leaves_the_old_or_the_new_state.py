import os
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from lab_pipeline.lake import Lake, LakeError, commit, tables
from lab_pipeline.lake.layout import mint_bucket
from lab_pipeline_tests.lake.samples import candles, everything, files_of, unnamed_files

PROGRAM = Path(__file__).with_name("ingest_process.py")
OLD = candles(["AAA", "BBB", "CCC"], 40)
CHANGE = pl.concat([OLD[20:60].with_columns(volume=pl.lit(7.0)), candles(["DDD"], 10)])
NEW = pl.concat([OLD[:20], CHANGE, OLD[60:]]).sort("mint", "timestamp")


@pytest.fixture
def change(tmp_path):
    path = tmp_path / "change.parquet"
    CHANGE.write_parquet(path)
    return path


def start(lake, step, *files):
    return subprocess.Popen(
        [sys.executable, PROGRAM, lake.root, str(step), *files],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def leftovers(lake):
    return {*unnamed_files(lake), *(lake.root / ".staging").glob("*")}


class Died(BaseException):
    """Ends an ingest on the spot: no handler for errors catches it."""


def die_at(step, monkeypatch):
    """Make the nth change of a name inside the lake the end of the process, as far as the lake can tell."""
    seen = []

    def counted(name, method):
        def wrapped(*arguments, **options):
            seen.append(name)
            if len(seen) >= step:  # a dead process does nothing more, clean-up included
                raise Died
            return method(*arguments, **options)

        return wrapped

    monkeypatch.setattr(Path, "replace", counted("replace", Path.replace))
    monkeypatch.setattr(Path, "unlink", counted("unlink", Path.unlink))
    monkeypatch.setattr(commit.shutil, "rmtree", counted("rmtree", lambda *_, **__: None))
    monkeypatch.setattr(tables, "_write", counted("commit", tables._write))  # noqa: SLF001 - as above
    monkeypatch.setattr(tables, "_settle", counted("settle", tables._settle))  # noqa: SLF001 - as above
    return seen


@pytest.mark.parametrize("step", range(1, 12))
def test_at_every_step_of_the_commit(lake, step, monkeypatch):
    lake.write_candles(OLD, "1m")
    with monkeypatch.context() as patch:
        seen = die_at(step, patch)
        try:
            lake.write_candles(CHANGE, "1m")
        except Died:
            pass
        else:
            assert len(seen) < step
    committed = "commit" in seen[: step - 1]
    found = everything(lake)
    assert found.equals(NEW if committed else OLD)
    assert len(files_of(lake)) == found["mint"].map_elements(mint_bucket, pl.Int64).n_unique()
    lake.write_candles(CHANGE, "1m")
    assert everything(lake).equals(NEW)
    assert leftovers(lake) == set()


def test_by_the_kernel_at_any_step(lake, change, tmp_path):
    lake.write_candles(OLD, "1m")
    rehearsal = Lake(tmp_path / "rehearsal")
    rehearsal.write_candles(OLD, "1m")
    output, _ = start(rehearsal, 0, change).communicate()
    states = []
    steps = int(output)
    for step in (2, steps // 2, steps - 2, steps):
        process = start(lake, step, change)
        process.communicate()
        assert process.returncode == -9
        states.append(everything(lake))
        assert any(states[-1].equals(state) for state in (OLD, NEW))
        lake.write_candles(OLD, "1m")
        assert leftovers(lake) == set()
    assert states[0].equals(OLD)
    assert states[-1].equals(NEW)


def test_what_a_killed_writer_left_is_measured_and_removed(lake, monkeypatch):
    lake.write_candles(OLD, "1m")
    with monkeypatch.context() as patch:
        seen = die_at(100, patch)
        patch.setattr(tables, "_write", lambda *_: (_ for _ in ()).throw(Died))
        patch.setattr(commit, "_sweep", lambda *_: None)
        with pytest.raises(Died):
            lake.write_candles(CHANGE, "1m")
    assert seen
    assert unnamed_files(lake)
    assert lake.leftovers() > 1000
    assert lake.leftovers(remove=True) > 1000
    assert (lake.leftovers(), leftovers(lake)) == (0, set())
    assert everything(lake).equals(OLD)


@pytest.mark.long
def test_at_random_moments(lake, change):
    for attempt in range(12):
        lake.write_candles(OLD, "1m")
        before = everything(lake)  # once DDD is there, the old candles do not take it away
        process = start(lake, 0, change)
        time.sleep(0.3 + attempt * 0.06)
        process.kill()
        process.communicate()
        found = everything(lake)
        assert found.equals(before) or found.equals(NEW)


def test_lock_of_a_killed_process_is_free(lake, change):
    process = start(lake, 1, change)
    process.communicate()
    assert process.returncode == -9
    assert lake.write_candles(OLD, "1m").added == OLD.height


FULL_DISK = """
import resource, sys
from pathlib import Path
from lab_pipeline.lake import Lake, LakeError
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
try:
    Lake(Path(sys.argv[1])).ingest_candles([Path(sys.argv[2])], "1m")
except LakeError as error:
    sys.exit(str(error))
"""


@pytest.mark.parametrize("limit", [5_000, 60_000], ids=["while spilling", "while staging"])
def test_full_disk_changes_nothing_and_says_so(lake, tmp_path, limit):
    lake.write_candles(OLD, "1m")
    before = files_of(lake)
    path = tmp_path / "large.parquet"
    candles([f"mint-{number}" for number in range(4)], 3000, price=1 / 3).write_parquet(path)
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, lake.root, path, str(limit)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"cannot write to the lake at {lake.root}: ")
    assert "File too large" in done.stderr
    assert "nothing was changed" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert files_of(lake) == before
    assert leftovers(lake) == set()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_directory_without_permission(lake):
    lake.root.mkdir()
    lake.root.chmod(0o500)
    with pytest.raises(LakeError, match="nothing was changed"):
        lake.write_candles(OLD, "1m")
