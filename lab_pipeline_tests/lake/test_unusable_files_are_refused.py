import bz2
import errno
import gzip
import lzma
import tarfile
import zipfile
from contextlib import suppress

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
        (
            wrong_columns,
            "has no column open, high, low, close, volume: .*; found Token, time",
        ),
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


def text(content):
    return lambda path: path.write_bytes(content if isinstance(content, bytes) else content.encode()) and None


def packed(pack):
    return text(pack((HEADER + ROW).encode()))


def zipped(*names):
    def make(path):
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, HEADER + ROW)

    return make


def tarred(path):
    with tarfile.open(path, "w:gz") as archive:
        archive.add(__file__)


def zstandard(content):
    return pa.compress(content, "zstd", asbytes=True)


CONTAINERS = [
    (zipped("in.csv", "in2.csv"), r"is a ZIP file that holds 2 files \(in.csv, in2.csv\): unpack it"),
    (zipped("__MACOSX/in.csv"), "is a ZIP file that holds no file: unpack it"),
    (zipped("xl/workbook.xml"), "is a workbook .*: save its sheet as CSV UTF-8"),
    (packed(lambda content: gzip.compress(gzip.compress(content))), "is a gzip file within another packed file: unp"),
    (packed(lambda content: gzip.compress(bz2.compress(content))), "is a bzip2 file within another packed file: unp"),
    (packed(lambda content: bz2.compress(lzma.compress(content))), "is an xz file within another packed file: unpack"),
    (packed(lambda content: lzma.compress(content)[:-9]), "is a broken xz file"),
    (packed(lambda content: bz2.compress(content)[:-9]), "is a broken bzip2 file"),
    (packed(lambda content: zstandard(content)[:-6]), "is a broken Zstandard file"),
    (text(b"PK\x03\x04" + bytes(60)), "is a broken ZIP file"),
    (tarred, "is a tar archive: unpack it"),
    (text(b"FEA1" + bytes(60)), "is a Feather file of version 1: write it as version 2"),
    (text(b"ARROW1" + bytes(60)), "is not a readable Arrow file"),
    (text('[{"mint": "AAA"}]'), "has no column timestamp, open, high, low, close, volume"),
    (text('\n {"mint": "AAA"}'), "has no column timestamp, open, high, low, close, volume"),
    (text('{"name": "x", "messages": [{"id": 1}]}'), "is JSON, an object of name, messages: rows are needed in an ar"),
    (text('{\n"name": "x",\n"messages": [{"id": 1}]\n}'), "is JSON, an object of name, messages: rows are needed in "),
    (text('{"success": false, "message": "Unauthorized"}'), "is an answer that holds an error .*: Unauthorized"),
    (text('{"errors": [{"title": "Not Found"}]}'), "is an answer that holds an error instead of rows: .*Not Found"),
    (text("[]"), "has no rows: it is an empty array"),
    (text("[1, 2]"), "is JSON, an array of neither objects nor arrays"),
    (text('[{"mint": "AAA"},'), "is cut off: its array has no end"),
    (text('[{"mint": "AAA"} {"mint": "AAA"}]'), "is not JSON of one object a row"),
    (text("[[1,[2]]]"), "has rows that hold more than plain values"),
    (text("[[1,2],[1]]"), "line 1 is '1,2', which are values of no order that is known"),
    (text("<!DOCTYPE html>"), "is HTML or XML: CSV, Parquet, Feather or JSON is needed"),
    (text("\ufeff<?xml ?>"), "is HTML or XML: CSV, Parquet, Feather or JSON is needed"),
    (text((HEADER + ROW).encode("utf-16")), "is UTF-16 text: save it as UTF-8"),
    (text((HEADER + ROW).encode("utf-16-be")), "is UTF-16 text: save it as UTF-8"),
    (text((HEADER + ROW).encode("utf-32")), "is UTF-32 text: save it as UTF-8"),
    (text((HEADER + ROW).encode() + bytes(300)), "is neither text nor Parquet, from line 3"),
    (text((HEADER + ROW).replace("\n", "\r")), "lines end in CR alone"),
    (text("\n" + HEADER + ROW), "line 1 is '', the header comes after it"),
    (text("made by hand\n" + HEADER + ROW), "line 1 is 'made by hand', the header comes after it: delete line 1"),
    (text(ROW), "line 1 is '.*', which are values .*: the header must be there, or name its columns with --columns"),
    (text("x" * (1 << 20) + "\n"), "line 1 is longer than a header can be"),
    (
        text((HEADER + ROW).replace("AAA", "Bj\u00f6rn").encode("latin-1")),
        r"line 2 has .*\(byte 0xf6\): save it as UTF-8",
    ),
    (text(("Bj\u00f6rn," + HEADER + ROW).encode("latin-1")), "line 1 has .*: save it as UTF-8"),
    (text(HEADER.replace("open", "close") + ROW), "close and close could both be close: rename or drop one"),
    (
        text(HEADER.replace("mint", "token,symbol") + "BBB," + ROW),
        "token and symbol could both be mint: rename or drop one, or say --map mint=NAME",
    ),
    (text("a\x1b[2Jb," + HEADER.replace("volume", "v\u202eol")), r"found a\\x1b\[2Jb, mint, .*, v\\u202eol; if one of"),
]


@pytest.mark.parametrize(("make", "message"), CONTAINERS)
def test_what_else_a_file_can_be_is_said_in_one_sentence(lake, tmp_path, make, message):
    path = tmp_path / "input"
    make(path)
    with pytest.raises(LakeError, match=message) as caught:
        lake.ingest_candles([path], "1m")
    said = str(caught.value)
    assert said.startswith(str(path))
    assert said.isprintable()
    assert files_of(lake) == {}


@pytest.mark.parametrize("first", ["ORCA,", "PARENT,", "BZh,", "Rar!,", "FEA1,", "<TICKER>,"])
def test_a_header_that_begins_like_a_container_is_a_header(lake, tmp_path, first):
    path = tmp_path / "rows.csv"
    path.write_text(f"{first}{HEADER}?,{ROW}")
    assert lake.ingest_candles([path], "1m").ignored_columns == {str(path): [first[:-1]]}


@given(
    st.binary(max_size=400),
    st.sampled_from(
        [b"", b"PAR1", b"ARROW1", b"\x1f\x8b", b"[{", b"[[1", b"{", HEADER.encode(), (HEADER + ROW).encode()]
    ),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_a_file_holds_it_is_read_or_refused(lake, tmp_path, content, start):
    path = tmp_path / "input"
    path.write_bytes(start + content)
    with suppress(LakeError):
        lake.ingest_candles([path], "1m")


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
