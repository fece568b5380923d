import gzip
import re
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab_pipeline.domain import frames
from lab_pipeline.lake import LakeError
from lab_pipeline.lake.layout import CALLS
from lab_pipeline.lake.parsing import EARLIEST_MS, END_MS, TimeUnit, parse
from lab_pipeline_tests.lake.samples import START_MS, candles, everything

MOMENT = datetime(2024, 1, 1, 4, 55, tzinfo=UTC)
SECONDS = int(MOMENT.timestamp())


def ingest_candle_at(lake, tmp_path, text):
    path = tmp_path / "rows.csv"
    path.write_text(f"mint,timestamp,open,high,low,close,volume\nAAA,{text},1,2,0.5,1,3\n")
    lake.ingest_candles([path], "1m")
    return everything(lake)["timestamp"].item()


def ingest_call_at(lake, tmp_path, text):
    path = tmp_path / "calls.csv"
    path.write_text(f"call_id,caller,mint,called_at\nc1,ann,AAA,{text}\n")
    lake.ingest_calls([path])
    return lake.calls()["called_at"].item()


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-01T04:55:00Z",
        "2024-01-01T04:55:00.000+0000",
        "2024-01-01T04:55:00+00:00",
        "2024-01-01T04:55:00.000000000Z",
        "2024-01-01T06:55:00+02:00",
        "2024-01-01T06:55:00+02",
        "2023-12-31T23:25:00-05:30",
        "2024-01-01 04:55:00",
        "2024-01-01T04:55",
        " 2024-01-01T04:55:00z ",
        f"{SECONDS}",
        f"{SECONDS}.0",
        f"{SECONDS}000",
        f"{SECONDS}000000",
        f"{SECONDS}000000000",
        "2024-01-01 04:55:00 UTC",
        "2024-01-01T04:55:00 gmt",
        "2024-01-02T04:54:00+23:59",
    ],
)
def test_one_moment_in_every_notation(lake, tmp_path, text):
    assert ingest_candle_at(lake, tmp_path, text) == MOMENT


def test_date_is_its_midnight(lake, tmp_path):
    assert ingest_candle_at(lake, tmp_path, "2024-01-01") == datetime(2024, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("2024-01-01T04:55:00.123Z", 123),
        ("2024-01-01T04:55:00.1230Z", 123),
        ("2024-01-01T04:55:00.1230001Z", 124),
        ("2024-01-01T04:55:00.000000001Z", 1),
        (f"{SECONDS}.123", 123),
        (f"{SECONDS}.1230001", 124),
        (f"{SECONDS}123", 123),
        (f"{SECONDS}123000", 123),
        (f"{SECONDS}123001", 124),
        (f"{SECONDS}123000001", 124),
        ('"2024-01-01T04:55:00,123Z"', 123),
    ],
)
def test_call_is_never_known_before_it_was_made(lake, tmp_path, text, milliseconds):
    called_at = ingest_call_at(lake, tmp_path, text)
    assert called_at == MOMENT + timedelta(milliseconds=milliseconds)


@pytest.mark.parametrize(
    "text",
    [
        "5",
        "20240101",
        "1e9",
        "1.7040849e9",
        "-1704067200",
        "24-01-01T00:00:00Z",
        "45292.2",
        "01/02/2024",
        "1/2/2024 4:55",
    ],
)
def test_what_is_no_certain_time(lake, tmp_path, text):
    with pytest.raises(LakeError, match=rf"line 2, called_at: must be a time: ISO 8601 .*, found '{text}'"):
        ingest_call_at(lake, tmp_path, text)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("0001-01-01T00:00:00Z", "from 1970-01-01 to before 2200-01-01"),
        ("9999-12-31T23:59:59Z", "from 1970-01-01 to before 2200-01-01"),
        ("2262-04-11T23:47:17Z", "from 1970-01-01 to before 2200-01-01"),
        ("1677-09-21", "from 1970-01-01 to before 2200-01-01"),
        ("0000-01-01", "from 1970-01-01 to before 2200-01-01"),
        ("1969-12-31T23:59:59.999Z", "from 1970-01-01 to before 2200-01-01"),
        ("1970-01-01T00:59:59+01:00", "from 1970-01-01 to before 2200-01-01"),
        ("2199-12-31T23:00:00-01:00", "from 1970-01-01 to before 2200-01-01"),
        ("2199-12-31T23:59:59.9991Z", "from 1970-01-01 to before 2200-01-01"),
        ("2200-01-01T00:00:00Z", "from 1970-01-01 to before 2200-01-01"),
        ("7258118400", "from 1973 to 2199"),
        ("2025-01-01T00:00:00+25:00", "offset from UTC is at most 23:59"),
        ("2025-01-01T00:00:00+99:99", "offset from UTC is at most 23:59"),
        ("2025-01-01T00:00:00-05:60", "offset from UTC is at most 23:59"),
        ("2025-01-01T00:00:00+2400", "offset from UTC is at most 23:59"),
        ("2025-01-01T24:00:00Z", "ISO 8601"),
        ("2025-06-30T23:59:60Z", "ISO 8601"),
    ],
)
def test_times_outside_and_offsets_that_cannot_be(lake, tmp_path, text, rule):
    with pytest.raises(LakeError, match=rf"line 2, called_at: must be a time.*{rule}.*, found '{re.escape(text)}'"):
        ingest_call_at(lake, tmp_path, text)


@pytest.mark.parametrize(
    "text", ["1970-01-01", "2199-12-31T23:59:59.999Z", "7258118399.999", "1970-01-02T00:59:00+23:59"]
)
def test_the_first_and_the_last_time(lake, tmp_path, text):
    assert frames.EARLIEST <= ingest_call_at(lake, tmp_path, text) < frames.END


@settings(deadline=None)
@given(st.datetimes(), st.integers(-30 * 60, 30 * 60))
def test_iso_times_are_read_exactly_or_not_at_all(moment, offset):
    sign, minutes = "-" if offset < 0 else "+", abs(offset)
    text = f"{moment.isoformat()}{sign}{minutes // 60:02d}:{minutes % 60:02d}"
    raw = pl.DataFrame({"call_id": "1", "caller": "x", "mint": "M", "called_at": text})
    (read,) = parse(raw, CALLS, TimeUnit.ISO, None).frame["called_at"]
    exact = (moment.replace(tzinfo=UTC) - frames.EARLIEST) // timedelta(microseconds=1) - offset * 60_000_000
    milliseconds = -(-exact // 1000)
    taken = minutes < 24 * 60 and EARLIEST_MS <= milliseconds < END_MS
    assert read == (frames.EARLIEST + timedelta(milliseconds=milliseconds) if taken else None)


@pytest.mark.parametrize(
    "times",
    [
        pl.Series([START_MS, START_MS + 60_000]),
        pl.Series([START_MS // 1000, START_MS // 1000 + 60]),
        pl.Series([START_MS / 1000, START_MS / 1000 + 60]),
        pl.Series([START_MS * 1000, START_MS * 1000 + 60_000_000]),
        pl.Series([START_MS, START_MS + 60_000]).cast(pl.Datetime("ms")),
        pl.Series([START_MS * 1000, START_MS * 1000 + 60_000_000]).cast(pl.Datetime("us", "Europe/Berlin")),
        pl.Series([START_MS * 10**6, START_MS * 10**6 + 60 * 10**9]).cast(pl.Datetime("ns", "UTC")),
        pl.Series(["2024-01-01T00:00:00Z", "2024-01-01T00:01:00Z"]),
        pl.Series(["2024-01-01T00:00:00Z", "2024-01-01T00:01:00Z"], dtype=pl.Categorical),
    ],
    ids=lambda series: str(series.dtype),
)
def test_types_of_parquet_times(lake, tmp_path, times):
    path = tmp_path / "rows.parquet"
    candles(["AAA"], 2).with_columns(times.alias("timestamp")).write_parquet(path)
    lake.ingest_candles([path], "1m")
    assert everything(lake).equals(candles(["AAA"], 2))


def test_dates_and_narrow_numbers_of_parquet(lake, tmp_path):
    path = tmp_path / "rows.parquet"
    frame = pl.DataFrame(
        {"mint": ["AAA"], "date": [date(2024, 1, 1)], "o": [2], "h": [4], "l": [1], "c": [3], "v": [10]},
        schema_overrides={"mint": pl.Categorical, "o": pl.Float32, "h": pl.Int8, "c": pl.Decimal(10, 2)},
    )
    frame.write_parquet(path)
    lake.ingest_candles([path], "1d")
    assert everything(lake, "1d").row(0)[2:] == (2.0, 4.0, 1.0, 3.0, 10.0)


def test_text_numbers_with_exponents_and_spaces(lake, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("mint,timestamp,open,high,low,close,volume\nAAA,2024-01-01,1e-5, 2E-5 ,5e-6,0.00001,1e3\n")
    lake.ingest_candles([path], "1d")
    assert everything(lake, "1d").row(0)[2:] == (1e-5, 2e-5, 5e-6, 1e-5, 1e3)


@pytest.mark.parametrize(
    "header",
    [
        "Token,Time,O,H,L,C,V",
        "symbol,date,open,HIGH,low,Close,volume",
        "TOKEN_ADDRESS,ts,o,h,l,c,v",
        "address,unixTime,o,h,l,c,v",
        "symbol,Open time,open,high,low,close,volume",
        "token-address,datetime,open,high,low,close,volume",
    ],
)
def test_aliases_of_candles_in_any_case_and_order(lake, tmp_path, header):
    path = tmp_path / "rows.csv"
    path.write_text(f"extra,{header}\n?,AAA,2024-01-01T00:00:00Z,1,2,0.5,1.5,3\n")
    report = lake.ingest_candles([path], "1m")
    assert everything(lake).row(0)[2:] == (1.0, 2.0, 0.5, 1.5, 3.0)
    assert report.ignored_columns == {str(path): ["extra"]}


def test_aliases_of_calls(lake, tmp_path):
    path = tmp_path / "calls.csv"
    path.write_text("ID,author,symbol,time\nc1,ann,AAA,2024-01-01T00:00:07Z\n")
    lake.ingest_calls([path])
    assert lake.calls().row(0)[:3] == ("c1", "ann", "AAA")


def test_exact_name_wins_over_an_alias(lake, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(
        "mint,symbol,timestamp,date,open,high,low,close,volume\nAAA,BBB,2024-01-01T00:01:00Z,x,1,2,0.5,1,3\n"
    )
    assert lake.ingest_candles([path], "1m").ignored_columns == {str(path): ["symbol", "date"]}
    assert lake.mints("1m") == ["AAA"]


@pytest.mark.parametrize("name", ["rows.csv.gz", "rows.csv", "rows"])
def test_gzip_is_known_by_its_first_bytes(lake, tmp_path, name):
    plain = tmp_path / "plain.csv"
    candles(["AAA"], 3).write_csv(plain)
    path = tmp_path / name
    path.write_bytes(gzip.compress(plain.read_bytes()))
    lake.ingest_candles([path], "1m")
    assert everything(lake).equals(candles(["AAA"], 3))


def test_compressed_parquet_and_a_byte_order_mark(lake, tmp_path):
    plain, packed, marked = tmp_path / "plain.parquet", tmp_path / "packed.gz", tmp_path / "marked.csv"
    candles(["AAA"], 3).write_parquet(plain)
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    candles(["BBB"], 3).write_csv(marked, include_bom=True, line_terminator="\r\n")
    lake.ingest_candles([packed, marked], "1m")
    assert everything(lake).equals(candles(["AAA", "BBB"], 3))
