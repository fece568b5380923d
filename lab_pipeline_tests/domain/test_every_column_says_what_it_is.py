"""No column of a table that Dagster shows goes without a description, and none is described that there is not."""

import pytest

from lab_pipeline.defs.backtest.clickhouse import COLUMNS as OF_RUNS
from lab_pipeline.defs.sweep.clickhouse import COLUMNS as OF_SWEEPS
from lab_pipeline.domain import frames
from lab_pipeline.domain.columns import DESCRIPTIONS, OTHERWISE, describe
from lab_pipeline.sweeps.artifacts import FOLDS

TABLES = {
    "candles": frames.CANDLES | frames.CANDLE_OPTIONS,
    "calls": frames.CALLS | frames.CALL_OPTIONS,
    "fills": frames.FILLS,
    "trades": frames.TRADES,
    "paths": frames.PATHS,
    "outcomes": frames.OUTCOMES,
    "equity": frames.EQUITY,
    "fill_certainty": frames.FILL_CERTAINTY,
    "nulls": frames.NULLS,
    "folds": FOLDS,
    **OF_RUNS,
    **OF_SWEEPS,
}


@pytest.mark.parametrize("table", TABLES)
def test_every_column_is_described(table):
    assert [name for name in TABLES[table] if not describe(table, name)] == []


def test_a_name_that_says_something_else_elsewhere_is_described_there():
    assert describe("candles", "timestamp") != describe("fills", "timestamp") != describe("equity", "timestamp")
    assert all(DESCRIPTIONS.get(name) != text for own in OTHERWISE.values() for name, text in own.items())


def test_a_column_of_somebodys_own_is_not_described():
    assert describe("outcomes", "followers") is None
    assert describe("sets", "p.exit.stopLoss") == "value that was varied"
