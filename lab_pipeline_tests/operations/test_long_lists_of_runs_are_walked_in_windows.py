"""Lists of runs do not sort and search all of them for each page, and leave out and double none."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.storage.runs.schema import RunsTable

from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.operations import runs as runs_module
from lab_pipeline.operations.runs import RunFilter, Runs
from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline.settings import load_settings

BEGIN = datetime(2025, 1, 1, tzinfo=UTC)
RUNS = 60


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of two strategies, in no order of time, some at the same moment, and some of another job."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_HOME", str(home))
        patch.setenv("DAGSTER_HOME", str(home / "dagster"))
        settings = load_settings()
        with open_instance(settings) as instance:
            for number in range(RUNS):
                strategy = "seldom" if number % 20 == 7 else "often"
                run = dg.DagsterRun(
                    "inbox" if number % 5 == 0 else "backtest",
                    run_config={"ops": {"run": {"config": {"strategy": strategy, "timeframe": "1m"}}}},
                    tags={"lab/strategy": strategy},
                    status=dg.DagsterRunStatus.SUCCESS,
                )
                instance.run_storage.add_historical_run(run, BEGIN + timedelta(hours=number * 7 % 30))
            yield Runs(instance, ArtifactStore.of(settings))


def walked(runs, wanted, limit):
    found, after = [], None
    while True:
        page, after = runs.page(wanted, after=after, limit=limit)
        assert len(page) == limit or after is None
        found += page
        if after is None:
            return [(run.position.created_at, run.position.storage_id, run.strategy_id) for run in found]


@pytest.mark.parametrize("window", [1, 2, 7, 1000])
@pytest.mark.parametrize("limit", [1, 4, 100])
@pytest.mark.parametrize("strategy", [None, "often", "seldom", "never"])
def test_every_run_is_listed_once_newest_first(runs, monkeypatch, window, limit, strategy):
    wanted = RunFilter(strategy_ids=[strategy] if strategy else [])
    monkeypatch.setattr(runs_module, "FIRST_WINDOW", window)
    monkeypatch.setattr(runs_module, "WIDER", 2)
    found = walked(runs, wanted, limit)
    assert found == sorted(set(found), reverse=True)
    rows = runs.storage.fetchall(
        RunsTable.select().where(RunsTable.c.pipeline_name == "backtest").order_by(RunsTable.c.id)
    )
    expected = {row["id"] for row in rows if strategy is None or f'"{strategy}"' in row["run_body"]}
    assert {storage_id for _, storage_id, _ in found} == expected
    assert len(list(runs.all(wanted))) == len(expected)
