"""What is lost with a shared DuckDB file that is damaged or gone, and what brings it back."""

import re
import struct
from pathlib import Path

from lab_pipeline.files.atomic import write_whole

_HOLDS = {
    "runs.duckdb": "the record of all runs; their artifacts, events and log lines lie elsewhere",
    "catalog.duckdb": (
        "the strategies stored by command or API, idempotency keys, the statistics, what deleted sweeps and backtests "
        "have tried, and who has looked at a holdout"
    ),
}
_DAMAGED = re.compile(
    r"not a valid DuckDB database|Could not read enough bytes|Could not read all data|checksum|[Cc]orrupt|deserializ"
    r"|Serialization Error|replaying WAL|WAL file|is truncated|invalid magic|Unknown .*magic|INTERNAL Error",
)


def is_damage(error: BaseException) -> bool:
    """Return whether an error of DuckDB says that a file is not what it was when it was written."""
    return _DAMAGED.search(str(error)) is not None


def damaged(path: Path, reason: str) -> str:
    """Say of a file that it cannot be read any more."""
    return f"{path} is damaged, and with it {_held(path)} ({reason}). {_remedy(path)}"


def lost(path: Path) -> str:
    """Say of a file that it was there and is not."""
    return f"{path} is lost, and with it {_held(path)}. {_remedy(path)}"


def _held(path: Path) -> str:
    return _HOLDS.get(path.name, "what was stored in it")


def _remedy(path: Path) -> str:
    if path.name not in _HOLDS:
        return "Put a sound copy in its place, or name another file"
    return (
        "`lab restore` brings it back from a backup; to begin a new one without it, with nothing of the lab running: "
        f"rm -f '{path}' '{path}.wal' '{path}.lock'"
    )


_TORN_ENTRY = re.compile(r"Corrupt WAL file: entry at byte position (\d+)")
_ENTRY_HEAD = struct.Struct("<QQ")  # bytes that follow, checksum; the position that is named is that of the bytes


def repair_log(log: Path, error: BaseException) -> bool:
    """Cut off what a power cut left of a write-ahead log's last entry, and tell whether that was the damage.

    An entry that ends in zeros, with nothing but zeros behind it, was being written: no one has been told that its
    transaction is stored. What is cut off stays beside the log. The caller holds the lock exclusively.
    """
    found = _TORN_ENTRY.search(str(error))
    if found is None:
        return False
    start, content = int(found.group(1)) - _ENTRY_HEAD.size, log.read_bytes()
    if start >= len(content):
        return True  # another process was quicker
    size, _ = _ENTRY_HEAD.unpack_from(content, start)
    end, zeros_from = start + _ENTRY_HEAD.size + size, len(content.rstrip(b"\0"))
    if not zeros_from < end <= len(content):
        return False
    write_whole(log.with_name(f"{log.name}.torn"), content[start:])
    write_whole(log, content[:start])
    return True
