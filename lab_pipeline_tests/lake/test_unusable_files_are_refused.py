import errno
import gzip

import pytest

from lab_pipeline.lake import LakeError, LakeUnwritableError
from lab_pipeline_tests.lake.samples import candles, files_of

HEADER = "mint,timestamp,open,high,low,close,volume\n"
ROW = "AAA,2024-01-01T00:00:00Z,1,2,0.5,1,3\n"


def missing(path):
    path.unlink(missing_ok=True)


def directory(path):
    path.mkdir()


def empty(path):
    path.write_text("")


def empty_gzip(path):
    path.write_bytes(gzip.compress(b""))


def header_only(path):
    path.write_text(HEADER)


def no_parquet(path):
    path.with_suffix(".parquet").write_text("PAR2")
    return path.with_suffix(".parquet")


def cut_parquet(path):
    candles(["AAA"], 10).write_parquet(path)
    path.write_bytes(path.read_bytes()[:-20])


def damaged_parquet(path):
    candles(["AAA"], 5000, price=1 / 3).write_parquet(path)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 200] = bytes(200)
    path.write_bytes(content)


def cut_gzip(path):
    path.write_bytes(gzip.compress((HEADER + ROW * 1000).encode())[:-20])


def wrong_columns(path):
    path.write_text("Token;time\nAAA;1\n")


def missing_column(path):
    path.write_text("Token,time,o,h,l,c,size\nAAA,1,1,1,1,1,1\n")


def two_names(path):
    path.write_text("mint,date,time,open,high,low,close,volume\n")


def too_many_fields(path):
    path.write_text(HEADER + ROW + ROW.strip() + ",7\n")


def open_quote(path):
    path.write_text(HEADER + ROW + '"AAA,2024-01-01T00:01:00Z,1,2,0.5,1,3\n' + ROW * 9000)


def wrong_encoding(path):
    path.write_bytes((HEADER + ROW).encode() + b"\xff\xfe\x80,1,2\n")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (missing, "does not exist"),
        (directory, "is a directory: name the files in it"),
        (empty, "is empty"),
        (empty_gzip, "is empty"),
        (header_only, "has no rows"),
        (no_parquet, "is not a Parquet file: it does not start with PAR1"),
        (cut_parquet, "is not a readable Parquet file"),
        (damaged_parquet, "is not a readable Parquet file"),
        (cut_gzip, "is a broken gzip file"),
        (wrong_columns, "has no column mint, timestamp, open, high, low, close, volume"),
        (missing_column, r"has no column volume: candles need mint \(or token/symbol/token_address\)"),
        (missing_column, "found Token, time, o, h, l, c, size"),
        (two_names, "time and date could both be timestamp"),
        (too_many_fields, "line 3 has 8 fields, the header has 7"),
        (open_quote, "line 3"),
        (wrong_encoding, "utf-?8"),
    ],
)
def test_message_names_the_file_and_what_is_wrong(lake, tmp_path, make, message):
    good = tmp_path / "good.csv"
    good.write_text(HEADER + ROW)
    path = tmp_path / "input"
    path = make(path) or path
    with pytest.raises(LakeError, match=message) as caught:
        lake.ingest_candles([good, path], "1m")
    assert str(path) in str(caught.value)
    assert files_of(lake) == {}


def test_no_file_at_all(lake):
    with pytest.raises(LakeError, match="no file was given"):
        lake.ingest_calls([])


def test_file_without_permission(lake, tmp_path, monkeypatch):
    path = tmp_path / "secret.csv"
    path.write_text(HEADER + ROW)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "open", refuse)
    with pytest.raises(LakeError, match=r"secret\.csv cannot be read: Permission denied"):
        lake.ingest_candles([path], "1m")


@pytest.mark.parametrize("name", ["a[1].csv", "a*.csv", "a?.csv"])
def test_a_name_is_no_pattern(lake, tmp_path, name):
    (tmp_path / "ab.csv").write_text(HEADER + ROW * 2)
    (tmp_path / name).write_text(HEADER + ROW)
    assert lake.ingest_candles([tmp_path / name], "1m").rows == 1


def test_a_disk_that_does_not_give_the_bytes_of_a_file_is_no_fault_of_the_lake(lake, tmp_path, monkeypatch):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress((HEADER + ROW).encode()))

    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(gzip.GzipFile, "read", fail)
    with pytest.raises(LakeError, match=r"a.csv.gz cannot be read: Input/output error") as error:
        lake.ingest_candles([path], "1m")
    assert not isinstance(error.value, LakeUnwritableError)
