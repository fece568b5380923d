"""A file that says how long its candles are is believed; where labels say another length, nobody is."""

import random

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab_pipeline.lake import IngestError, LakeError
from lab_pipeline.lake.lengths import lengths_of, name_of
from lab_pipeline.lake.spacing import Spacing
from lab_pipeline_tests.lake.samples import START_MS, candles, everything, files_of

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


def written(tmp_path, frame, name="in.csv"):
    path = tmp_path / name
    frame.write_parquet(path) if path.suffix == ".parquet" else frame.write_csv(path)
    return path


def said(column, *values):
    rows = candles(["AAA"], len(values), step_ms=5 * MINUTE)
    return rows.with_columns(pl.Series(column, values))


@pytest.mark.parametrize(
    ("column", "text", "length"),
    [
        *(
            (column, text, "5m")
            for column in ("interval", "timeframe", "type", "resolution")
            for text in ("5m", "5min")
        ),
        *(("interval", text, "5m") for text in ("300", "300.0", "5 minutes", "M5", "PT5M", "00:05:00", "OHLCV 5m")),
        *(("interval", text, "5m") for text in ("5T", "300s", "300000", "candle5m", "5m_ohlcv", "0 days 00:05:00")),
        *(("interval", text, "1h") for text in ("1H", "1h", "1hr", "hour", "hourly", "3600", "H1", "60m", "PT1H")),
        *(("type", text, "1d") for text in ("1D", "1d", "1day", "daily", "24h", "D1", "P1D")),
        *(("resolution", text, length) for text, length in (("60", "1h"), ("5", "5m"), ("1D", "1d"), ("D", "1d"))),
        ("resolution", "300", "5m"),
        ("interval_seconds", "300", "5m"),
        ("interval_seconds", "60", "1m"),
        ("interval", "1w", "7d"),
        ("interval_seconds", "604800", "7d"),
    ],
)
def test_certain_notations_of_a_length(column, text, length):
    assert {name_of(one) for one in lengths_of(column, text)} == {length}


def test_a_notation_of_two_lengths_says_either():
    assert {name_of(one) for one in lengths_of("interval", "60")} == {"1m", "1h"}
    assert {name_of(one) for one in lengths_of("interval", "1M")} == {"1m", "30d"}


@pytest.mark.parametrize("text", [None, "", "spot", "swap", "1", "m", "0m", "5x", "buy", "5m5m", "-5m"])
def test_what_is_no_length(text):
    assert lengths_of("type", text) == frozenset()


@pytest.mark.parametrize(
    "column", ["interval", "Interval", "interval_seconds", "interval seconds", "timeframe", "TYPE", "resolution"]
)
@pytest.mark.parametrize("name", ["in.csv", "in.parquet"])
def test_rows_that_say_another_length_are_refused(lake, tmp_path, column, name):
    five, hour = ("300", "3600") if "econds" in column else ("5m", "1h")
    path = written(tmp_path, said(column, five, hour, five, hour, five), name)
    with pytest.raises(IngestError) as caught:
        lake.ingest_candles([path], "5m")
    assert caught.value.total == 2
    rows = [violation.row for violation in caught.value.violations]
    assert rows == (["line 3", "line 5"] if name.endswith("csv") else ["row 1", "row 3"])
    assert f"must be a candle of 5m, is said to be of 1h, found '{hour}'" in str(caught.value)
    assert str(caught.value).endswith(
        "the files say 3 times 5m, 2 times 1h: --matching-only takes the rows of 5m alone"
    )
    assert files_of(lake) == {}


def test_the_whole_file_may_be_of_another_length(lake, tmp_path):
    path = written(tmp_path, said("interval", "1h", "1h", "1h"))
    with pytest.raises(IngestError, match="3 problems"):
        lake.ingest_candles([path], "5m")


def test_a_row_that_does_not_say_is_refused_beside_rows_that_do(lake, tmp_path):
    path = written(tmp_path, said("interval", "5m", None, "soon"))
    with pytest.raises(IngestError, match="must be a candle of 5m, does not say how long it is") as caught:
        lake.ingest_candles([path], "5m")
    assert [violation.value for violation in caught.value.violations] == ["nothing", "'soon'"]


def test_matching_rows_alone_are_taken_if_asked(lake, tmp_path):
    rows = said("interval", "5m", "1h", "5m", "1h", "5m")
    path = written(tmp_path, rows)
    report = lake.ingest_candles([path], "5m", matching_only=True)
    assert (report.rows, report.added, report.left_out) == (3, 3, {str(path): 2})
    assert everything(lake, "5m").equals(rows.filter(interval="5m").drop("interval"))
    assert report.remarks() == [f"{path}: 2 rows of other lengths left out"]


def test_rows_that_are_left_out_may_hold_anything_and_lines_are_counted_with_them(lake, tmp_path):
    path = tmp_path / "in.csv"
    path.write_text(
        "mint,timestamp,open,high,low,close,volume,interval\n"
        "A,soon,x,2,0.5,1,3,1h\nA,2024-01-01,1,2,0.5,1,3,5m\nA,2024-01-01T00:05:00Z,x,2,0.5,1,3,5m\n"
    )
    with pytest.raises(IngestError, match=r"1 problem\n.*, line 4, open: must be a number"):
        lake.ingest_candles([path], "5m", matching_only=True)


@pytest.mark.parametrize(
    ("column", "values"), [("type", ["spot", "perp"]), ("type", [1, 5]), ("interval", [None, None])]
)
def test_a_column_that_says_no_length_is_ignored_and_named(lake, tmp_path, column, values):
    path = written(tmp_path, said(column, *values))
    report = lake.ingest_candles([path], "5m")
    assert (report.rows, report.ignored_columns) == (2, {str(path): [column]})
    assert report.remarks() == [f"{path}: ignored columns: {column}"]


def test_typed_lengths_of_parquet(lake, tmp_path):
    rows = candles(["AAA"], 2, step_ms=5 * MINUTE)
    for number, values in enumerate(
        [
            pl.Series([300_000, 300_000]).cast(pl.Duration("ms")),
            pl.Series([300, 300], dtype=pl.Int16),
            pl.Series([300.0, 300.0]),
            pl.Series(["5m", "5m"], dtype=pl.Categorical),
        ]
    ):
        path = written(tmp_path, rows.with_columns(values.alias("interval")), f"{number}.parquet")
        assert lake.ingest_candles([path], "5m").ignored_columns == {}
        with pytest.raises(IngestError, match="is said to be of"):
            lake.ingest_candles([path], "1m")


@pytest.mark.parametrize(
    ("mints_and_rows", "case"),
    [
        ((1, 5), (HOUR, "5m", "1h")),
        ((1, 5), (15 * MINUTE, "5m", "15m")),
        ((1, 3), (DAY, "1h", "1d")),
        ((1, 5), (4 * HOUR, "1h", "4h")),
        ((1, 8), (2 * HOUR, "1h", "2h")),
        ((1, 5), (HOUR, "1m", "1h")),
        ((1, 5), (7 * DAY, "1d", "7d")),
        ((40, 3), (HOUR, "1m", "1h")),
        ((1, 2000), (5 * MINUTE, "1m", "5m")),
    ],
)
def test_longer_candles_are_refused_with_the_length_that_they_seem_to_have(lake, tmp_path, mints_and_rows, case):
    length, said, seem = case
    mints, rows = mints_and_rows
    frame = candles([f"M{number}" for number in range(mints)], rows, step_ms=length)
    path = written(tmp_path, frame)
    with pytest.raises(
        LakeError, match=f"in.csv: its candles, at {rows:,} times, seem to be of {seem}, not of {said}: .*--force"
    ):
        lake.ingest_candles([path], said)
    assert files_of(lake) == {}
    report = lake.ingest_candles([path], said, force=True)
    assert (report.added, report.forced) == (frame.height, {str(path): seem})
    assert report.remarks() == [f"{path}: taken by force, though its candles seem to be of {seem}"]


def test_gaps_hide_no_longer_candles(lake, tmp_path):
    rows = candles(["AAA"], 100, step_ms=HOUR).sample(30, seed=3)
    with pytest.raises(LakeError, match="seem to be of 1h, not of 5m"):
        lake.ingest_candles([written(tmp_path, rows)], "5m")


def test_candles_off_the_hour_are_seen_by_their_steps(lake, tmp_path):
    rows = candles(["AAA"], 6, step_ms=HOUR, start_ms=START_MS + 35 * MINUTE)
    with pytest.raises(LakeError, match="seem to be of 1h, not of 5m"):
        lake.ingest_candles([written(tmp_path, rows)], "5m")


def test_one_mint_of_longer_candles_is_found_among_others(lake, tmp_path):
    short = candles([f"M{number}" for number in range(20)], 60, step_ms=5 * MINUTE)
    path = written(tmp_path, pl.concat([short, candles(["slow"], 12, step_ms=HOUR)]))
    with pytest.raises(LakeError, match="the 12 candles of slow seem to be of 1h, not of 5m"):
        lake.ingest_candles([path], "5m")


def test_two_candles_an_hour_apart_prove_nothing(lake, tmp_path):
    rows = candles(["AAA"], 2, step_ms=HOUR)
    assert lake.ingest_candles([written(tmp_path, rows)], "5m").forced == {}


def test_files_are_judged_one_by_one(lake, tmp_path):
    good = written(tmp_path, candles(["AAA"], 50, step_ms=5 * MINUTE), "good.csv")
    bad = written(tmp_path, candles(["BBB"], 50, step_ms=HOUR), "bad.csv")
    with pytest.raises(LakeError, match=r"bad\.csv: "):
        lake.ingest_candles([good, bad], "5m")


def test_thin_candles_are_not_taken_for_longer_ones():
    """Of 2,000 files of thin tokens, each with few of the candles of its hours, hardly one is refused."""
    dice, refused = random.Random(7), 0  # noqa: S311 - nothing is secret
    for _ in range(2_000):
        spacing = Spacing(5 * MINUTE)
        for mint in range(dice.choice([1, 1, 3, 20])):
            hours = dice.choice([2, 12, 100])
            slots = sorted(dice.sample(range(12 * hours), dice.randint(1, 12)))
            times = pl.Series([START_MS + slot * 5 * MINUTE for slot in slots])
            spacing.note(times)
            labels = spacing.of_mints(pl.Series([str(mint)] * len(slots)), times.cast(pl.Datetime("ms")))
            spacing.note_mints(labels)
        refused += spacing.seems() is not None
    assert refused < 20


@given(
    st.sampled_from(["5m", "15m", "1h", "4h"]),
    st.sampled_from([MINUTE, 5 * MINUTE]),
    st.integers(12, 60),
    st.integers(0, 400),
)
def test_candles_without_a_gap_are_known_by_their_labels(length, step, rows, offset):
    actual = lengths_of("interval", length)
    (long,) = actual
    if long <= step:
        return
    spacing = Spacing(step)
    spacing.note(pl.Series([START_MS + (offset + row) * long for row in range(rows)]))
    assert spacing.seems() == (f"its candles, at {rows:,} times,", long)
