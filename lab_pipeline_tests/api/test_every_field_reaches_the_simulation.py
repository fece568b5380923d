import pytest
from fastapi.testclient import TestClient

from lab_pipeline.api.app import create_app
from lab_pipeline.lake import Lake
from lab_pipeline.operations.backtest_config import BacktestConfig
from lab_pipeline.operations.launch import Launcher
from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline.runs.backtest import run_backtest
from lab_pipeline.runs.idempotency import IdempotencyKeys
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.settings import Settings
from lab_pipeline_tests.api.labs import REQUEST, StandInWebserver
from lab_pipeline_tests.support.markets import candles, stock


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Send a request over HTTP, run what it puts into Dagster's queue, and return what that publishes."""
    home = tmp_path_factory.mktemp("home")
    stock(home)
    lake = Lake(home / "lake")
    five = candles().with_columns(timestamp=(candles()["timestamp"] - 1_515_542_400_000) * 5 + 1_515_542_400_000)
    lake.write_candles(five.with_columns(five["timestamp"].cast(lake.calls().schema["called_at"])), "5m")
    strategies = StrategyStore.of(Settings(home=home))
    ladder = strategies.get("ladder").strategy
    strategies.add(ladder.model_copy(update={"horizon_minutes": 30.0}))
    artifacts = ArtifactStore(home / "artifacts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_HOME", str(home))
        patch.setenv("DAGSTER_HOME", str(home / "dagster"))
        app = create_app(Settings(home=home))
        with TestClient(app) as client:
            stores = app.state.stores
            stores.launcher = Launcher(
                stores.runs, StandInWebserver(stores.instance), IdempotencyKeys(home / "catalog.duckdb"), 1000
            )

            def run(**changes):
                answer = client.post("/backtest", json={**REQUEST, "strategyVersion": "1", **changes})
                assert answer.status_code == 202, answer.text
                run_id = answer.json()["runId"]
                queued = stores.instance.get_run_by_id(run_id).run_config["ops"]["run"]["config"]
                spec = BacktestConfig(**queued).to_spec(lake)
                manifest = run_backtest(run_id, spec, lake=lake, strategies=strategies, artifacts=artifacts)
                return manifest, {file.name: file.sha256 for file in manifest.files}

            yield run


@pytest.fixture(scope="module")
def base(run):
    return run()


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        ({"strategyId": "trend-rider"}, "fills.parquet"),
        ({"strategyVersion": "2"}, "fills.parquet"),
        ({"universe": {"type": "tokens", "mints": ["AAA"]}}, "outcomes.parquet"),
        ({"universe": {"type": "callers", "callers": ["ann"]}}, "outcomes.parquet"),
        ({"universe": {"type": "all", "firstMention": {"by": "token", "windowDays": 7}}}, "outcomes.parquet"),
        ({"universe": {"type": "all", "withoutFaults": ["copy"]}}, "outcomes.parquet"),
        ({"timeframe": "5m"}, "fills.parquet"),
        ({"range": {"start": "2018-01-10T00:05:00Z", "end": "2018-01-30T00:00:00Z"}}, "outcomes.parquet"),
        ({"range": {"start": "2018-01-10T00:00:00Z", "end": "2018-01-10T00:05:00Z"}}, "outcomes.parquet"),
        ({"params": {"exit.targets[0].multiple": 1.2}}, "fills.parquet"),
        (
            {"params": {"exit.targets": [{"multiple": 1.3, "fraction": 1.0}], "exit.breakEvenAfter": None}},
            "fills.parquet",
        ),
        ({"params": {"reentry": None, "exit.trailing": None, "exit.breakEvenAfter": None}}, None),
        ({"params": {"portfolio": {"initialCapital": 500.0, "maxOpenPositions": None}}}, "equity.parquet"),
    ],
)
def test_each_field_changes_the_result(run, base, change, changed):
    (plain, before), (manifest, after) = base, run(**change)
    assert manifest.fingerprint != plain.fingerprint
    if changed is not None:
        assert before[changed] != after[changed]


def test_the_seed_reaches_the_resampling(run):
    (one, _), (same, _), (other, _) = run(seed=1), run(seed=1), run(seed=2)
    assert one.fingerprint == same.fingerprint != other.fingerprint
    assert other.spec.seed == 2


def test_the_latest_version_is_meant_where_none_is_named(run):
    manifest, _ = run(strategyVersion=None)
    assert manifest.spec.strategy_version == "2"


def test_times_reach_the_run_to_the_microsecond(run):
    manifest, _ = run(range={"start": "2018-01-10T00:00:30.000001Z", "end": "2018-01-30"})
    assert manifest.summary.calls == 2  # the first call was at 00:00:30 sharp
