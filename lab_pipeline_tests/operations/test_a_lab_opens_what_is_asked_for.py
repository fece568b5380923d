import subprocess
import sys

import pytest

from lab_pipeline.operations.lab import Lab
from lab_pipeline.settings import load_settings

SCRIPT = """
import sys
from lab_pipeline.operations.lab import Lab
from lab_pipeline.settings import load_settings
lab = Lab(load_settings())
print([name for name in ("dagster", "polars", "duckdb", "clickhouse_connect") if name in sys.modules])
lab.strategies.ids()
lab.clickhouse.config
print([name for name in ("dagster", "polars", "clickhouse_connect") if name in sys.modules])
"""


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home" / "dagster"))
    return load_settings()


def test_a_store_imports_what_it_needs_when_it_is_asked_for(settings):
    assert not settings.home.exists()
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "[]"]


def test_every_store_is_made_once(settings):
    with Lab(settings) as lab:
        stores = ("instance", "lake", "strategies", "artifacts", "statistics", "clickhouse", "runs", "keys", "launcher")
        assert all(getattr(lab, name) is getattr(lab, name) for name in stores)
        assert lab.runs.instance is lab.instance
        assert lab.runs.artifacts is lab.artifacts


def test_what_was_opened_is_closed_in_the_end(settings, monkeypatch):
    with Lab(settings) as lab:
        closed = []
        monkeypatch.setattr(lab.instance.run_storage, "dispose", lambda: closed.append("instance"))
        monkeypatch.setattr(type(lab.clickhouse), "close", lambda _: closed.append("clickhouse"))
        monkeypatch.setattr(type(lab.webserver), "close", lambda _: closed.append("webserver"))
    assert closed == ["webserver", "clickhouse", "instance"]


def test_the_instance_of_somebody_else_is_theirs_to_close(settings, monkeypatch):
    with Lab(settings) as owner:
        closed = []
        monkeypatch.setattr(owner.instance.run_storage, "dispose", lambda: closed.append("instance"))
        with Lab(settings, owner.instance) as guest:
            assert guest.runs.instance is owner.instance
        assert closed == []
