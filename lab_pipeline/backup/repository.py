"""The directory of a backup: contents by their hash, and snapshots that say which contents make which file.

A content is named by its BLAKE3 hash and never changes; a snapshot's name has the hash of its own bytes. A content gets
its name when the disk has it, a snapshot when the disk has all of its contents. So whatever is killed when, what bears
a name is whole, and a backup that was cut off leaves contents that the next one need not write again.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO, Annotated
from urllib.parse import unquote_to_bytes

from blake3 import blake3
from pydantic import AfterValidator, Field, ValidationError

from lab_pipeline.backup.errors import BackupError, DamagedBackupError
from lab_pipeline.domain.backtest import Moment
from lab_pipeline.domain.errors import later_layout
from lab_pipeline.domain.model import Record, field_errors
from lab_pipeline.files.atomic import PRIVATE, Sync, sync_directory, write_whole
from lab_pipeline.files.locks import try_lock

LAYOUT = 1
"""Of the directory: names, contents, snapshots."""
MARK = "lab-backup.json"
OBJECTS, SNAPSHOTS, DRAFTS, LOCK = "objects", "snapshots", ".drafts", ".lock"
OBJECT_BYTES = 1 << 20
"""Of a content at most: of a database that has grown, only the parts that have changed are written again."""
SNAPSHOT_NAME = re.compile(r"(?P<number>\d{6,})-(?P<time>\d{8}T\d{6}Z)-(?P<hash>[0-9a-f]{16})")
PRIVATE_DIRECTORY = 0o700

Progress = Callable[[int, int], None]
State = tuple[int, int, int, int]
"""What changes when a file does: inode, size, and the times of its last modification and change in nanoseconds."""


def text_of(path: str) -> str:
    r"""Write a path as text: a percent sign, and each byte that is not UTF-8, in hexadecimal.

    >>> text_of(os.fsdecode(b"inbox/M\xfcnchen 5%.csv"))
    'inbox/M%FCnchen 5%25.csv'
    """
    return "".join(f"%{ord(c) & 0xFF:02X}" if c == "%" or "\udc80" <= c <= "\udcff" else c for c in path)


def path_of(text: str) -> str:
    """Return the path that a text stands for."""
    return os.fsdecode(unquote_to_bytes(text))


def _inside(text: str) -> str:
    path = path_of(text)
    pure = PurePosixPath(path)
    if text_of(path) != text or str(pure) != path or pure.is_absolute() or not pure.parts or ".." in pure.parts:
        raise ValueError(f"{text!r} is no path inside a home")
    if "\0" in path:
        raise ValueError(f"{text!r} is no path")
    return text


class FileEntry(Record):
    """A file of a snapshot."""

    path: Annotated[str, AfterValidator(_inside)]
    """Below the home, as `text_of` writes it."""
    bytes: Annotated[int, Field(ge=0)]
    mtime_ns: int
    objects: tuple[Annotated[str, Field(pattern="^[0-9a-f]{64}$")], ...]
    """Hashes of its contents, in their order."""
    states: tuple[State, ...] = ()
    """Of what it was read from: while they are the same, the next backup need not read it. Empty if it must."""


class Snapshot(Record):
    """A home at one time."""

    layout: Annotated[int, Field(ge=1, le=LAYOUT)]
    lab_version: str
    created_at: Moment
    runs: int
    """On record."""
    files: tuple[FileEntry, ...]
    artifacts: Annotated[str | None, Field(exclude_if=lambda artifacts: artifacts is None)] = None
    """Address of the bucket that has what runs and sweeps published; none if the files do."""

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(file.bytes for file in self.files)


@dataclass
class Repository:
    """A directory with backups.

    Attributes:
        directory: where it is.
        written: contents that were written through this object, and their bytes.
    """

    directory: Path
    written: dict[str, int] = field(default_factory=dict)
    _known: set[str] = field(default_factory=set)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the one who writes; the directory is made if it is not there.

        Raises:
            BackupError: if another process writes, or the directory holds something else.
        """
        self._prepare()
        descriptor = os.open(self.directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
        try:
            if not try_lock(descriptor):
                raise BackupError(f"another backup is being written to {self.directory}: wait for its end")
            shutil.rmtree(self.directory / DRAFTS, ignore_errors=True)
            (self.directory / DRAFTS).mkdir(mode=PRIVATE_DIRECTORY)
            self._known = {path.name for path in self._objects()}
            yield
        finally:
            os.close(descriptor)

    @property
    def drafts(self) -> Path:
        """Where whoever is writing may put what need not last."""
        return self.directory / DRAFTS

    def has(self, objects: Collection[str]) -> bool:
        """Return whether all of these contents are there; only for whoever is writing."""
        return self._known.issuperset(objects)

    def add(self, file: IO[bytes]) -> tuple[tuple[str, ...], int]:
        """Read a file to its end, keep what is new of it, and return its contents and their bytes."""
        objects, total = [], 0
        while part := file.read(OBJECT_BYTES):
            name = blake3(part).hexdigest()
            if name not in self._known:
                self._write(name, part)
            objects.append(name)
            total += len(part)
        return tuple(objects), total

    def add_snapshot(self, snapshot: Snapshot) -> str:
        """Keep a snapshot, all of whose contents were added, and return its name."""
        for directory in ((self.directory / OBJECTS), *(self.directory / OBJECTS).iterdir()):
            sync_directory(directory)  # of those, too, that a killed backup has written to
        content = snapshot.model_dump_json().encode()
        numbers = [int(_parts(name)["number"]) for name in self.snapshots()]
        when = snapshot.created_at.strftime("%Y%m%dT%H%M%SZ")
        name = f"{max(numbers, default=0) + 1:06}-{when}-{blake3(content).hexdigest()[:16]}"
        self._write_whole(self._snapshot(name), content)
        sync_directory(self.directory / SNAPSHOTS)
        return name

    def snapshots(self) -> list[str]:
        """List the snapshots, oldest first.

        Raises:
            BackupError: if there is no backup in the directory, or one of a later version.
        """
        self._require_known()
        names = [
            path.stem for path in (self.directory / SNAPSHOTS).glob("*.json") if SNAPSHOT_NAME.fullmatch(path.stem)
        ]
        return sorted(names, key=lambda name: (int(_parts(name)["number"]), name))

    def find(self, start: str | None) -> str:
        """Return the one snapshot whose name begins so, or the newest.

        Raises:
            BackupError: if there is none, or more than one.
        """
        names = self.snapshots()
        if not names:
            raise BackupError(f"{self.directory} has no snapshot yet: `lab backup {self.directory}` makes one")
        found = [name for name in names if start is None or name.startswith(start)]
        if start is None or len(found) == 1:
            return found[-1]
        wrong = f"{len(found)} snapshots begin with '{start}'" if found else f"no snapshot begins with '{start}'"
        raise BackupError(f"{wrong}: `lab backup {self.directory} --list` names all")

    def read(self, name: str) -> Snapshot:
        """Read a snapshot.

        Raises:
            DamagedBackupError: if it is cut or changed; BackupError if it is of a later version.
        """
        path = self._snapshot(name)
        content = path.read_bytes()
        if blake3(content).hexdigest()[:16] != _parts(name)["hash"]:
            raise DamagedBackupError(f"{path} is cut or changed: restore from another snapshot (`--snapshot`)")
        try:
            return Snapshot.model_validate_json(content)
        except ValidationError as error:
            layout = json.loads(content).get("layout")
            if isinstance(layout, int) and layout > LAYOUT:
                raise BackupError(later_layout(f"the snapshot {path}", layout, LAYOUT)) from None
            raise DamagedBackupError(f"{path} is not valid: {field_errors(error)[0]}") from None

    def content(self, name: str) -> bytes:
        """Read a content and compare it with its hash.

        Raises:
            DamagedBackupError: if it is missing, cut or changed.
        """
        path = self._object(name)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise DamagedBackupError(f"{path} is missing") from None
        if blake3(content).hexdigest() != name:
            raise DamagedBackupError(f"{path} is cut or changed")
        return content

    def damage(self, on_progress: Progress | None = None) -> list[str]:
        """Read every snapshot and content, and say of each that is missing or changed what it is part of."""
        problems: list[str] = []
        files_of: dict[str, str] = {}
        for name in self.snapshots():
            try:
                snapshot = self.read(name)
            except BackupError as error:
                problems.append(str(error))
                continue
            for file in snapshot.files:
                for one in file.objects:
                    files_of.setdefault(one, f"{file.path} in {name}")
        for done, (one, file_of) in enumerate(files_of.items()):
            if on_progress:
                on_progress(done, len(files_of))
            try:
                self.content(one)
            except DamagedBackupError as error:
                problems.append(f"{error}: part of {file_of}")
        return problems

    def keep(self, count: int) -> int:
        """Remove all but the newest snapshots, and what only the others needed; return the bytes that went."""
        names = self.snapshots()
        needed = {one for name in names[-count:] for file in self.read(name).files for one in file.objects}
        for name in names[:-count]:
            self._snapshot(name).unlink()
        sync_directory(self.directory / SNAPSHOTS)
        freed = 0
        for path in self._objects():
            if path.name not in needed:
                freed += path.stat().st_size
                path.unlink()
        return freed

    # -- files -------------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Make the directory a backup; one that has anything else stays as it is."""
        mark = self.directory / MARK
        if not mark.exists():
            if self.directory.exists() and not self.directory.is_dir():
                raise BackupError(f"{self.directory} is not a directory")
            self.directory.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
            there = {path.name for path in self.directory.iterdir() if not path.name.startswith(f".{MARK}")}
            if there - {OBJECTS, SNAPSHOTS}:
                raise BackupError(f"{self.directory} has files that are no backup: name a directory of its own")
            for name in (OBJECTS, SNAPSHOTS):
                (self.directory / name).mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)
            write_whole(mark, json.dumps({"layout": LAYOUT}))
        self._require_known()

    def _require_known(self) -> None:
        mark = self.directory / MARK
        try:
            layout = int(json.loads(mark.read_bytes())["layout"])
        except (FileNotFoundError, NotADirectoryError):
            raise BackupError(f"there is no backup in {self.directory}: it has no file {MARK}") from None
        except (ValueError, KeyError, TypeError):
            raise DamagedBackupError(f"{mark} is damaged: it should be {json.dumps({'layout': LAYOUT})}") from None
        if layout > LAYOUT:
            raise BackupError(later_layout(f"the backup {self.directory}", layout, LAYOUT))

    def _objects(self) -> Iterator[Path]:
        return (path for path in (self.directory / OBJECTS).glob("*/*") if not path.name.startswith("."))

    def _object(self, name: str) -> Path:
        return self.directory / OBJECTS / name[:2] / name

    def _snapshot(self, name: str) -> Path:
        return self.directory / SNAPSHOTS / f"{name}.json"

    def _write(self, name: str, content: bytes) -> None:
        path = self._object(name)
        if not path.parent.exists():
            path.parent.mkdir(mode=PRIVATE_DIRECTORY)
        self._write_whole(path, content)
        self._known.add(name)
        self.written[name] = len(content)

    def _write_whole(self, path: Path, content: bytes) -> None:
        """Write a file beside those that count; its name is on the disk only when its directory is."""
        write_whole(path, content, beside=self.drafts, sync=Sync.CONTENT)


def taken_at() -> datetime:
    """Return the time that a snapshot of now has."""
    return datetime.now(UTC).replace(microsecond=0)


def _parts(name: str) -> dict[str, str]:
    found = SNAPSHOT_NAME.fullmatch(name)
    assert found is not None  # noqa: S101 - names come from `snapshots`
    return found.groupdict()
