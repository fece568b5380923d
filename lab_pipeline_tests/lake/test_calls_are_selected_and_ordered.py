from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from lab_pipeline.domain import frames
from lab_pipeline_tests.lake.samples import calls

START = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture
def full(lake):
    ann = calls(10, prefix="b", caller="ann", mint="AAA")
    bob = calls(10, prefix="a", caller="bob", mint="BBB")
    lake.write_calls(pl.concat([ann, bob]))
    return lake


def test_all_of_them_by_time_then_id(full):
    found = full.calls()
    assert found.schema == frames.CALLS
    assert found.equals(found.sort("called_at", "call_id"))
    assert found["call_id"].head(3).to_list() == ["a-0000", "b-0000", "a-0001"]


def test_start_is_included_and_end_is_not(full):
    times = full.calls()["called_at"].unique().sort()
    found = full.calls(start=times[2], end=times[5])
    assert found["called_at"].unique().sort().to_list() == times[2:5].to_list()
    assert full.calls(start=times[9] + timedelta(milliseconds=1)).is_empty()
    assert full.calls(end=times[0]).schema == frames.CALLS


def test_by_mint_and_caller(full):
    assert full.calls(mints=["AAA"])["caller"].unique().to_list() == ["ann"]
    assert full.calls(callers=["bob", "nobody"]).height == 10
    assert full.calls(mints=["AAA"], callers=["bob"]).is_empty()
    assert full.calls(mints=[]).is_empty()


def test_names_and_extent(full):
    assert full.callers() == ["ann", "bob"]
    times = full.calls()["called_at"]
    assert full.calls_extent() == (times.min(), times.max()) == (START, times[-1])
