"""Whatever wraps what the system said, the user reads what the disk did, where, and what to do."""

import errno
import sqlite3
from pathlib import Path

import duckdb
import pytest
from sqlalchemy.exc import OperationalError

from lab_pipeline.files import disk_errors
from lab_pipeline.files.disk_errors import disk_error


def wrapped(cause: BaseException) -> BaseException:
    """Return an error that was raised from another, as libraries do."""
    outer = ValueError("something went wrong")
    outer.__cause__ = cause
    return outer


def sqlite(text: str) -> BaseException:
    return wrapped(OperationalError("SELECT 1", {}, sqlite3.OperationalError(text)))


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        duckdb.IOException('IO Error: Could not write file "x.wal": No space left on device'),
        sqlite("database or disk is full"),
    ],
)
def test_a_full_disk_is_named_with_its_room(error: BaseException, tmp_path: Path) -> None:
    said = disk_error(wrapped(error), tmp_path)
    assert said is not None
    assert said.startswith(f"the disk of {tmp_path} is full (")
    assert said.endswith("make room, then do it again")


@pytest.mark.parametrize("text", ["disk I/O error", "unable to open database file"])
def test_what_sqlite_leaves_open_is_asked_of_the_disk(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert disk_error(sqlite(text), tmp_path) is None
    monkeypatch.setattr(disk_errors, "is_writable", lambda _: False)
    said = disk_error(sqlite(text), tmp_path)
    assert said == f"{tmp_path} cannot be written ({text}): make it writable for this user, or set LAB_HOME elsewhere"
    monkeypatch.setattr(disk_errors, "_free_bytes", lambda _: 4096)
    assert "is full (4,096 bytes free now)" in (disk_error(sqlite(text), tmp_path) or "")


def test_of_a_copy_the_file_is_named_that_was_to_be_made(tmp_path: Path) -> None:
    error = OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "from"), None, str(tmp_path / "to"))
    assert f"the disk of {tmp_path / 'to'} is full" in (disk_error(error, Path("/elsewhere")) or "")


def test_forbidden_files_and_read_only_disks_are_told_apart(tmp_path: Path) -> None:
    forbidden = disk_error(PermissionError(errno.EACCES, "Permission denied", str(tmp_path)), tmp_path)
    assert forbidden is not None
    assert forbidden.startswith(f"no permission for {tmp_path} (Permission denied): give it to this user")
    read_only = disk_error(OSError(errno.EROFS, "Read-only file system", str(tmp_path)), tmp_path)
    assert read_only is not None
    assert read_only.startswith(f"{tmp_path} cannot be written")


def test_other_errors_are_not_explained_by_the_disk(tmp_path: Path) -> None:
    assert disk_error(ValueError("no such column"), tmp_path) is None
    unrelated = KeyError("its own reason")
    unrelated.__context__ = OSError(errno.ENOSPC, "No space left on device")
    assert disk_error(unrelated, tmp_path) is not None
    unrelated.__suppress_context__ = True  # what `raise ... from None` does
    assert disk_error(unrelated, tmp_path) is None
