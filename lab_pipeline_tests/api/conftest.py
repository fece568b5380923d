"""The application on a home of its own, called in this process."""

import json
from pathlib import Path

import polars as pl
import pytest
from fastapi.testclient import TestClient

from lab_pipeline.api.app import create_app
from lab_pipeline.lake import Lake
from lab_pipeline.settings import Settings
from lab_pipeline_tests.markets import calls, candles


def stock(home):
    """Put the small market into the lake of a home."""
    lake, time_type = Lake(home / "lake"), pl.Datetime("ms", "UTC")
    lake.write_candles(candles().with_columns(pl.col("timestamp").cast(time_type)), "1m")
    lake.write_calls(calls().with_columns(pl.col("called_at").cast(time_type)))


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    return tmp_path


@pytest.fixture
def api(home):
    """A client of the application; nothing runs beside it."""
    with TestClient(create_app(Settings(home=home, port=1))) as client:
        yield client


@pytest.fixture
def openapi(api):
    return api.get("/openapi.json").json()


def snapshot(name, text):
    """Compare with the text that is kept beside the tests; an absent one is written, and the test fails once."""
    path = Path(__file__).parent / "snapshots" / name
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        pytest.fail(f"{path.name} was written: look at it and run again")
    assert text == path.read_text(), f"{name} has changed: delete it to write it anew, and review the difference"


def pretty(document):
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
