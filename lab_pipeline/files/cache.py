"""Copies of files that are elsewhere: as many bytes of them as a directory may have, the longest unused go first."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lab_pipeline.files.atomic import Sync, drafted, make_directory

IN_USE_SECONDS = 600.0
"""For which a file stays after somebody has asked for it: who has its path opens it by then, and may go on reading."""
SHARE_BETWEEN_LOOKS = 0.05
"""Of the limit, that a process may add before it looks again what there is: a look costs more the more there is."""


@dataclass
class FileCache:
    """Files under names that tell their content, so that what is there is right; any number of processes share it.

    Attributes:
        directory: of them, made when it is needed.
        most_bytes: that it may have; more only while it is in use, or by a twentieth a process.
    """

    directory: Path
    most_bytes: int
    _added: float = field(default=float("inf"), init=False, repr=False)

    def find(self, name: str, size: int) -> Path | None:
        """Return the path of a file, good for `IN_USE_SECONDS`, or None if it is not there in that size."""
        path = self.directory / name
        try:
            os.utime(path)  # it has been used
            return path if path.stat().st_size == size else None
        except FileNotFoundError:
            return None

    @contextmanager
    def adding(self, name: str) -> Iterator[Path]:
        """Yield where to write a file that is found under this name after the block, unless that raises an error."""
        make_directory(self.directory)
        path = self.directory / name
        with drafted(path, sync=Sync.CONTENT) as draft:
            yield draft
            size = draft.stat().st_size
        self._make_room(size)

    def take(self, source: Path, name: str) -> None:
        """Move a file here that is on the same disk."""
        make_directory(self.directory)
        size = source.stat().st_size
        source.replace(self.directory / name)
        self._make_room(size)

    def _make_room(self, added: int) -> None:
        self._added += added
        if self._added < SHARE_BETWEEN_LOOKS * self.most_bytes:
            return
        self._added = 0
        found = sorted(self._found())
        left = sum(size for _, size, _ in found) - self.most_bytes
        for used, size, path in found:
            if left <= 0 or used > time.time() - IN_USE_SECONDS:
                return
            Path(path).unlink(missing_ok=True)
            left -= size

    def _found(self) -> Iterator[tuple[float, int, str]]:
        with os.scandir(self.directory) as entries:
            for entry in entries:
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # another process has made room
                if entry.is_file(follow_symlinks=False):
                    yield status.st_mtime, status.st_size, entry.path
