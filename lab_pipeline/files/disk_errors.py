"""What a disk does to those who write to it, in words that say what to do."""

import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

from lab_pipeline.files.sqlite_damage import damaged_files

FULL_BELOW_BYTES = 2**20
"""Free bytes under which a disk is full: SQLite alone asks for files of 32 KiB beside each that it opens."""

_OF_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
_FULL = re.compile(r"No space left on device|disk is full|Disk quota exceeded", re.IGNORECASE)
_TOO_LARGE = re.compile(r"File too large", re.IGNORECASE)
_READ_ONLY = re.compile(r"Read-only file system|readonly database", re.IGNORECASE)
_FORBIDDEN = re.compile(r"Permission denied|Operation not permitted", re.IGNORECASE)
# SQLite says no more than this, whatever the reason; the disk has to be asked.
_MALFORMED = re.compile(r"file is not a database|database disk image is malformed", re.IGNORECASE)
_VAGUE = re.compile(r"disk I/O error|unable to open database file|Input/output error", re.IGNORECASE)


def is_of_disk(error: OSError) -> bool:
    """Return whether the next file that is written to the disk would meet the same."""
    return error.errno in _OF_DISK


def system_trouble(error: BaseException, home: Path) -> str | None:
    """Say of a command what the system did, the disk of the home or the file that the output goes to.

    Returns:
        One line; None if the error is about something else.
    """
    if isinstance(error, OSError) and error.filename is None and error.errno == errno.ENOSPC and not is_full(home):
        return f"{error.strerror}: output"  # of a command that was sent into a file
    reason = disk_error(error, home)
    if reason is None and isinstance(error, OSError):
        return f"{error.strerror or error}: {error.filename or 'output'}"
    return reason


def disk_error(error: BaseException, home: Path) -> str | None:
    """Say what the disk did, and what to do about it, if that is what is behind an error.

    Args:
        error: and what it was raised from: libraries wrap the system's error, or keep only its text.
        home: the directory that was written to, if the error itself names no file.

    Returns:
        One line; None if the error is about something else.
    """
    for one in _chain(error):
        said = _said(str(one), _place(one) or home)
        if said is not None:
            return said
        if _MALFORMED.search(str(one)):
            return next(damaged_files(home), None)
    return None


def _said(text: str, place: Path) -> str | None:
    vague = _VAGUE.search(text)
    if _FULL.search(text) or (vague and is_full(place)):
        return f"{full_disk(place)}, then do it again"
    if (found := _READ_ONLY.search(text)) or (vague and not is_writable(place)):
        words = (found or vague or [""])[0]
        return f"{place} cannot be written ({words}): make it writable for this user, or set LAB_HOME elsewhere"
    if found := _FORBIDDEN.search(text):
        return f"no permission for {place} ({found[0]}): give it to this user, or set LAB_HOME elsewhere"
    if found := _TOO_LARGE.search(text):
        return f"a file at {place} may not grow ({found[0]}): raise the limit (`ulimit -f`), then do it again"
    return None


def _place(error: BaseException) -> Path | None:
    """Return the file that an error of the system names; of two, the one that was to be made."""
    for name in (error.filename2, error.filename) if isinstance(error, OSError) else ():
        if isinstance(name, str | Path) and name:
            return Path(name)
    return None


def full_disk(place: Path) -> str:
    """Say of a disk that it is full, and what helps."""
    return f"the disk of {place} is full ({_free_bytes(place):,} bytes free now): make room"


def is_full(path: Path) -> bool:
    """Return whether the disk of a path has no room left."""
    return _free_bytes(path) < FULL_BELOW_BYTES


def is_writable(path: Path) -> bool:
    """Return whether this process may write at a path, or where it would be made."""
    return os.access(_existing(path), os.W_OK)


def _free_bytes(path: Path) -> int:
    status = os.statvfs(_existing(path))
    return status.f_bavail * status.f_frsize


def _existing(path: Path) -> Path:
    return next(one for one in (path, *path.absolute().parents) if one.exists())


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it was raised from or wraps, outermost first."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
