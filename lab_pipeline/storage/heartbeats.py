"""Signs of life of Dagster's daemon, a small file for each part of it.

Eight parts write one every half minute, day and night. None of it has to survive a power cut, so it is not worth a
transaction each, which would also make everybody who has read the runs since the last one read them again.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dagster_shared.serdes.errors import DeserializationError

from lab_pipeline.files.atomic import Sync, write_whole
from lab_pipeline.storage.internals import DaemonHeartbeat, deserialize_value, serialize_value


@dataclass(frozen=True)
class Heartbeats:
    """The latest heartbeat of each part of a daemon.

    Attributes:
        directory: of the files; made with the first of them.
    """

    directory: Path

    def add(self, heartbeat: DaemonHeartbeat) -> None:
        """Keep a heartbeat in place of the one before it."""
        self.directory.mkdir(parents=True, exist_ok=True)
        write_whole(self.directory / heartbeat.daemon_type, serialize_value(heartbeat), sync=Sync.NOTHING)

    def all(self) -> dict[str, DaemonHeartbeat]:
        """Return the heartbeats by part; one that a power cut has torn is none."""
        found = {}
        for path in self._files():
            with suppress(FileNotFoundError, ValueError, DeserializationError):
                heartbeat = deserialize_value(path.read_text(), DaemonHeartbeat)
                found[heartbeat.daemon_type] = heartbeat
        return found

    def wipe(self) -> None:
        """Forget them."""
        for path in self._files():
            path.unlink(missing_ok=True)

    def _files(self) -> Iterator[Path]:
        if self.directory.is_dir():
            yield from (path for path in self.directory.iterdir() if not path.name.startswith("."))
