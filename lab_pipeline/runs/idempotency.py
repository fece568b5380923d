"""One run for one idempotency key, however often and by how many at once it is asked for."""

import hashlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lab_pipeline.domain.backtest import now
from lab_pipeline.domain.errors import ConflictError, LabError
from lab_pipeline.files.locks import locked
from lab_pipeline.runs.queries import sql
from lab_pipeline.storage.catalog_file import open_catalog, record_layout
from lab_pipeline.storage.duck_file import DuckFile

LOCKS = 64
"""Lock files; keys that share one only wait for one another."""
LOCK_SECONDS = 60.0


class IdempotencyBusyError(LabError):
    """Another request of the same key takes too long."""


@dataclass(frozen=True)
class Reservation:
    """What is known of a key.

    Attributes:
        run_id: of the run that was launched; None if a launch was begun and its end is not known.
        reserved_at: when the launch began.
    """

    run_id: str | None
    reserved_at: datetime

    @property
    def age(self) -> timedelta:
        """How long ago the launch began."""
        return datetime.now(UTC) - self.reserved_at


@dataclass(frozen=True)
class IdempotencyKeys:
    """The keys that clients have used, in the lab's catalog."""

    catalog: Path

    def once(self, key: str, request: bytes, launch: Callable[[Reservation | None], str]) -> str:
        """Return the run of a key; launch it if there is none yet.

        Requests of one key, from any process, wait for one another. A launch that failed leaves the key free; after one
        that was cut off, the next one gets that error and has to find out what became of it.

        Args:
            key: as the client chose it.
            request: canonical bytes of what is asked for.
            launch: given what is left of a launch that was cut off, returns a run id. A `LaunchUnknownError` of its
                keeps the key reserved, every other error frees it.

        Raises:
            ConflictError: if the key was used for another request.
            IdempotencyBusyError: if others take too long.
        """
        wanted = hashlib.sha256(request).hexdigest()
        with self._alone(key):
            found = self._reserve(key, wanted)
            if found is not None:
                request_hash, reservation = found
                if request_hash != wanted:
                    raise ConflictError("the idempotency key was used before, for another request")
                if reservation.run_id is not None:
                    return reservation.run_id
            try:
                run_id = launch(None if found is None else found[1])
            except LaunchUnknownError:
                raise
            except BaseException:
                self._free(key)
                raise
            self._complete(key, run_id)
            return run_id

    def forget(self, run_id: str) -> None:
        """Free the keys of a run that is deleted."""
        with self._file().transaction(write=True) as connection:
            connection.execute("DELETE FROM idempotency_keys WHERE run_id = ?", [run_id])

    def forget_all_but(self, run_ids: Collection[str]) -> None:
        """Free the keys of runs that are not among these, as where a backup has the keys of later ones."""
        with self._file().transaction(write=True) as connection:
            connection.execute(
                "DELETE FROM idempotency_keys WHERE run_id IS NOT NULL AND NOT list_contains(?::VARCHAR[], run_id)",
                [list(run_ids)],
            )

    def _reserve(self, key: str, request_hash: str) -> tuple[str, Reservation] | None:
        """Reserve a key unless it has a run or stands for another request; return what was known of it, if anything."""
        with self._file().transaction(write=True) as connection:
            rows = connection.execute(
                "SELECT request_hash, run_id, reserved_at FROM idempotency_keys WHERE key = ?", [key]
            )
            found = (rows[0][0], Reservation(rows[0][1], rows[0][2].replace(tzinfo=UTC))) if rows else None
            if found is None or (found[0] == request_hash and found[1].run_id is None):
                connection.execute(
                    "INSERT INTO idempotency_keys VALUES (?, ?, NULL, ?) "
                    "ON CONFLICT (key) DO UPDATE SET reserved_at = excluded.reserved_at",
                    [key, request_hash, now().replace(tzinfo=None)],
                )
        return found

    def _complete(self, key: str, run_id: str) -> None:
        with self._file().transaction(write=True) as connection:
            connection.execute("UPDATE idempotency_keys SET run_id = ? WHERE key = ?", [run_id, key])

    def _free(self, key: str) -> None:
        with self._file().transaction(write=True) as connection:
            connection.execute("DELETE FROM idempotency_keys WHERE key = ?", [key])

    def _file(self) -> DuckFile:
        file = open_catalog(self.catalog)
        if file.path not in _prepared or not file.path.exists():
            file.path.parent.mkdir(parents=True, exist_ok=True)
            with file.transaction(write=True) as connection:
                record_layout(connection, file.path)
                connection.execute(sql("create_idempotency_keys"))
            _prepared.add(file.path)
        return file

    @contextmanager
    def _alone(self, key: str) -> Iterator[None]:
        """Hold the key's lock, which dies with the process."""
        directory = self.catalog.parent / "locks"
        directory.mkdir(parents=True, exist_ok=True)
        number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4]) % LOCKS
        try:
            with locked(directory / f"idempotency-{number}.lock", timeout_seconds=LOCK_SECONDS):
                yield
        except TimeoutError:
            raise IdempotencyBusyError("another request with this idempotency key is still being worked on") from None


class LaunchUnknownError(LabError):
    """The run may or may not have been launched: whoever was asked did not answer."""


_prepared: set[Path] = set()
"""Catalogs that this process has seen to have the table."""
