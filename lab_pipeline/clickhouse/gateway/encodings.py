"""Decoding of compressed request bodies, a bounded piece at a time."""

import sys
import zlib
from collections.abc import Iterator
from typing import Protocol

import lz4.frame  # type: ignore[import-untyped,unused-ignore]  # it ships no type information

from lab_pipeline.clickhouse.gateway.errors import CANNOT_DECOMPRESS, NOT_IMPLEMENTED, GatewayError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PIECE_BYTES = 1 << 20


class Decoder(Protocol):
    """Turns what arrives into what was meant; one a request."""

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Yield what `data` decodes to, in pieces of bounded size however well it was compressed."""

    def finish(self) -> None:
        """Check that the body was whole.

        Raises:
            GatewayError: if its end is missing.
        """


def decoder_for(content_encoding: str) -> Decoder:
    """Return the decoder of a request's Content-Encoding.

    Raises:
        GatewayError: naming what is understood.
    """
    match content_encoding.strip().lower():
        case "" | "identity":
            return _Identity()
        case "gzip" | "x-gzip" | "deflate":
            return _Zlib()
        case "lz4" | "zstd" as name:
            return _Frames(name)
        case other:
            raise GatewayError(NOT_IMPLEMENTED, f"Content-Encoding '{other}': use lz4, zstd, gzip or deflate")


class _Identity:
    def decode(self, data: bytes) -> Iterator[bytes]:
        yield data

    def finish(self) -> None:
        """Nothing can be missing: the HTTP layer knows the length."""


class _Zlib:
    """gzip (several members, too) and zlib streams."""

    def __init__(self) -> None:
        self._stream = _new_inflater()

    def decode(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._stream.eof:
                self._stream = _new_inflater()
            try:
                yield self._stream.decompress(data, PIECE_BYTES)
            except zlib.error as error:
                raise _damaged("deflate", error) from None
            data = self._stream.unconsumed_tail or self._stream.unused_data

    def finish(self) -> None:
        if not self._stream.eof:
            raise _damaged("deflate", "its end is missing")


class _Frames:
    """lz4 and zstd frames, one after the other; both libraries have the same interface."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._frame = self._new_frame()

    def decode(self, data: bytes) -> Iterator[bytes]:
        while data or not (self._frame.needs_input or self._frame.eof):
            if self._frame.eof:
                self._frame = self._new_frame()
            try:
                yield self._frame.decompress(data, PIECE_BYTES)
            except (RuntimeError, zstd.ZstdError) as error:
                raise _damaged(self._name, error) from None
            data = self._frame.unused_data or b"" if self._frame.eof else b""

    def finish(self) -> None:
        if not self._frame.eof:
            raise _damaged(self._name, "its end is missing")

    def _new_frame(self) -> "lz4.frame.LZ4FrameDecompressor | zstd.ZstdDecompressor":
        return lz4.frame.LZ4FrameDecompressor() if self._name == "lz4" else zstd.ZstdDecompressor()


def _new_inflater() -> "zlib._Decompress":
    return zlib.decompressobj(zlib.MAX_WBITS | 32)  # gzip or zlib, told apart by the header


def _damaged(name: str, reason: object) -> GatewayError:
    return GatewayError(CANNOT_DECOMPRESS, f"Cannot decompress the request body ({name}): {reason}")
