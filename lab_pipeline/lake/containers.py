"""Unpack what files come packed in: gzip, zip, xz, Zstandard or bzip2, one layer around one file."""

import bz2
import gzip
import lzma
import struct
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path, PurePosixPath
from typing import IO, Any

import pyarrow as pa

from lab_pipeline.lake.errors import LakeError
from lab_pipeline.lake.sniffing import BZIP2, listed, plain, workbook_in

HARMLESS_BYTES, LARGEST_RATIO = 1 << 30, 300
"""Of a file that is unpacked; beyond both it is made to fill disks, of no candles."""
CHUNK_BYTES = 1 << 20
MAGIC_BYTES = 16
PACKED_SUFFIXES = {".gz", ".gzip", ".xz", ".zst", ".zstd", ".bz2", ".zip"}
BROKEN = (EOFError, ValueError, RuntimeError, struct.error, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
"""What libraries raise over packed bytes that are not what they should be."""


@dataclass(frozen=True)
class Unpacked:
    """A file as its rows can be read.

    Attributes:
        path: where it is: the file itself if it was not packed.
        name: what it is called, without directories: inside a ZIP what it is called there.
        packing: what it came in; null if in nothing.
    """

    path: Path
    name: str
    packing: str | None = None


def unpacked(path: Path, scratch: Path) -> Unpacked:
    """Take a file out of what it is packed in, which its first bytes tell.

    Args:
        path: the file.
        scratch: directory that outlives what is returned.

    Raises:
        LakeError: if what it is packed in is broken, holds not just one file, or unpacks to far more than is sound.
    """
    with path.open("rb") as file:
        magic = read_bytes(file, MAGIC_BYTES, path)
    name = path.stem if path.suffix.lower() in PACKED_SUFFIXES else path.name
    if magic.startswith(b"\x1f\x8b"):
        return Unpacked(_copied(lambda: gzip.open(path), path, scratch, "gzip file"), name, "gzip")
    if magic.startswith(b"\xfd7zXZ\x00"):
        return Unpacked(_copied(lambda: lzma.open(path), path, scratch, "xz file"), name, "xz")
    if BZIP2.match(magic):
        return Unpacked(_copied(lambda: bz2.open(path), path, scratch, "bzip2 file"), name, "bzip2")
    if magic.startswith(b"\x28\xb5\x2f\xfd"):
        return Unpacked(_copied(lambda: _zstandard(path), path, scratch, "Zstandard file"), name, "Zstandard")
    if magic.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _out_of_a_zip(path, scratch)
    return Unpacked(path, path.name)


def read_bytes(file: IO[bytes] | BufferedIOBase, size: int, path: Path) -> bytes:
    """Read bytes; where the disk does not give them it is about this file, unlike what goes wrong in writing."""
    try:
        return file.read(size)
    except OSError as error:
        if error.errno is None:  # what was read is not what it should be, which says no system
            raise
        raise LakeError(f"{path} cannot be read: {error.strerror}") from None


def _out_of_a_zip(path: Path, scratch: Path) -> Unpacked:
    with _whole(path, "ZIP file"), zipfile.ZipFile(path) as packed:
        if (what := workbook_in(packed.namelist())) is not None:
            raise LakeError(f"{path} is {what}")
        members = [one for one in packed.infolist() if not one.is_dir() and not _is_of_a_system(one.filename)]
        if len(members) != 1:
            names = listed([plain(one.filename) for one in members])
            held = f"holds {len(members)} files ({names})" if members else "holds no file"
            raise LakeError(f"{path} is a ZIP file that {held}: unpack it, and name what is to be read")
        (member,) = members
        if member.flag_bits & 1:
            raise LakeError(f"{path} is an encrypted ZIP file: unpack it")
        target = _copied(lambda: packed.open(member), path, scratch, "ZIP file")
        return Unpacked(target, PurePosixPath(member.filename).name, "ZIP")


def _is_of_a_system(name: str) -> bool:
    """Return whether a file in a ZIP is what a desktop puts beside the files of a user."""
    path = PurePosixPath(name)
    return "__MACOSX" in path.parts or path.name.startswith(".")


@contextmanager
def _zstandard(path: Path) -> Iterator[Any]:
    with pa.OSFile(str(path)) as file, pa.CompressedInputStream(file, "zstd") as packed:
        yield packed


@contextmanager
def _whole(path: Path, kind: str) -> Iterator[None]:
    try:
        yield
    except LakeError:
        raise
    except (*BROKEN, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise LakeError(f"{path} is a broken {kind}: {plain(error, 300)}") from None


def _copied(open_packed: Callable[[], Any], path: Path, scratch: Path, kind: str) -> Path:
    target, packed_size = scratch / f"unpacked-{uuid.uuid4().hex}", path.stat().st_size
    with _whole(path, kind), open_packed() as packed, target.open("wb") as plain_file:
        while chunk := read_bytes(packed, CHUNK_BYTES, path):
            plain_file.write(chunk)
            if (size := plain_file.tell()) > HARMLESS_BYTES and size > LARGEST_RATIO * packed_size:
                raise LakeError(f"{path} unpacks to over {LARGEST_RATIO} times its size: unpack it and look at it")
    return target
