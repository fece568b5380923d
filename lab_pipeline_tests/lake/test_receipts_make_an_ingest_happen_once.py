import polars as pl
import pytest

from lab_pipeline.lake import IngestError, Lake, ingest, tables
from lab_pipeline_tests.lake.samples import candles, everything


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "candles.parquet"
    candles(["AAA", "BBB"], 40).write_parquet(path)
    return path


def test_an_ingest_with_a_known_receipt_is_not_done_again(lake, file):
    first = lake.ingest_candles([file], "1m", receipt="r1")
    assert (first.added, first.done_before) == (80, False)
    corrected = candles(["AAA"], 40).with_columns(volume=pl.lit(7.0))
    lake.write_candles(corrected, "1m")
    before = everything(lake)
    again = lake.ingest_candles([file], "1m", receipt="r1")
    assert (again.added, again.rows, again.first, again.done_before) == (80, 80, first.first, True)
    assert everything(lake).equals(before)


def test_a_forgotten_receipt_lets_it_happen_again(lake, file):
    lake.ingest_candles([file], "1m", receipt="r1")
    assert lake.receipts() == ["r1"]
    lake.forget_receipt("r1")
    lake.forget_receipt("r1")
    again = lake.ingest_candles([file], "1m", receipt="r1")
    assert (again.unchanged, again.done_before) == (80, False)


def test_an_ingest_that_changes_nothing_leaves_its_receipt(lake, file):
    lake.ingest_candles([file], "1m")
    assert lake.ingest_candles([file], "1m", receipt="r1").unchanged == 80
    assert lake.ingest_candles([file], "1m", receipt="r1").done_before


def test_what_was_refused_has_no_receipt(lake, tmp_path):
    path = tmp_path / "wrong.parquet"
    candles(["AAA"], 4).with_columns(low=pl.lit(99.0)).write_parquet(path)
    with pytest.raises(IngestError):
        lake.ingest_candles([path], "1m", receipt="r1")
    assert lake.receipts() == []


class Died(BaseException):
    """Ends an ingest on the spot."""


def die(*_, **__):
    raise Died


def test_a_writer_that_dies_before_its_commit_leaves_neither_rows_nor_a_receipt_that_counts(lake, file, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(tables, "commit", die)
        with pytest.raises(Died):
            lake.ingest_candles([file], "1m", receipt="r1")
    assert lake.timeframes() == []
    lake.write_candles(candles(["CCC"], 3), "1m")  # the version that the receipt names is another's
    assert not lake.ingest_candles([file], "1m", receipt="r1").done_before
    assert lake.ingest_candles([file], "1m", receipt="r1").done_before


def test_a_writer_that_dies_after_its_commit_leaves_both(lake, file, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(ingest._Ingest, "finish", die)  # noqa: SLF001 - what comes next
        with pytest.raises(Died):
            lake.ingest_candles([file], "1m", receipt="r1")
    fresh = Lake(lake.root)
    assert fresh.ingest_candles([file], "1m", receipt="r1").done_before
    assert fresh.candles_count("1m") == 80
