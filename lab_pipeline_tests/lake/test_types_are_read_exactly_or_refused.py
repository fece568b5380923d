"""Whatever type a Parquet file gives a column, it is read with its exact meaning or refused in one sentence."""

import uuid
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab_pipeline.lake import IngestError, LakeError
from lab_pipeline.lake.columns import to_series, why_unusable
from lab_pipeline.lake.layout import CALLS, CANDLES
from lab_pipeline.lake.sources import FrameSource
from lab_pipeline_tests.lake.samples import everything, files_of

TIMES = [datetime(2025, 1, 1, 0, minute, tzinfo=UTC) for minute in (0, 5)]


def column(values, kind):
    return pa.array(values, kind)


def candles(tmp_path, **columns):
    table = {
        "mint": ["M", "M"],
        "timestamp": column(TIMES, pa.timestamp("ms", "UTC")),
        "open": [1.0, 1.0],
        "high": [2.0, 2.0],
        "low": [0.5, 0.5],
        "close": [1.5, 1.5],
        "volume": [10.0, 12.0],
    } | columns
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table(table), path)
    return path


def calls(tmp_path, **columns):
    table = {
        "call_id": ["1", "2"],
        "caller": ["x", "y"],
        "mint": ["M", "M"],
        "called_at": column(TIMES, pa.timestamp("us", "UTC")),
    } | columns
    path = tmp_path / "calls.parquet"
    pq.write_table(pa.table(table), path)
    return path


ZONES = ["UTC", "Z", "+00:00", "+02:00", "+05:30", "-03:30", "+05:45", "UTC+2", "UTC+01:00", "GMT+2", "Europe/Berlin"]


@pytest.mark.parametrize("zone", [*ZONES, "Mars/Olympus"])
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_a_zone_changes_no_instant(lake, tmp_path, zone, unit):
    ticks = [int(moment.timestamp()) * {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit] for moment in TIMES]
    times = pa.array(ticks, pa.int64()).view(pa.timestamp(unit, zone))
    lake.ingest_candles([candles(tmp_path, timestamp=times)], "5m")
    lake.ingest_calls([calls(tmp_path, called_at=times)])
    assert everything(lake, "5m")["timestamp"].to_list() == TIMES
    assert lake.calls()["called_at"].to_list() == TIMES


VOLUMES = [
    column([Decimal("10.5"), Decimal("12.25")], pa.decimal32(9, 4)),
    column([Decimal("10.5"), Decimal("12.25")], pa.decimal64(18, 9)),
    column([Decimal("10.5"), Decimal("12.25")], pa.decimal128(38, 18)),
    column([Decimal("10.5"), Decimal("12.25")], pa.decimal256(76, 38)),
    pa.array(np.array([10.5, 12.25], np.float16)),
    column([10.5, 12.25], pa.float32()),
    column(["10.5", " 12.25 "], pa.string()),
    column(["10.5", "12.25"], pa.large_string()),
    column(["10.5", "12.25"], pa.string_view()),
    column(["10.5", "12.25"], pa.string()).dictionary_encode(),
    column([10.5, 12.25], pa.float64()).dictionary_encode(),
]


@pytest.mark.parametrize("volume", VOLUMES, ids=lambda values: str(values.type))
def test_numbers_of_any_width(lake, tmp_path, volume):
    lake.ingest_candles([candles(tmp_path, volume=volume)], "5m")
    assert everything(lake, "5m")["volume"].to_list() == [10.5, 12.25]


def test_run_end_encoded_columns_of_a_batch():
    values = pc.run_end_encode(column(["a", "a", "b"], pa.string()))
    assert why_unusable(pa.field("mint", values.type), pl.String()) is None
    assert to_series(values, pl.String()).to_list() == ["a", "a", "b"]


@pytest.mark.parametrize(
    ("ids", "read"),
    [
        (column([1, 2], pa.int8()), ["1", "2"]),
        (column([2**64 - 1, 2], pa.uint64()), ["18446744073709551615", "2"]),
        (column([Decimal(10**20), Decimal(2)], pa.decimal128(38, 0)), ["100000000000000000000", "2"]),
        (column([Decimal(10**50), Decimal(2)], pa.decimal256(76, 0)), ["1" + "0" * 50, "2"]),
        (
            pa.ExtensionArray.from_storage(pa.uuid(), pa.array([bytes(15) + b"\x01", bytes(16)], pa.binary(16))),
            [str(uuid.UUID(int=1)), str(uuid.UUID(int=0))],
        ),
        (column([7, 8], pa.int32()).dictionary_encode(), ["7", "8"]),
        (column(["é", "ü"], pa.string_view()), ["é", "ü"]),
    ],
    ids=lambda values: str(getattr(values, "type", "")),
)
def test_identifiers_of_exact_types(lake, tmp_path, ids, read):
    lake.ingest_calls([calls(tmp_path, call_id=ids)])
    assert sorted(lake.calls()["call_id"]) == sorted(read)


STRUCT = pa.struct({"a": pa.int64()})
REFUSED = [
    ("call_id", column([1.0, 2.0], pa.float64())),
    ("call_id", column([1e16, 2e16], pa.float64())),
    ("caller", column([1.0, 2.0], pa.float32())),
    ("call_id", column([Decimal("1.5"), Decimal("2.5")], pa.decimal128(5, 2))),
    ("mint", column([b"M", b"M"], pa.binary())),
    ("mint", column([b"M" * 16, b"M" * 16], pa.binary(16))),
    ("mint", column([b"M", b"M"], pa.large_binary())),
    ("call_id", column([True, False], pa.bool_())),
    ("call_id", column([date(2025, 1, 1), date(2025, 1, 2)], pa.date32())),
    ("call_id", column(TIMES, pa.timestamp("ms"))),
    ("caller", column([["a"], ["b"]], pa.list_(pa.string()))),
    ("caller", column([["a"], ["b"]], pa.large_list(pa.string()))),
    ("caller", column([["a"], ["b"]], pa.list_(pa.string(), 1))),
    ("caller", column([{"a": 1}, {"a": 2}], STRUCT)),
    ("caller", column([[("a", 1)], [("b", 2)]], pa.map_(pa.string(), pa.int64()))),
    ("called_at", column([True, False], pa.bool_())),
    ("called_at", column([1.5e9, 1.6e9], pa.float32())),
    ("called_at", column([time(1), time(2)], pa.time32("ms"))),
    ("called_at", column([time(1), time(2)], pa.time64("ns"))),
    ("called_at", column([timedelta(1), timedelta(2)], pa.duration("ms"))),
    ("called_at", column([{"a": 1}, {"a": 2}], STRUCT)),
    ("called_at", column([b"2025", b"2025"], pa.binary())),
]


@pytest.mark.parametrize(("name", "values"), REFUSED, ids=lambda value: getattr(value, "type", value))
def test_inexact_or_foreign_types_are_refused_by_column_and_type(lake, tmp_path, name, values):
    with pytest.raises(LakeError, match=rf"calls\.parquet: column {name} is .*: (names|times) are ") as caught:
        lake.ingest_calls([calls(tmp_path, **{name: values})])
    assert "\n" not in str(caught.value)
    assert files_of(lake) == {}


@pytest.mark.parametrize(
    "values",
    [
        column([True, False], pa.bool_()),
        column([[1.0], [2.0]], pa.list_(pa.float64())),
        column([b"1", b"2"], pa.binary()),
    ],
    ids=lambda values: str(values.type),
)
def test_what_is_no_number_is_refused_by_column_and_type(lake, tmp_path, values):
    with pytest.raises(LakeError, match=r"column open is (bool|list<.*>|binary): numbers are needed"):
        lake.ingest_candles([candles(tmp_path, open=values)], "5m")


def test_a_foreign_extension_is_refused_though_its_storage_could_be_read(lake, tmp_path):
    table = pq.read_table(candles(tmp_path))
    field = pa.field("open", pa.float64(), metadata={b"ARROW:extension:name": b"acme.cents"})
    path = tmp_path / "in.parquet"
    pq.write_table(table.set_column(2, field, table["open"]), path)
    with pytest.raises(LakeError, match="column open is "):
        lake.ingest_candles([path], "5m")


def test_a_column_of_nothing_is_missing_row_by_row(lake, tmp_path):
    with pytest.raises(IngestError, match=r"2 problems\n.*row 0, volume: must not be missing, found nothing"):
        lake.ingest_candles([candles(tmp_path, volume=pa.nulls(2))], "5m")


def test_types_of_columns_that_are_not_used_do_not_matter(lake, tmp_path):
    path = candles(tmp_path, extra=column([{"a": 1}, {"a": 2}], STRUCT), more=pa.nulls(2))
    assert lake.ingest_candles([path], "5m").ignored_columns == {str(path): ["extra", "more"]}


@pytest.mark.parametrize(
    "times",
    [
        column([-(10**15), 10**15], pa.int64()).view(pa.timestamp("s")),
        column([-(2**62), 2**62], pa.int64()).view(pa.timestamp("ms", "+05:30")),
        column([-(2**62), 2**62], pa.int64()).view(pa.timestamp("us")),
        column([-(2**62), 2**63 - 1], pa.int64()).view(pa.timestamp("ns")),
        column([-(2**30), 2**30], pa.int32()).view(pa.date32()),
        column([-(2**62), 2**62], pa.int64()).view(pa.date64()),
        column([datetime(1, 1, 1), datetime(9999, 12, 31)], pa.timestamp("us")),  # noqa: DTZ001 - without a zone
    ],
    ids=lambda values: str(values.type),
)
def test_typed_times_outside_are_refused_by_row(lake, tmp_path, times):
    with pytest.raises(IngestError, match=r"2 problems\n.*row 0, called_at: must be a time from 1970-01-01 to before"):
        lake.ingest_calls([calls(tmp_path, called_at=times)])


def test_96_bit_times_do_not_wrap_around(lake, tmp_path):
    path = tmp_path / "calls.parquet"
    times = pa.array([datetime(1, 1, 1), datetime(2025, 1, 1)], pa.timestamp("us"))  # noqa: DTZ001 - as Impala has them
    table = pa.table({"call_id": ["1", "2"], "caller": ["x", "y"], "mint": ["M", "M"], "called_at": times})
    pq.write_table(table, path, use_deprecated_int96_timestamps=True)
    with pytest.raises(IngestError, match=r"1 problem\n.*row 0, called_at: must be a time from 1970"):
        lake.ingest_calls([path])


def test_text_that_is_not_utf8_is_refused(lake, tmp_path):
    broken = pa.array([b"M", b"\xff\xfe"], pa.binary()).view(pa.string())
    with pytest.raises(LakeError, match=r"in\.parquet .*read"):
        lake.ingest_candles([candles(tmp_path, mint=broken)], "5m")


@pytest.mark.parametrize("dtype", [pl.UInt64, pl.Float32, pl.Decimal(38, 10), pl.Categorical, pl.String])
def test_frames_of_any_type(lake, tmp_path, dtype):
    frame = pl.read_parquet(candles(tmp_path)).with_columns(pl.col("volume").cast(pl.Int64).cast(pl.String).cast(dtype))
    lake.write_candles(frame, "5m")
    assert everything(lake, "5m")["volume"].to_list() == [10.0, 12.0]


def test_seconds_beyond_all_milliseconds_are_far_outside():
    times = pa.array([-(2**63), 2**63 - 1], pa.int64()).view(pa.timestamp("s"))
    assert to_series(times, CALLS.columns["called_at"]).to_physical().to_list() == [-(10**15), 10**15]


def test_a_frame_of_objects_is_refused(lake, tmp_path):
    frame = pl.read_parquet(candles(tmp_path)).with_columns(pl.Series("volume", [object(), object()], dtype=pl.Object))
    with pytest.raises(LakeError, match=r"^frame"):
        lake.write_candles(frame, "5m")


@pytest.mark.parametrize("error", [pl.exceptions.PanicException("boom\x1b[2J"), RuntimeError("boom"), MemoryError()])
def test_no_exception_of_a_library_reaches_the_user(lake, tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    path = candles(tmp_path)
    monkeypatch.setattr("lab_pipeline.lake.sources.to_series", fail)
    with pytest.raises(LakeError, match=r"in\.parquet cannot be read: ") as caught:
        lake.ingest_candles([path], "5m")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("ending", [KeyboardInterrupt, SystemExit, type("Interrupt", (BaseException,), {})])
def test_what_ends_a_process_or_a_run_is_not_held_up(lake, tmp_path, monkeypatch, ending):
    def end(*_):
        raise ending

    path = candles(tmp_path)
    monkeypatch.setattr("lab_pipeline.lake.sources.to_series", end)
    with pytest.raises(ending):
        lake.ingest_candles([path], "5m")


SCALARS = [
    pa.int8(), pa.uint64(), pa.float16(), pa.float32(), pa.float64(), pa.bool_(), pa.string(), pa.large_string(),
    pa.string_view(), pa.binary(), pa.binary(4), pa.large_binary(), pa.binary_view(), pa.date32(), pa.date64(),
    pa.time32("s"), pa.time64("us"), pa.duration("ns"), pa.decimal32(7, 2), pa.decimal64(16, 0), pa.decimal128(38, 37),
    pa.decimal256(76, 0), pa.decimal256(76, 75), pa.null(), pa.month_day_nano_interval(), pa.uuid(), pa.json_(),
    *(pa.timestamp(unit, zone) for unit in ("s", "ms", "us", "ns") for zone in (None, "+05:30", "nowhere")),
]  # fmt: skip
NESTED = st.recursive(
    st.sampled_from(SCALARS),
    lambda inner: st.one_of(
        inner.map(pa.list_),
        inner.map(lambda kind: pa.struct({"x": kind})),
        inner.map(lambda kind: pa.map_(pa.string(), kind)),
        inner.map(lambda kind: pa.dictionary(pa.int8(), kind)),
    ),
    max_leaves=3,
)


@given(NESTED, st.sampled_from([(table, name) for table in (CALLS, CANDLES) for name in table.columns]))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_every_type_in_every_column_is_read_or_refused_in_one_sentence(lake, kind, place):
    table, name = place
    rows = pa.table({column: pa.nulls(2, kind if column == name else pa.string()) for column in table.columns})
    path = lake.root.parent / "in.parquet"
    try:
        pq.write_table(rows, path)
    except (pa.ArrowException, NotImplementedError, OSError):
        return  # what nobody can write nobody hands over
    with pytest.raises(LakeError) as caught:
        lake.ingest_calls([path]) if table is CALLS else lake.ingest_candles([path], "5m")
    assert isinstance(caught.value, IngestError) or "\n" not in str(caught.value)


@given(st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_frames_of_whatever_values_are_read_or_refused(data):
    values = data.draw(
        st.lists(st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(), st.text(), st.none()), max_size=3)
    )
    with suppress(LakeError, TypeError):
        frame = pl.DataFrame({name: pl.Series(values, strict=False) for name in CALLS.columns})
        list(FrameSource(frame, CALLS).batches())
