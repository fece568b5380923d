"""Where artifacts are kept: a directory, or a bucket that other machines reach, too.

A publication has a name, files, and a manifest that lists them with their hashes. It is there once its manifest is.
"""

import errno
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Protocol

from lab_pipeline.files.atomic import move, sync_directory, write_whole
from lab_pipeline.files.bucket import Bucket
from lab_pipeline.files.cache import FileCache
from lab_pipeline.files.staging import leftovers, staged
from lab_pipeline.settings import Settings

MANIFEST = "manifest.json"
STAGING = ".staging"
RUNS, SWEEPS = "runs", "sweeps"
"""What is published: names of directories in a bucket."""
MANIFESTS = ".manifests"
"""What the directory of the manifests in a bucket is called after that of the files: they are listed by themselves."""
TAG_DIGITS = 16
"""Of a file's hash in its key: publishers of one name with different content never write the same object."""
FETCHED_AT_ONCE = 16
ABANDONED = timedelta(days=1)
"""Files in a bucket that are so old and have no manifest will not get one."""


class ChangedError(Exception):
    """A file is not what the manifest says; how, in words that follow a colon."""


class ListedFile(Protocol):
    """What a manifest says of a file, as far as it matters here."""

    @property
    def name(self) -> str:
        """With its suffix."""

    @property
    def bytes(self) -> int:
        """Its size."""

    @property
    def sha256(self) -> str:
        """Of its content, in hexadecimal digits."""


class Storage(Protocol):
    """What an ArtifactStore needs of the place that it keeps artifacts in.

    Every method raises BucketError if a bucket does not answer, and OSError if a disk does not.
    """

    @property
    def place(self) -> str:
        """Path or address of all of it."""

    @property
    def disk(self) -> Path:
        """Directory on this machine that is written to; it need not exist yet."""

    def at(self, name: str, file: str = "") -> str:
        """Return the path or address of a publication, or of one of its files."""

    def where(self, name: str, file: ListedFile) -> str:
        """Return under which path or address a file can be had."""

    def uri(self, name: str, file: ListedFile | None = None) -> str:
        """Return the same as a URI, under which programs find what there is."""

    def require(self) -> None:
        """Raise an error if it cannot be read; that nothing is published yet is fine."""

    def staging(self) -> AbstractContextManager[Path]:
        """Lend a directory for the files and the manifest of a publication."""

    def link(self, published: str, name: str, files: Sequence[ListedFile], staging: Path) -> None:
        """Let a publication that is about to be revealed have files of another, without reading them.

        Raises:
            FileNotFoundError: if one of them is gone.
        """

    def reveal(self, staging: Path, name: str, files: Sequence[ListedFile]) -> bool:
        """Publish what is in a directory, the manifest last; return False if the name is taken."""

    def names(self) -> list[str]:
        """Return the names of all publications, in no particular order."""

    def stamps(self) -> Iterator[tuple[str, int]]:
        """Iterate over all names, each with a number that tells a publication from its successor; one question.

        In a directory there may be names without a manifest among them.
        """

    def signature(self, name: str) -> str | None:
        """Return what changes when a manifest is written again, or None if there is none."""

    def manifest(self, name: str) -> bytes:
        """Return the content of a manifest.

        Raises:
            FileNotFoundError: if nothing is published under that name.
        """

    def local(self, name: str, file: ListedFile) -> Path:
        """Return where a file can be read on this machine within the next minutes.

        Raises:
            FileNotFoundError: if it is gone.
            ChangedError: if it is not what was published.
        """

    def local_all(self, asked: Sequence[tuple[str, ListedFile]]) -> list[Path]:
        """Return the same of many files, by the names of their publications."""

    def problem(self, name: str, file: ListedFile) -> str | None:
        """Say what is wrong with a file where it is kept, by reading it."""

    def missed(self, name: str, files: Sequence[ListedFile]) -> Iterator[tuple[ListedFile, str]]:
        """Iterate over files that are missing there or of another size, with what is wrong of each."""

    def size(self, name: str) -> int:
        """Return the bytes of a publication."""

    def written_at(self, name: str) -> datetime:
        """Return when a manifest was written; of this moment if it is gone."""

    def mark(self, name: str, mark: str) -> bytes | None:
        """Return what stands in a file that was added to a publication later, or None if there is none."""

    def set_mark(self, name: str, mark: str, content: str | None) -> None:
        """Add a small file to a publication, or replace it; None removes it."""

    def delete(self, name: str) -> None:
        """Delete a publication: invisible at once, then gone; one that is not there is no error."""

    def leftovers(self, *, remove: bool) -> int:
        """Return the bytes that killed publishers left; or remove them."""


@dataclass(frozen=True)
class DirectoryStorage:
    """A directory of directories, each of which appears by one rename after everything in it has been synced."""

    directory: Path

    @property
    def place(self) -> str:
        """Its path."""
        return str(self.directory)

    @property
    def disk(self) -> Path:
        """The directory itself."""
        return self.directory

    def at(self, name: str, file: str = "") -> str:
        """Return the path of a publication or a file."""
        return str(self.directory / name / file)

    def where(self, name: str, file: ListedFile) -> str:
        """Return the path of a file."""
        return self.at(name, file.name)

    def uri(self, name: str, file: ListedFile | None = None) -> str:
        """Return it as a URI."""
        return Path(self.at(name, file.name if file else "")).as_uri()

    def require(self) -> None:
        """Raise an error if the directory is there and cannot be read."""
        if self.directory.exists():
            os.scandir(self.directory).close()

    def staging(self) -> AbstractContextManager[Path]:
        """Lend a directory beside the others; what a killed process left there, the next publisher removes."""
        return staged(self.directory / STAGING)

    def link(self, published: str, name: str, files: Sequence[ListedFile], staging: Path) -> None:  # noqa: ARG002
        """Give files another name."""
        for file in files:
            (staging / file.name).hardlink_to(self.directory / published / file.name)

    def reveal(self, staging: Path, name: str, files: Sequence[ListedFile]) -> bool:  # noqa: ARG002
        """Rename a directory into its place."""
        sync_directory(staging)
        try:
            move(staging, self.directory / name)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            return False
        return True

    def names(self) -> list[str]:
        """Return the names of directories with a manifest."""
        if not self.directory.is_dir():
            return []
        return [path.name for path in self.directory.iterdir() if (path / MANIFEST).is_file()]

    def stamps(self) -> Iterator[tuple[str, int]]:
        """Iterate over all directories; asking for a list costs far less than a look at each of them."""
        try:
            with os.scandir(self.directory) as found:
                for entry in found:
                    yield entry.name, entry.inode()
        except FileNotFoundError:
            return

    def signature(self, name: str) -> str | None:
        """Look at the manifest; paths as text, since a list of runs looks at fifty of them, and Path is slow."""
        try:
            status = os.stat(f"{self.directory}/{name}/{MANIFEST}")  # noqa: PTH116
        except (FileNotFoundError, NotADirectoryError):
            return None
        return f"{status.st_size}:{status.st_mtime_ns}"

    def manifest(self, name: str) -> bytes:
        """Read a manifest."""
        return (self.directory / name / MANIFEST).read_bytes()

    def local(self, name: str, file: ListedFile) -> Path:
        """Return the path of a file that has its size."""
        path = self.directory / name / file.name
        found = path.stat().st_size
        if found != file.bytes:
            raise ChangedError(f"{found:,} of {file.bytes:,} bytes")
        return path

    def local_all(self, asked: Sequence[tuple[str, ListedFile]]) -> list[Path]:
        """Return the paths of files."""
        return [self.local(name, file) for name, file in asked]

    def problem(self, name: str, file: ListedFile) -> str | None:
        """Compare the hash of a file."""
        try:
            with (self.directory / name / file.name).open("rb") as opened:
                return None if _is(file, iter(lambda: opened.read(1 << 20), b"")) else CHANGED
        except OSError as error:
            return MISSING if isinstance(error, FileNotFoundError) else error.strerror

    def missed(self, name: str, files: Sequence[ListedFile]) -> Iterator[tuple[ListedFile, str]]:
        """Look at each file."""
        for file in files:
            try:
                self.local(name, file)
            except FileNotFoundError:
                yield file, MISSING
            except ChangedError as error:
                yield file, str(error)

    def size(self, name: str) -> int:
        """Sum the bytes of a directory, as far as its files stay there meanwhile."""
        total = 0
        for parent, _, files in os.walk(self.directory / name):
            for file in files:
                try:
                    total += Path(parent, file).lstat().st_size
                except FileNotFoundError:
                    continue
        return total

    def written_at(self, name: str) -> datetime:
        """Look at the manifest."""
        try:
            return datetime.fromtimestamp((self.directory / name / MANIFEST).stat().st_mtime, UTC)
        except FileNotFoundError:
            return datetime.now(UTC)

    def mark(self, name: str, mark: str) -> bytes | None:
        """Read a file beside the others."""
        try:
            return (self.directory / name / mark).read_bytes()
        except FileNotFoundError:
            return None

    def set_mark(self, name: str, mark: str, content: str | None) -> None:
        """Write a file beside the others, or remove it."""
        path = self.directory / name / mark
        if content is None:
            path.unlink(missing_ok=True)
        else:
            write_whole(path, content)

    def delete(self, name: str) -> None:
        """Rename a directory away, then remove it."""
        try:
            with self.staging() as staging:
                move(self.directory / name, staging / name)
        except FileNotFoundError:
            return  # somebody else was faster

    def leftovers(self, *, remove: bool) -> int:
        """Look at what dead publishers left."""
        return leftovers(self.directory / STAGING, remove=remove)


MISSING = "it is missing"
CHANGED = "its bytes are not those that were published"


@dataclass(frozen=True)
class BucketStorage:
    """A directory in a bucket: `KIND/NAME/FILE` with a part of the hash in FILE, and `KIND.manifests/NAME.json`.

    All files are there before the manifest, which is put there unless there is one: of two publishers one wins, and
    without its manifest nothing is published. Files are read through copies that are checked by their hash.

    Attributes:
        bucket: that it is in.
        kind: of what is published: the name of the directory.
        cache: of files, on this machine.
    """

    bucket: Bucket
    kind: str
    cache: FileCache

    @property
    def place(self) -> str:
        """Its address."""
        return self.bucket.url(self.kind)

    @property
    def disk(self) -> Path:
        """Directory of the copies."""
        return self.cache.directory

    def at(self, name: str, file: str = "") -> str:
        """Return the address of a publication or, without its hash, a file."""
        return f"{self.place}/{name}/{file}".rstrip("/")

    def where(self, name: str, file: ListedFile) -> str:
        """Return the address of an object."""
        return self.bucket.url(self._key(name, file))

    def uri(self, name: str, file: ListedFile | None = None) -> str:
        """Return the address of a publication or an object."""
        return self.at(name) if file is None else self.where(name, file)

    def require(self) -> None:
        """Raise an error if nothing can be listed."""
        self.bucket.require()

    def staging(self) -> AbstractContextManager[Path]:
        """Lend a directory beside the copies of files."""
        return staged(self.cache.directory / STAGING)

    def link(self, published: str, name: str, files: Sequence[ListedFile], staging: Path) -> None:  # noqa: ARG002
        """Let the store copy files."""
        for file in files:
            self.bucket.copy(self._key(published, file), self._key(name, file))

    def reveal(self, staging: Path, name: str, files: Sequence[ListedFile]) -> bool:
        """Put the files that the directory has, then the manifest; both stay here as copies for who reads them soon."""
        made = [file for file in files if (staging / file.name).exists()]
        for file in made:
            self.bucket.write(self._key(name, file), staging / file.name)
        if not self.bucket.create(self._manifest_key(name), (staging / MANIFEST).read_bytes()):
            return False
        for file in made:
            self.cache.take(staging / file.name, _copy_of(file))
        return True

    def names(self) -> list[str]:
        """Return the names of all manifests."""
        return [name for name, _ in self.stamps()]

    def stamps(self) -> Iterator[tuple[str, int]]:
        """Iterate over the manifests: a thousand by one question."""
        for found in self.bucket.objects(f"{self.kind}{MANIFESTS}"):
            written = f"{found.tag} {found.changed_at.isoformat()}".encode()
            yield PurePosixPath(found.key).stem, int.from_bytes(hashlib.blake2b(written, digest_size=8).digest())

    def signature(self, name: str) -> str | None:
        """Return size and tag of the manifest."""
        found = self.bucket.look(self._manifest_key(name))
        return None if found is None else f"{found.size}:{found.tag}"

    def manifest(self, name: str) -> bytes:
        """Fetch a manifest."""
        return self.bucket.read(self._manifest_key(name))

    def local(self, name: str, file: ListedFile) -> Path:
        """Return a copy of a file, fetched if there is none."""
        if found := self.cache.find(_copy_of(file), file.bytes):
            return found
        with self.cache.adding(_copy_of(file)) as draft, draft.open("wb") as opened:
            if not _is(file, self._copied(name, file, opened.write)):
                raise ChangedError(CHANGED)
        return self.cache.directory / _copy_of(file)

    def local_all(self, asked: Sequence[tuple[str, ListedFile]]) -> list[Path]:
        """Return copies of files; those that are not here are fetched side by side."""
        with ThreadPoolExecutor(FETCHED_AT_ONCE) as pool:
            return list(pool.map(lambda one: self.local(*one), asked))

    def problem(self, name: str, file: ListedFile) -> str | None:
        """Compare the hash of an object."""
        try:
            return None if _is(file, self.bucket.pieces(self._key(name, file), file.bytes)) else CHANGED
        except FileNotFoundError:
            return MISSING

    def missed(self, name: str, files: Sequence[ListedFile]) -> Iterator[tuple[ListedFile, str]]:
        """List the objects, by one question."""
        sizes = {one.key: one.size for one in self.bucket.objects(f"{self.kind}/{name}")}
        for file in files:
            size = sizes.get(self._key(name, file))
            if size is None:
                yield file, MISSING
            elif size != file.bytes:
                yield file, f"{size:,} of {file.bytes:,} bytes"

    def size(self, name: str) -> int:
        """Sum the bytes of the objects."""
        return sum(one.size for one in self.bucket.objects(f"{self.kind}/{name}"))

    def written_at(self, name: str) -> datetime:
        """Ask for the manifest."""
        found = self.bucket.look(self._manifest_key(name))
        return datetime.now(UTC) if found is None else found.changed_at

    def mark(self, name: str, mark: str) -> bytes | None:
        """Fetch an object beside the files."""
        try:
            return self.bucket.read(f"{self.kind}/{name}/{mark}")
        except FileNotFoundError:
            return None

    def set_mark(self, name: str, mark: str, content: str | None) -> None:
        """Put an object beside the files, or delete it."""
        key = f"{self.kind}/{name}/{mark}"
        if content is None:
            self.bucket.delete([key])
        else:
            self.bucket.write(key, content.encode())

    def delete(self, name: str) -> None:
        """Delete the manifest, then the files."""
        self.bucket.delete([self._manifest_key(name)])
        self.bucket.delete(one.key for one in self.bucket.objects(f"{self.kind}/{name}"))

    def leftovers(self, *, remove: bool) -> int:
        """Look for files that have no manifest: their publisher may live for as long as `ABANDONED`."""
        found = leftovers(self.cache.directory / STAGING, remove=remove)
        written = self.bucket.directories(self.kind)
        published = set(self.names())  # asked afterwards: who was publishing meanwhile is among them, or is not old
        for name in written:
            if name in published:
                continue
            objects = list(self.bucket.objects(f"{self.kind}/{name}"))
            if any(datetime.now(UTC) - one.changed_at < ABANDONED for one in objects):
                continue
            found += sum(one.size for one in objects)
            if remove:
                self.bucket.delete(one.key for one in objects)
        return found

    def _copied(self, name: str, file: ListedFile, write: Callable[[bytes], int]) -> Iterator[bytes]:
        for piece in self.bucket.pieces(self._key(name, file), file.bytes):
            write(piece)
            yield piece

    def _key(self, name: str, file: ListedFile) -> str:
        path = PurePosixPath(file.name)
        return f"{self.kind}/{name}/{path.with_suffix(f'.{file.sha256[:TAG_DIGITS]}{path.suffix}')}"

    def _manifest_key(self, name: str) -> str:
        return f"{self.kind}{MANIFESTS}/{name}.json"


def storage_of(settings: Settings, kind: str, directory: Path) -> Storage:
    """Return where a lab keeps what it publishes.

    Args:
        settings: of the lab.
        kind: of what is published.
        directory: for it, where no bucket is set.
    """
    if settings.artifacts is None:
        return DirectoryStorage(directory)
    cache = FileCache(settings.artifacts_cache_dir, settings.artifacts_cache_bytes)
    return BucketStorage(Bucket(settings.artifacts), kind, cache)


def _copy_of(file: ListedFile) -> str:
    """Return what a copy of a file is called: its content, and what programs know its format by."""
    return f"{file.sha256}{PurePosixPath(file.name).suffix}"


def _is(file: ListedFile, pieces: Iterator[bytes]) -> bool:
    """Return whether these are the bytes of a file."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest() == file.sha256
