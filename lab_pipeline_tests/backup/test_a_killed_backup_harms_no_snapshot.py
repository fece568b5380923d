"""`kill -9` of a backup at any moment: what was there before is whole, and the next one goes on."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab_pipeline.backup import Repository
from lab_pipeline.backup.restoring import restoring
from lab_pipeline.operations.backup import take_backup
from lab_pipeline.settings import load_settings

KILLS = 16
# Forks a process for every line it reads, which takes one backup after the other of a home that it changes.
NURSERY = """
import os, sys
from pathlib import Path
from lab_pipeline.operations.backup import take_backup
from lab_pipeline.settings import load_settings

settings, directory = load_settings(), Path(sys.argv[1])
print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        while True:
            (settings.home / "notes").write_bytes(os.urandom(3_000_000))
            take_backup(settings, directory, keep=5)
    print(child, flush=True)
"""


@pytest.mark.long
def test_snapshots_are_whole_however_backups_are_killed(tmp_path, monkeypatch):
    home, directory = tmp_path / "home", tmp_path / "backup"
    monkeypatch.setenv("LAB_HOME", str(home))
    monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))
    for number in range(50):
        path = home / "lake" / "calls" / f"part-{number}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(10_000))
    settings = load_settings()
    assert take_backup(settings, directory).snapshot.files  # one there is from the beginning
    repository, chance = Repository(directory), random.Random(7)  # noqa: S311
    command = [sys.executable, "-c", NURSERY, str(directory)]
    seen = set()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as nursery:
        assert nursery.stdout.readline() == "ready\n"
        for kill in range(KILLS):
            before = repository.snapshots()[-1]
            nursery.stdin.write("\n")
            nursery.stdin.flush()
            child = int(nursery.stdout.readline())
            while kill % 2 and repository.snapshots()[-1] == before:
                time.sleep(0.01)
            time.sleep(chance.uniform(0, 1.5))
            os.kill(child, signal.SIGKILL)
            while is_alive(child):
                time.sleep(0.01)
            assert repository.damage() == []
            assert repository.snapshots()
            seen |= set(repository.snapshots())
        nursery.kill()
    assert len(seen) > KILLS / 2
    last = take_backup(settings, directory)
    with restoring(repository, repository.read(last.name), tmp_path / "back"):
        pass
    for path in (home / "lake").rglob("part-*"):
        assert (tmp_path / "back" / path.relative_to(home)).read_bytes() == path.read_bytes()
    assert not list((directory / ".drafts").iterdir())


def is_alive(pid):
    """Return whether a process lives; one that only its parent has not collected yet does not."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
