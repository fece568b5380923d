import polars as pl

from lab_pipeline.lake import quality
from lab_pipeline_tests.lake.samples import calls, candles, everything, files_of


def test_same_candles_leave_the_files_untouched(lake):
    rows = candles(["AAA", "BBB", "CCC"], 50)
    assert lake.write_candles(rows, "1m").added == 150
    before = files_of(lake)
    report = lake.write_candles(rows[20:80].reverse(), "1m")
    assert (report.added, report.changed, report.unchanged, report.partitions_written) == (0, 0, 60, 0)
    assert files_of(lake) == before


def test_same_calls_leave_the_file_untouched(lake):
    lake.write_calls(calls(10))
    before = files_of(lake)
    assert lake.write_calls(calls(5)).unchanged == 5
    assert files_of(lake) == before


def test_changed_candle_replaces_the_old_one_and_is_reported(lake):
    rows = candles(["AAA", "BBB"], 5)
    lake.write_candles(rows, "1m")
    before = files_of(lake)
    changed = rows[7:8].with_columns(volume=pl.lit(99.0))
    report = lake.write_candles(pl.concat([rows[:2], changed]), "1m")
    assert (report.added, report.changed, report.unchanged, report.partitions_written) == (0, 1, 2, 1)
    assert report.changed_keys == changed.select("mint", "timestamp").to_dicts()
    assert everything(lake).equals(pl.concat([rows[:7], changed, rows[8:]]))
    untouched = {path: content for path, content in files_of(lake).items() if path in before}
    assert len(untouched) == 1
    assert untouched.items() <= before.items()


def test_changed_call_replaces_the_old_one_and_is_reported(lake):
    lake.write_calls(calls(4))
    changed = calls(4)[2:3].with_columns(caller=pl.lit("bob"))
    report = lake.write_calls(changed)
    assert (report.changed, report.changed_keys) == (1, [{"call_id": "call-0002"}])
    assert lake.calls()["caller"].to_list() == ["ann", "ann", "bob", "ann"]


def test_few_of_many_changed_keys_are_shown(lake):
    rows = candles([f"mint-{number}" for number in range(20)], 3)
    lake.write_candles(rows, "1m")
    report = lake.write_candles(rows.with_columns(pl.col("volume") + 1), "1m")
    assert report.changed == 60
    assert len(report.changed_keys) == 5


def test_new_candles_are_added_between_old_ones(lake):
    rows = candles(["AAA"], 100)
    odd = pl.int_range(pl.len()) % 2 == 1
    lake.write_candles(rows.filter(odd), "1m")
    report = lake.write_candles(rows, "1m")
    assert (report.added, report.unchanged) == (50, 50)
    assert everything(lake).equals(rows)


def test_timeframes_are_kept_apart(lake):
    lake.write_candles(candles(["AAA"], 10, step_ms=300_000), "5m")
    lake.write_candles(candles(["AAA", "BBB"], 3), "1m")
    assert lake.timeframes() == ["1m", "5m"]
    assert (lake.mints("5m"), lake.mints("1m")) == (["AAA"], ["AAA", "BBB"])
    assert (lake.candles_count("5m"), lake.candles_count("1m")) == (10, 6)
    assert everything(lake, "5m").height == 10
    assert quality(lake, "5m").height == 1


def test_report_of_a_first_ingest(lake):
    steps = []
    rows = candles(["AAA", "BBB"], 5)
    path = lake.root.parent / "rows.parquet"
    rows.with_columns(source=pl.lit("x")).write_parquet(path)
    report = lake.ingest_candles([path], "1m", on_progress=lambda done, total: steps.append((done, total)))
    assert (report.files, report.rows, report.added, report.mints) == (1, 10, 10, 2)
    assert (report.first, report.last) == (rows["timestamp"].min(), rows["timestamp"].max())
    assert report.ignored_columns == {str(path): ["source"]}
    assert steps[-1][0] == steps[-1][1]
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)


def test_empty_frame_changes_nothing(lake):
    assert lake.write_calls(calls(0)).rows == 0
    assert files_of(lake) == {}
