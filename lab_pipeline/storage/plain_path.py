"""Paths for libraries to which some characters in a path are special.

DuckDB takes `*`, `?` and `[` for patterns, `?` for the begin of options and a backslash for a slash; SQLAlchemy takes
`?` and `%` for parts of a URL. A directory may well be named so. This process then holds it open, and the library is
told where open files are.
"""

import os
import re
import threading
from pathlib import Path

from lab_pipeline.files.errors import StorageError

ODD = re.compile(r"[*?\[\]\\%{}]")
OPEN_FILES = Path("/proc/self/fd")

_held: dict[Path, int] = {}
_lock = threading.Lock()


def plain(path: Path | str) -> str:
    """Return a path to the same file without any character that means something; for this process alone.

    The last part of the path, which the lab names, stays as it is.

    Raises:
        StorageError: if the system has no such paths.
    """
    whole = Path(os.path.abspath(path))  # noqa: PTH100 - `absolute` leaves `..` in
    odd = next((parent for parent in whole.parents if ODD.search(parent.name)), None)
    if odd is None:
        return str(path)
    if not OPEN_FILES.is_dir():
        raise StorageError(f"{path}: name no directory with any of *?[]\\%{{}} here; set LAB_HOME elsewhere")
    if not odd.is_dir():
        return str(path)  # which the library will not find either
    with _lock:
        return str(OPEN_FILES / str(_opened(odd)) / whole.relative_to(odd))


def quoted(path: Path) -> str:
    """Write a path for a literal of DuckDB's SQL."""
    return plain(path).replace("'", "''")


def _opened(directory: Path) -> int:
    """Return the descriptor of a directory; another one if another directory has its name by now."""
    held = _held.get(directory)
    if held is None or not os.path.samestat(os.fstat(held), directory.stat()):
        _held[directory] = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return _held[directory]
