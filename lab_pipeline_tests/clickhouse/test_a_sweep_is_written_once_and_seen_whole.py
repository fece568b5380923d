from datetime import date, timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from lab_pipeline.clickhouse import sweeps, writer
from lab_pipeline.clickhouse.errors import ClickHouseUnavailableError
from lab_pipeline.clickhouse.sweeps import publish_sweep, visible_rows
from lab_pipeline.clickhouse.writer import delete_run

DAYS = 5


def sets_frame(sets, unable=1):
    """Sets of which the last ones cannot win; the best is the one before them."""
    able = sets - unable
    return pl.DataFrame(
        {
            "set_id": range(sets),
            "config_hash": [f"{number:064x}" for number in range(sets)],
            "p.exit.stopLoss": [0.1 + number / 100 for number in range(sets)],
            "p.exit.maxHoldMinutes": [None if number % 2 else 30.0 for number in range(sets)],
            "p.intrabar": ["stop_first"] * sets,
            "trades": [10 + number for number in range(sets)],
            "win_rate": [0.5] * sets,
            "expectancy": [number / 7 for number in range(sets)],
            "expectancy_lower": [None if number == 0 else number / 9 for number in range(sets)],
            "profit_factor": [1.5] * sets,
            "plateau": [0.25] * sets,
            "eligible": [number < able for number in range(sets)],
            "rank": [able - number if number < able else None for number in range(sets)],
        },
        schema_overrides={"set_id": pl.Int32, "trades": pl.Int32, "rank": pl.Int32},
    )


def days_frame(sets):
    rows = [
        (number, date(2024, 2, 27) + timedelta(days=day), day, number + day / 7, 2.0)
        for number in range(sets)
        for day in range(DAYS)
    ]
    names = {"set_id": pl.Int32, "day": pl.Date, "trades": pl.Int32, "net_sum": pl.Float64, "net_sumsq": pl.Float64}
    return pl.DataFrame(rows, schema=names, orient="row")


def stored(clickhouse, table, sweep_id, *order):
    query = "SELECT * EXCEPT (run_id, attempt, written_at) FROM {table:Identifier} WHERE run_id = {run:String}"
    return clickhouse.query(query, {"table": table, "run": sweep_id}).sort(order)


def test_sets_and_days_arrive_as_they_are(clickhouse, run_id):
    sets, days = sets_frame(7), days_frame(7)
    assert publish_sweep(clickhouse, run_id, sets, days).rows == {"sweep_sets": 7, "sweep_days": 6 * DAYS}
    assert visible_rows(clickhouse, run_id) == {"sweep_sets": 7, "sweep_days": 6 * DAYS}
    seen = stored(clickhouse, "sweep_sets", run_id, "set_id")
    same = ["expectancy", "expectancy_lower", "win_rate", "profit_factor", "plateau"]
    assert_frame_equal(seen.select(same), sets.select(same))
    assert seen["config_hash"].cast(pl.String).to_list() == sets["config_hash"].to_list()
    assert seen["rank"].to_list() == [6, 5, 4, 3, 2, 1, 0]
    assert seen["eligible"].to_list() == [1] * 6 + [0]
    assert seen["lane_min"].to_list() == [None] * 7
    query = """SELECT set_id, params['exit.stopLoss'] AS stop, mapContains(params, 'exit.maxHoldMinutes') AS held,
        length(params) AS known FROM sweep_sets WHERE run_id = {run:String} ORDER BY set_id"""
    params = clickhouse.query(query, {"run": run_id})
    assert params["stop"].to_list() == sets["p.exit.stopLoss"].to_list()
    assert params["held"].to_list() == [1, 0, 1, 0, 1, 0, 1]
    assert params["known"].to_list() == [2, 1, 2, 1, 2, 1, 2]
    kept = stored(clickhouse, "sweep_days", run_id, "set_id", "day")
    assert_frame_equal(kept.cast(dict(days.schema)), days.filter(pl.col("set_id") < 6))


def test_only_the_best_sets_have_their_days_there(clickhouse, run_id, monkeypatch):
    monkeypatch.setattr(sweeps, "MOST_SETS_WITH_DAYS", 2)
    publish_sweep(clickhouse, run_id, sets_frame(7), days_frame(7))
    assert visible_rows(clickhouse, run_id) == {"sweep_sets": 7, "sweep_days": 2 * DAYS}
    assert set(stored(clickhouse, "sweep_days", run_id, "set_id")["set_id"]) == {4, 5}


def test_a_sweep_without_a_set_that_can_win_or_a_number_that_varies_is_committed_too(clickhouse, run_id):
    sets = sets_frame(3, unable=3).drop("p.exit.stopLoss", "p.exit.maxHoldMinutes")
    publish_sweep(clickhouse, run_id, sets, days_frame(3))
    assert visible_rows(clickhouse, run_id) == {"sweep_sets": 3, "sweep_days": 0}


def test_a_sweep_in_many_batches_is_whole(clickhouse, run_id, monkeypatch):
    monkeypatch.setattr(writer, "BATCH_ROWS", 10)
    monkeypatch.setattr(sweeps, "BATCH_ROWS", 10)
    publish_sweep(clickhouse, run_id, sets_frame(33), days_frame(33))
    assert visible_rows(clickhouse, run_id) == {"sweep_sets": 33, "sweep_days": 32 * DAYS}


@pytest.mark.parametrize("table", ["sweep_sets", "sweep_days", "run_commits"])
def test_an_attempt_that_broke_off_is_never_seen(clickhouse, run_id, monkeypatch, table):
    insert = clickhouse.insert

    def broken(name, rows, token):
        if name == table:
            raise ClickHouseUnavailableError("gone")
        insert(name, rows, token)

    publish_sweep(clickhouse, run_id, sets_frame(4), days_frame(4))
    monkeypatch.setattr(clickhouse, "insert", broken)
    with pytest.raises(ClickHouseUnavailableError):
        publish_sweep(clickhouse, run_id, sets_frame(9), days_frame(9))
    assert visible_rows(clickhouse, run_id) == {"sweep_sets": 4, "sweep_days": 3 * DAYS}


def test_a_sweep_written_again_is_there_once_and_goes_with_its_run(clickhouse, run_id):
    other = f"{run_id}-other"
    for sets in (5, 3, 3):
        publish_sweep(clickhouse, run_id, sets_frame(sets), days_frame(sets))
    publish_sweep(clickhouse, other, sets_frame(2), days_frame(2))
    assert visible_rows(clickhouse, run_id) == {"sweep_sets": 3, "sweep_days": 2 * DAYS}
    delete_run(clickhouse, run_id)
    assert visible_rows(clickhouse, run_id) == {}
    assert stored(clickhouse, "sweep_days", run_id, "set_id").is_empty()
    assert visible_rows(clickhouse, other) == {"sweep_sets": 2, "sweep_days": DAYS}
