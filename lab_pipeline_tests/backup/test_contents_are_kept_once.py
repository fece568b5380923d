"""The directory of a backup: what is in it is whole, is there once, and comes back only as it was."""

import io
import json
import os
from datetime import UTC, datetime

import pytest
from blake3 import blake3

from lab_pipeline.backup import BackupError, DamagedBackupError, FileEntry, Repository, Snapshot
from lab_pipeline.backup.repository import LAYOUT, MARK, OBJECT_BYTES, path_of, text_of
from lab_pipeline.backup.restoring import restoring

MOMENT = datetime(2026, 3, 1, 12, tzinfo=UTC)
CONTENTS = {"lake/calls/part-1.parquet": b"calls" * 1000, "a b/c": b"", "large": os.urandom(OBJECT_BYTES + 1)}


def snapshot_of(repository, contents):
    files = []
    for path, content in contents.items():
        objects, count = repository.add(io.BytesIO(content))
        files.append(FileEntry(path=text_of(path), bytes=count, mtime_ns=10**18, objects=objects))
    return Snapshot(layout=LAYOUT, lab_version="1", created_at=MOMENT, runs=0, files=tuple(files))


def kept(directory, contents=CONTENTS):
    repository = Repository(directory)
    with repository.writing():
        return repository.add_snapshot(snapshot_of(repository, contents)), sum(repository.written.values())


def restored(directory, home, name=None):
    repository = Repository(directory)
    with restoring(repository, repository.read(repository.find(name)), home):
        pass
    return {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()}


def test_what_is_there_is_not_written_again(tmp_path):
    directory = tmp_path / "new" / "backup"
    first, written = kept(directory)
    assert written == sum(map(len, CONTENTS.values()))
    changed = CONTENTS | {"large": CONTENTS["large"][:-1] + b"!", "again": CONTENTS["large"]}
    second, written = kept(directory, changed)
    assert written == 1  # of the large one, the second part only
    assert Repository(directory).snapshots() == [first, second]
    assert restored(directory, tmp_path / "one", first) == CONTENTS
    assert restored(directory, tmp_path / "two") == changed


def test_files_come_back_with_their_times_and_for_their_owner_only(tmp_path):
    kept(tmp_path / "backup")
    restored(tmp_path / "backup", tmp_path / "home")
    for top in (tmp_path / "backup", tmp_path / "home"):
        assert top.stat().st_mode & 0o777 == 0o700
        for path in top.rglob("*"):
            assert path.stat().st_mode & 0o077 == 0
    assert (tmp_path / "home" / "a b" / "c").stat().st_mtime_ns == 10**18


def test_an_empty_directory_may_become_the_home(tmp_path):
    kept(tmp_path / "backup")
    (tmp_path / "home").mkdir()
    assert restored(tmp_path / "backup", tmp_path / "home") == CONTENTS


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def change(path):
    path.write_bytes(b"!" + path.read_bytes()[1:])


@pytest.mark.parametrize("harm", [cut, change, os.unlink])
def test_a_content_that_was_harmed_is_named_and_nothing_is_restored(tmp_path, harm):
    name, _ = kept(tmp_path / "backup")
    harmed = blake3(CONTENTS["large"][OBJECT_BYTES:]).hexdigest()
    path = tmp_path / "backup" / "objects" / harmed[:2] / harmed
    harm(path)
    with pytest.raises(DamagedBackupError, match=f"{path} is .* and large needs it: nothing was restored"):
        restored(tmp_path / "backup", tmp_path / "home")
    assert {one.name for one in tmp_path.iterdir()} == {"backup"}
    (problem,) = Repository(tmp_path / "backup").damage()
    assert problem.startswith(str(path))
    assert problem.endswith(f"part of large in {name}")
    path.unlink(missing_ok=True)
    kept(tmp_path / "backup")  # the next backup writes it again
    assert restored(tmp_path / "backup", tmp_path / "home", name) == CONTENTS


@pytest.mark.parametrize("harm", [cut, change])
def test_a_snapshot_that_was_harmed_is_named(tmp_path, harm):
    name, _ = kept(tmp_path / "backup")
    path = tmp_path / "backup" / "snapshots" / f"{name}.json"
    harm(path)
    with pytest.raises(DamagedBackupError, match=f"{path} is cut or changed"):
        restored(tmp_path / "backup", tmp_path / "home")
    assert Repository(tmp_path / "backup").damage() == [
        f"{path} is cut or changed: restore from another snapshot (`--snapshot`)"
    ]
    assert not (tmp_path / "home").exists()


def forge(directory, document):
    """Put a snapshot into a backup whose name fits what is in it."""
    content = json.dumps(document).encode()
    name = f"000009-20260301T120000Z-{blake3(content).hexdigest()[:16]}"
    (directory / "snapshots" / f"{name}.json").write_bytes(content)


@pytest.mark.parametrize(
    "path",
    [
        "../out",
        "a/../../out",
        "/etc/out",
        "a//b",
        "./a",
        "",
        ".",
        "..",
        "%2E%2E/out",
        "a%2Fb",
        "nul%00",
        "%",
        "%zz",
        "%41",
    ],
)
def test_no_path_of_a_snapshot_leads_out_of_the_home(tmp_path, path):
    kept(tmp_path / "backup")
    file = {"path": path, "bytes": 0, "mtime_ns": 0, "objects": []}
    forge(tmp_path / "backup", {"layout": 1, "lab_version": "1", "created_at": "2026-03-01T12:00:00Z", "runs": 0,
                                "files": [file]})  # fmt: skip
    with pytest.raises(DamagedBackupError, match="is not valid"):
        restored(tmp_path / "backup", tmp_path / "home")


@pytest.mark.parametrize("paths", [("a", "a"), ("a", "a/b"), ("a/b", "a")])
def test_files_that_exclude_one_another_are_refused(tmp_path, paths):
    kept(tmp_path / "backup")
    files = [{"path": path, "bytes": 0, "mtime_ns": 0, "objects": []} for path in paths]
    forge(tmp_path / "backup", {"layout": 1, "lab_version": "1", "created_at": "2026-03-01T12:00:00Z", "runs": 0,
                                "files": files})  # fmt: skip
    with pytest.raises(DamagedBackupError, match="comes twice, or is a directory as well"):
        restored(tmp_path / "backup", tmp_path / "home")
    assert not (tmp_path / "home").exists()


def test_a_later_layout_is_left_alone(tmp_path):
    kept(tmp_path / "backup")
    forge(tmp_path / "backup", {"layout": LAYOUT + 1, "new": "field"})
    with pytest.raises(BackupError, match=r"written in layout 2 by a later version"):
        restored(tmp_path / "backup", tmp_path / "home")
    (tmp_path / "backup" / MARK).write_text('{"layout": 2}')
    with pytest.raises(BackupError, match=r"written in layout 2 by a later version"):
        kept(tmp_path / "backup")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"layout": "one"}'])
def test_a_damaged_mark_is_named(tmp_path, text):
    kept(tmp_path / "backup")
    (tmp_path / "backup" / MARK).write_text(text)
    with pytest.raises(DamagedBackupError, match=f"{MARK} is damaged"):
        kept(tmp_path / "backup")


def test_a_directory_with_other_files_stays_as_it_is(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.jpg").touch()
    with pytest.raises(BackupError, match="has files that are no backup"):
        kept(tmp_path / "photos")
    assert len(list((tmp_path / "photos").iterdir())) == 1
    with pytest.raises(BackupError, match="is not a directory"):
        kept(tmp_path / "photos" / "one.jpg")
    with pytest.raises(BackupError, match="there is no backup in"):
        restored(tmp_path / "photos", tmp_path / "home")


def test_one_at_a_time_writes(tmp_path):
    with Repository(tmp_path / "backup").writing(), pytest.raises(BackupError, match="another backup is being written"):
        kept(tmp_path / "backup")
    kept(tmp_path / "backup")


def test_a_home_with_anything_in_it_is_left_alone(tmp_path):
    kept(tmp_path / "backup")
    (tmp_path / "home" / "lake").mkdir(parents=True)
    with pytest.raises(BackupError, match="is not empty"):
        restored(tmp_path / "backup", tmp_path / "home")
    assert list((tmp_path / "home" / "lake").iterdir()) == []


def test_what_a_killed_restore_left_does_no_harm(tmp_path):
    kept(tmp_path / "backup")
    draft = tmp_path / ".home.restoring"
    (draft / "lake" / "calls").mkdir(parents=True)
    (draft / "lake" / "calls" / "part-2.parquet").touch()
    (draft / "elsewhere").symlink_to(tmp_path)
    assert restored(tmp_path / "backup", tmp_path / "home") == CONTENTS
    assert not draft.exists()


def test_only_the_newest_snapshots_are_kept_with_what_they_need(tmp_path):
    names = [kept(tmp_path / "backup", CONTENTS | {"new": bytes([number]) * 9})[0] for number in range(4)]
    repository = Repository(tmp_path / "backup")
    with repository.writing():
        assert repository.keep(2) == 18
    assert repository.snapshots() == names[2:]
    assert repository.damage() == []
    assert restored(tmp_path / "backup", tmp_path / "home", names[2]) == CONTENTS | {"new": bytes([2]) * 9}


def test_a_snapshot_is_found_by_the_start_of_its_name(tmp_path):
    first, second = kept(tmp_path / "backup")[0], kept(tmp_path / "backup")[0]
    repository = Repository(tmp_path / "backup")
    assert repository.find("000001") == first
    assert repository.find(None) == second
    for start, said in (("0000", "2 snapshots begin"), ("7", "no snapshot begins")):
        with pytest.raises(BackupError, match=said):
            repository.find(start)


@pytest.mark.parametrize("name", [b"caf\xc3\xa9", b"M\xfcnchen", b"100%", b"%FC", b"new\nline", b"\x1b[31m"])
def test_every_name_of_a_file_comes_back(tmp_path, name):
    path = os.fsdecode(name)
    assert path_of(text_of(path)) == path
    kept(tmp_path / "backup", {path: b"x"})
    assert restored(tmp_path / "backup", tmp_path / "home") == {path: b"x"}
