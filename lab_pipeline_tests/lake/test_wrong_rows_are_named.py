import gzip

import polars as pl
import pytest

from lab_pipeline.domain import schemas
from lab_pipeline.lake import IngestError
from lab_pipeline_tests.lake.samples import calls, candles, files_of

HEADER = "mint,timestamp,open,high,low,close,volume"
GOOD = "AAA,2024-01-01T00:00:00Z,1,2,0.5,1,3"
CALLS_HEADER = "call_id,caller,mint,called_at"


def csv(tmp_path, *lines, header=HEADER, name="rows.csv"):
    path = tmp_path / name
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def refusal(lake, *paths, timeframe="1m"):
    with pytest.raises(IngestError) as caught:
        lake.ingest_candles(paths, timeframe) if timeframe else lake.ingest_calls(paths)
    assert files_of(lake) == {}
    return caught.value


@pytest.mark.parametrize(
    ("row", "cell", "rule"),
    [
        ("AAA,2024-01-01T00:01:00Z,abc,2,0.5,1,3", ("open", "'abc'"), "must be a number"),
        ("AAA,2024-01-01T00:01:00Z,,2,0.5,1,3", ("open", "nothing"), "must not be missing"),
        ("AAA,2024-01-01T00:01:00Z,1,2,0.5,1", ("volume", "nothing"), "must not be missing"),
        ("AAA,2024-01-01T00:01:00Z,1,2,0.5,NaN,3", ("close", "'NaN'"), "must be finite"),
        ("AAA,2024-01-01T00:01:00Z,1,inf,0.5,1,3", ("high", "'inf'"), "must be finite"),
        ("AAA,2024-01-01T00:01:00Z,1,2,-0.5,1,3", ("low", "'-0.5'"), "must be > 0"),
        ("AAA,2024-01-01T00:01:00Z,1,2,0,1,3", ("low", "'0'"), "must be > 0"),
        ("AAA,2024-01-01T00:01:00Z,1,2,0.5,1,-3", ("volume", "'-3'"), "must be >= 0"),
        ("AAA,2024-01-01T00:01:00Z,1,0.9,0.5,1,3", ("high", "'0.9'"), "high must be >= open and close"),
        ("AAA,2024-01-01T00:01:00Z,1,2,1.1,1,3", ("low", "'1.1'"), "low must be <= open and close"),
        (",2024-01-01T00:01:00Z,1,2,0.5,1,3", ("mint", "nothing"), "must not be missing"),
        ('"  ",2024-01-01T00:01:00Z,1,2,0.5,1,3', ("mint", "'  '"), "must not be empty"),
        ("AAA,yesterday,1,2,0.5,1,3", ("timestamp", "'yesterday'"), "must be a time: ISO 8601"),
        ("AAA,2024-02-30T00:00:00Z,1,2,0.5,1,3", ("timestamp", "'2024-02-30T00:00:00Z'"), "must be a time: ISO 8601"),
        ("AAA,2024-01-01T00:01:30Z,1,2,0.5,1,3", ("timestamp", "'2024-01-01T00:01:30Z'"), "must be on the 1m grid"),
        ("AAA,2024-01-01T00:01:00.0001Z,1,2,0.5,1,3", ("timestamp", "'2024-01-01T00:01:00.0001Z'"), "on the 1m grid"),
        ("AAA,1704067260,1,2,0.5,1,3", ("timestamp", "'1704067260'"), "mixed time units: this is Unix seconds"),
        ("AAA,2024-01-01T00:01:00Z,1,2,1e-101,1,3", ("low", "'1e-101'"), "must be from 1e-100 to 1e+100"),
        ("AAA,2024-01-01T00:01:00Z,1,1e101,0.5,1,3", ("high", "'1e101'"), "must be from 1e-100 to 1e+100"),
        ("AAA,2024-01-01T00:01:00Z,1,2,0.5,1,1e101", ("volume", "'1e101'"), "must be from 0 to 1e+100"),
        ("A\x1b[2JA,2024-01-01T00:01:00Z,1,2,0.5,1,3", ("mint", r"'A\x1b[2JA'"), "256 visible characters"),
        ("A\u202eA,2024-01-01T00:01:00Z,1,2,0.5,1,3", ("mint", r"'A\u202eA'"), "256 visible characters"),
        ("A" * 257 + ",2024-01-01T00:01:00Z,1,2,0.5,1,3", ("mint", f"'{'A' * 60}…'"), "256 visible characters"),
        (GOOD, ("mint and timestamp", "AAA, 2024-01-01T00:00:00Z"), "must be unique, also on line 2"),
    ],
)
def test_one_wrong_cell(lake, tmp_path, row, cell, rule):
    path = csv(tmp_path, GOOD, row)
    error = refusal(lake, path)
    (violation,) = error.violations
    assert (violation.file, violation.row, violation.column, violation.value) == (str(path), "line 3", *cell)
    assert rule in violation.rule
    assert error.total == 1
    assert f"{path}, line 3, {cell[0]}: " in str(error)


@pytest.mark.parametrize(
    ("row", "column", "rule"),
    [
        ("call-1,ann,AAA,2024-01-01T00:00:00Z", "call_id", "must be unique, also on line 2"),
        ("call-2,,AAA,2024-01-01T00:00:00Z", "caller", "must not be missing"),
        ("call-2,ann,,2024-01-01T00:00:00Z", "mint", "must not be missing"),
        ("call-2,ann,AAA,", "called_at", "must not be missing"),
        ("call-2,ann,AAA,soon", "called_at", "must be a time"),
        ("call\u200b2,ann,AAA,2024-01-01T00:00:00Z", "call_id", "256 visible characters"),
        ("call-2,ann\x07,AAA,2024-01-01T00:00:00Z", "caller", "256 visible characters"),
    ],
)
def test_one_wrong_call(lake, tmp_path, row, column, rule):
    path = csv(tmp_path, "call-1,ann,AAA,2024-01-01T00:00:00Z", row, header=CALLS_HEADER)
    (violation,) = refusal(lake, path, timeframe=None).violations
    assert (violation.row, violation.column) == ("line 3", column)
    assert rule in violation.rule


def test_first_twenty_of_all_files_are_shown_and_all_counted(lake, tmp_path):
    wrong = [f"AAA,2024-01-01T{n // 60:02d}:{n % 60:02d}:00Z,1,2,0.5,x,-1" for n in range(1, 101)]
    first, second = csv(tmp_path, GOOD, *wrong, name="first.csv"), csv(tmp_path, *wrong, name="second.csv")
    error = refusal(lake, csv(tmp_path, GOOD, name="good.csv"), first, second)
    assert error.total == 400
    assert len(error.violations) == 20
    assert [v.row for v in error.violations] == [f"line {3 + n // 2}" for n in range(20)]
    assert {v.file for v in error.violations} == {str(first)}
    assert str(error).startswith("nothing was ingested: 400 problems, the first 20 are\n")


def test_lines_are_counted_as_an_editor_does(lake, tmp_path):
    path = csv(
        tmp_path, GOOD, "", '"two\nlines",2024-01-01T00:00:00Z,1,2,0.5,1,3', "BBB,2024-01-01T00:00:00Z,1,2,0.5,1,x"
    )
    quoted, wrong = refusal(lake, path).violations
    assert path.read_text().splitlines()[5].startswith("BBB")
    assert (quoted.row, quoted.value, wrong.row) == ("line 4", r"'two\nlines'", "line 6")


def test_rows_of_parquet_and_frames_are_counted_from_zero(lake, tmp_path):
    wrong = candles(["AAA"], 5).with_columns(open=pl.when(pl.int_range(5) == 3).then(-1.0).otherwise("open"))
    path = tmp_path / "rows.parquet"
    wrong.write_parquet(path)
    assert refusal(lake, path).violations[0].row == "row 3"
    with pytest.raises(IngestError) as caught:
        lake.write_candles(wrong, "1m")
    first = caught.value.violations[0]
    assert (first.file, first.row, first.column, first.value) == ("frame", "row 3", "open", "-1.0")


def test_compressed_file_names_its_lines_too(lake, tmp_path):
    path = tmp_path / "rows.csv.gz"
    path.write_bytes(gzip.compress(f"{HEADER}\n{GOOD}\n{GOOD}\n".encode()))
    (violation,) = refusal(lake, path).violations
    assert (violation.file, violation.row) == (str(path), "line 3")


def test_same_key_in_two_files_may_agree_but_not_differ(lake, tmp_path):
    first = csv(tmp_path, GOOD, name="first.csv")
    other = csv(tmp_path, "BBB,2024-01-01T00:00:00Z,1,2,0.5,1,3", GOOD.replace(",3", ",4"), name="other.csv")
    (violation,) = refusal(lake, first, other).violations
    assert (violation.file, violation.row) == (str(other), "line 3")
    assert violation.rule == f"must be unique, also on {first}, line 2, with other values"
    report = lake.ingest_candles([first, csv(tmp_path, GOOD, name="same.csv")], "1m")
    assert (report.files, report.rows, report.added) == (2, 2, 1)


def test_every_wrong_row_of_a_large_frame_is_found(lake):
    rows = candles([f"mint-{number}" for number in range(30)], 1000)
    wrong = rows.with_columns(low=pl.when(pl.int_range(pl.len()) % 7 == 0).then(pl.col("high") * 2).otherwise("low"))
    with pytest.raises(IngestError) as caught:
        lake.write_candles(wrong, "1m")
    assert caught.value.total == len(range(0, 30_000, 7))


def test_what_a_lake_holds_keeps_the_schemas(lake):
    lake.write_candles(candles(["AAA", "BBB"], 50), "1m")
    lake.write_calls(calls(9))
    for path in files_of(lake):
        schema = schemas.CALLS if path.parent.name == "calls" else schemas.CANDLES
        schema.validate(pl.read_parquet(path, hive_partitioning=False), lazy=True)
