"""What is there after a process was killed while it published or deleted a sweep."""

import signal
import subprocess
import sys

import pytest

from lab_pipeline.storage.duck_file import DuckFile
from lab_pipeline_tests.support.sweeps import publish_sweep, sweeps_of

# Publishes a sweep, or deletes it, and dies where a step of it would begin, or when it has moved the directory.
DYING = """
import os, signal, sys
from pathlib import Path
from lab_pipeline.runs import artifact_storage
from lab_pipeline.sweeps import store
from lab_pipeline_tests.support.sweeps import publish_sweep, sweeps_of

home, deed, step = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
move = artifact_storage.move
def die(*paths):
    if step == "moved":
        move(*paths)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(store if step == "write_text" else artifact_storage, "move" if step == "moved" else step, die)
publish_sweep(home, "one") if deed == "publish" else sweeps_of(home).delete("one")
"""


def die(home, deed, step):
    ended = subprocess.run([sys.executable, "-c", DYING, str(home), deed, step], check=False, timeout=120)
    assert ended.returncode == -signal.SIGKILL


def listed(home):
    with DuckFile.at(home / "catalog.duckdb").transaction(write=False) as connection:
        there = connection.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = 'sweeps'")
        return [row[0] for row in connection.execute("SELECT run_id FROM sweeps")] if there else []


@pytest.mark.parametrize("step", ["write_text", "sync_directory", "move"])
def test_a_sweep_that_was_not_published_can_be_published_again(tmp_path, step):
    die(tmp_path, "publish", step)
    store = sweeps_of(tmp_path)
    assert store.sweep_ids() == []
    assert store.damage() == []
    assert store.leftovers() > 0
    publish_sweep(tmp_path, "one")
    assert (store.sweep_ids(), store.leftovers(), listed(tmp_path)) == (["one"], 0, ["one"])
    assert store.trials.tried("mine").trials == 2  # none counts twice


def test_a_sweep_that_was_published_is_listed_when_somebody_looks(tmp_path):
    die(tmp_path, "publish", "moved")
    store = sweeps_of(tmp_path)
    assert (store.sweep_ids(), store.damage(), listed(tmp_path)) == (["one"], [], [])
    assert store.trials.tried("mine").trials == 2
    store.catch_up()
    assert listed(tmp_path) == ["one"]


@pytest.mark.parametrize(("step", "there"), [("move", True), ("moved", False)])
def test_a_deletion_that_was_cut_off_has_happened_or_not(tmp_path, step, there):
    publish_sweep(tmp_path, "one")
    die(tmp_path, "delete", step)
    store = sweeps_of(tmp_path)
    assert (store.has("one"), store.damage()) == (there, [])
    store.delete("one")
    store.catch_up()
    assert (store.sweep_ids(), listed(tmp_path)) == ([], [])
    assert store.trials.tried("mine").trials == 2
