import pickle

import polars as pl
import pytest

from lab_pipeline.lake import CandleSlice, combine
from lab_pipeline_tests.lake.samples import candles, frame_of

MINTS = [f"mint-{number}" for number in range(24)]


def read(pieces):
    """Read pieces as other processes do, and return their rows and the snapshot of all."""
    found, digests = [], []
    for piece in pickle.loads(pickle.dumps(pieces)):  # noqa: S301 - as they travel between processes
        with CandleSlice.of(piece) as part:
            found.append(frame_of(part))
        digests += part.digests
    return pl.concat(found).sort("mint", "timestamp"), combine(sorted(digests))


@pytest.mark.parametrize("rows", [1, 100, 1 << 40])
def test_pieces_have_the_rows_and_the_snapshot_of_the_slice(lake, rows):
    lake.write_candles(candles(MINTS, 20), "1m")
    with lake.slice("1m", MINTS, 0, 1 << 60) as whole:
        expected = frame_of(whole)
        pieces = whole.pieces(rows)
        assert pieces == whole.pieces(rows)
    assert all(piece.rows_planned >= rows for piece in pieces[:-1])
    assert (len(pieces) == 1) == (rows > expected.height)
    found, snapshot = read(pieces)
    assert found.equals(expected.sort("mint", "timestamp"))
    assert snapshot == whole.snapshot


def test_an_ingest_meanwhile_changes_nothing(lake):
    rows = candles(MINTS, 20)
    lake.write_candles(rows, "1m")
    with lake.slice("1m", MINTS, 0, 1 << 60) as whole:
        pieces = whole.pieces(100)
    lake.write_candles(rows.with_columns(pl.col("volume") + 1.0), "1m")
    found, _ = read(pieces)
    assert found.equals(rows.sort("mint", "timestamp"))


def test_nothing_to_read_is_one_piece_without_files(lake):
    with lake.slice("1m", [], 0, 1) as empty:
        (piece,) = empty.pieces(100)
    assert piece.files == ()
    with CandleSlice.of(piece) as part:
        assert list(part) == []
    assert part.digests == []
