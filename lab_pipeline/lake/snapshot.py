"""The identity of what a run read: BLAKE3 over canonical content, whatever files the rows lay in."""

import json
from collections.abc import Iterable

import numpy as np
import polars as pl
from blake3 import blake3

from lab_pipeline.domain import frames
from lab_pipeline.domain.candles import CandleColumns, Floats, Integers

CANDLES_TAG = b"lab candles 1\n"
CALLS_TAG = b"lab calls 1\n"
LIQUIDITY_TAG = b"lab liquidity 1\n"
COLUMNS = ("timestamp", "open", "high", "low", "close", "volume")
LIQUIDITY = "liquidity"


def snapshot_hash(calls: pl.DataFrame, candle_digest: str) -> str:
    """Return the snapshot hash (hex) of a run: the calls it simulates and the candles it read.

    Args:
        calls: columns of `frames.CALLS`, and whatever else a strategy reads of them, in any order of rows. A column
            without a value counts as one that is not there.
        candle_digest: `CandleSlice.snapshot` of the candles.
    """
    digest = blake3(CALLS_TAG)
    ordered = calls.sort("called_at", "call_id")
    for name in ("call_id", "caller", "mint"):
        _update_texts(digest, ordered[name].to_list())
    digest.update(ordered["called_at"].to_physical().to_numpy().astype("<i8").tobytes())
    digest.update(bytes.fromhex(candle_digest))
    for name in sorted(set(ordered.columns) - set(frames.CALLS)):
        if ordered[name].null_count() < len(ordered):
            _update_texts(digest, [name, *_as_json(ordered[name])])
    return digest.hexdigest()


def bucket_digest(candles: CandleColumns) -> bytes:
    """Return the digest of one mint bucket: its mints, their lengths, then each column's little-endian bytes."""
    digest = blake3(CANDLES_TAG)
    _update_texts(digest, candles.mints)
    digest.update(np.diff(candles.offsets).astype("<i8").tobytes())
    for name in COLUMNS:
        digest.update(_little_endian(getattr(candles, name)))
    return digest.digest()


def liquidity_digest(digest: bytes, liquidity: Floats) -> bytes:
    """Return the digest of a mint bucket with its liquidity, from the digest of its other columns."""
    whole = blake3(LIQUIDITY_TAG)
    whole.update(digest)
    whole.update(_little_endian(liquidity))
    return whole.digest()


def combine(digests: Iterable[tuple[int, bytes]]) -> str:
    """Return the digest (hex) of (bucket, digest) pairs, ascending, without buckets that have no rows."""
    total = blake3(CANDLES_TAG)
    for bucket, digest in digests:
        total.update(bytes([bucket]))
        total.update(digest)
    return total.hexdigest()


def _update_texts(digest: blake3, texts: list[str]) -> None:
    encoded = [text.encode() for text in texts]
    digest.update(np.array([len(encoded), *map(len, encoded)], "<i8").tobytes())
    digest.update(b"".join(encoded))


def _as_json(values: pl.Series) -> list[str]:
    """Write each value with all its digits; floats as the shortest text that is them."""
    return [json.dumps(value, ensure_ascii=True) for value in values.to_list()]


def _little_endian(column: Integers | Floats) -> memoryview:
    """View a column's bytes, without a copy where the machine is little-endian and the column is contiguous."""
    return np.ascontiguousarray(column.astype(column.dtype.newbyteorder("<"), copy=False)).view(np.uint8).data
