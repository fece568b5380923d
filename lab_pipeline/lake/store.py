"""Where a lake lies: a directory, or a prefix of a bucket (`s3://…`) as `AWS_…` variables say how to reach it."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from lab_pipeline.files import atomic
from lab_pipeline.files.disk_errors import disk_error
from lab_pipeline.lake.errors import LakeError

SCHEME = "s3://"
SECONDS = 10.0
"""After which a store that does not answer is taken to be down."""
TRIES = 3


@dataclass(frozen=True)
class Store:
    """Files by their names under a root: `/` between the parts of a name.

    Attributes:
        root: an absolute path, or a URL without a `/` at its end.
    """

    root: str

    @classmethod
    def at(cls, root: Path | str) -> "Store":
        """Return the store at a directory, or at an `s3://` URL."""
        text = str(root)
        return cls(text.rstrip("/") if text.startswith(SCHEME) else str(Path(text).absolute()))

    @property
    def directory(self) -> Path | None:
        """The directory; none if it is a bucket."""
        return None if self.root.startswith(SCHEME) else Path(self.root)

    @cached_property
    def options(self) -> dict[str, str]:
        """What deltalake and polars are told beside what they read from the environment."""
        if self.directory is not None:
            return {}
        plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
        return {
            "aws_conditional_put": "etag",  # a commit is refused where another has its number
            "connect_timeout": f"{SECONDS:g}s",
            "max_retries": str(TRIES),
            "retry_timeout": f"{SECONDS:g}s",
            **({"aws_allow_http": "true"} if plain else {}),
        }

    @cached_property
    def _files(self) -> fs.FileSystem:
        if self.directory is not None:
            return fs.LocalFileSystem()
        environment: Mapping[str, str] = os.environ
        return fs.S3FileSystem(
            region=environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION"),
            endpoint_override=environment.get("AWS_ENDPOINT_URL"),
            connect_timeout=SECONDS,
            request_timeout=SECONDS,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=TRIES),
        )

    def place(self, name: str) -> str:
        """Return the path or URL of a file."""
        return f"{self.root}/{name}"

    def open(self, name: str) -> pa.NativeFile:
        """Open a file, to read anywhere in it.

        Raises:
            FileNotFoundError: if there is none.
        """
        if self.directory is not None:
            return pa.OSFile(self.place(name))
        return self._files.open_input_file(self._path(name))

    def read(self, name: str) -> bytes | None:
        """Read a small file; null if there is none."""
        if self.directory is not None:
            try:
                return (self.directory / name).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None
        with self._explained():
            try:
                with self._files.open_input_file(self._path(name)) as file:
                    return bytes(file.read())
            except FileNotFoundError:
                return None

    def write(self, name: str, content: bytes) -> None:
        """Write a small file in place of the one that is there, as a whole or not at all."""
        if self.directory is not None:
            path = self.directory / name
            atomic.make_directory(path.parent)
            atomic.write_whole(path, content)
            return
        with self._explained(), self._files.open_output_stream(self._path(name)) as stream:
            stream.write(content)

    def take(self, file: Path, name: str) -> None:
        """Move a file from this machine's disk into the store, where nothing has its name yet.

        In a directory it is on the same disk, which has its content already, and has its name when this returns.
        """
        if self.directory is not None:
            path = self.directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            file.replace(path)
            return
        with self._explained(), self._files.open_output_stream(self._path(name)) as stream, file.open("rb") as source:
            shutil.copyfileobj(source, stream, 1 << 22)
        file.unlink()

    def found(self, name: str) -> dict[str, tuple[int, datetime]]:
        """List the files under a name, with their bytes and when they were last changed."""
        if self.directory is not None:
            stats = {path: path.stat() for path in (self.directory / name).rglob("*") if path.is_file()}
            return {
                path.relative_to(self.directory).as_posix(): (one.st_size, datetime.fromtimestamp(one.st_mtime, UTC))
                for path, one in stats.items()
            }
        with self._explained():
            infos = self._files.get_file_info(fs.FileSelector(self._path(name), allow_not_found=True, recursive=True))
        skipped = len(self._path(""))
        return {info.path[skipped:]: (info.size, info.mtime) for info in infos if info.type == fs.FileType.File}

    def size(self, name: str) -> int | None:
        """Return the bytes of a file; null if there is none."""
        if self.directory is not None:
            try:
                return os.stat(self.place(name)).st_size  # noqa: PTH116 - of hundreds of files: a path takes twice as long
            except (FileNotFoundError, NotADirectoryError):
                return None
        with self._explained():
            info = self._files.get_file_info(self._path(name))
        return info.size if info.type == fs.FileType.File else None

    def remove(self, name: str) -> None:
        """Remove a file; one that is not there is no error."""
        if self.directory is not None:
            (self.directory / name).unlink(missing_ok=True)
            return
        with self._explained():
            try:
                self._files.delete_file(self._path(name))
            except FileNotFoundError:
                return

    def _path(self, name: str) -> str:
        return f"{self.root.removeprefix(SCHEME)}/{name}"

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say which store it was that did not do what was asked."""
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise LakeError(unreachable(self, error)) from error


def unreachable(store: Store, error: Exception) -> str:
    """Say that a store did not answer, or refused."""
    said = disk_error(error, Path(store.root)) if isinstance(error, OSError) and store.directory else None
    return f"the lake at {store.root} cannot be reached: {said or ' '.join(str(error).split())}"
