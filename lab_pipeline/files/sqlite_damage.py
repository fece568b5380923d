"""Which of Dagster's SQLite files is damaged, what is lost with it, and what goes on."""

import struct
from collections.abc import Iterator
from pathlib import Path

MAGIC = b"SQLite format 3\0"
PAGE_SIZE = struct.Struct(">H")
PAGES = struct.Struct(">I")
HEAD_BYTES = 100
_HOLDS = {
    "index.db": "the index of all events (what was materialised when); runs and their own events lie elsewhere",
    "schedules.db": "which schedules and sensors are on, their cursors and their ticks",
}


def damaged_files(directory: Path) -> Iterator[str]:
    """Say of each damaged SQLite file under a directory what is lost and what brings it back, by their heads alone."""
    for path in sorted(directory.rglob("*.db")):
        if reason := _damage(path):
            held = _HOLDS.get(path.name, f"the events of run {path.stem}; what was shipped of its log is in ClickHouse")
            yield (
                f"{path} is damaged ({reason}), and with it {held}. `lab restore` brings it back from a backup; to "
                f"begin a new one without it, with nothing of the lab running: rm -f '{path}' '{path}-wal' '{path}-shm'"
            )


def _damage(path: Path) -> str | None:
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        return None  # a new one, which SQLite fills
    if not head.startswith(MAGIC) or len(head) < HEAD_BYTES:
        return "no SQLite database any more"
    (page_size,), (pages,) = PAGE_SIZE.unpack_from(head, 16), PAGES.unpack_from(head, 28)
    expected = (65536 if page_size == 1 else page_size) * pages
    size = path.stat().st_size
    return f"{size:,} of {expected:,} bytes" if size < expected and not _has_log(path) else None


def _has_log(path: Path) -> bool:
    """Return whether the end of the file may still be in its write-ahead log."""
    log = path.with_name(f"{path.name}-wal")
    return log.exists() and log.stat().st_size > 0
