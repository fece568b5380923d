"""The application on a home of its own, called in this process."""

import pytest
from fastapi.testclient import TestClient

from lab_pipeline.api.app import create_app
from lab_pipeline.settings import Settings


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
