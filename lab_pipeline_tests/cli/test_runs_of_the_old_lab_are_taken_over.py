import duckdb
import pytest
from fastapi.testclient import TestClient

from lab_pipeline.api.app import create_app
from lab_pipeline.runs.legacy import fraction, moment
from lab_pipeline.settings import load_settings


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "old" / "lab.duckdb"
    path.parent.mkdir()
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE run_status (runId VARCHAR, status VARCHAR, updated_at BIGINT, error VARCHAR)")
        connection.execute(
            "CREATE TABLE simulation_runs (run_id VARCHAR, strategy_name VARCHAR, caller_name VARCHAR,"
            " interval VARCHAR, start_time TIMESTAMP, end_time VARCHAR, win_rate DOUBLE, total_return_pct DOUBLE,"
            " total_trades VARCHAR, created_at BIGINT, extra INTEGER)"
        )
        connection.executemany(
            "INSERT INTO run_status VALUES (?, ?, ?, ?)",
            [
                ("r1", "completed", 1_717_200_000_000, None),
                ("r2", "FAILED", 1_717_200_060, "no candles"),
                ("r3", "running", 1_717_200_000, None),
                ("../r4", "completed", 1_717_200_000, None),
                (None, "completed", 1_717_200_000, None),
            ],
        )
        connection.executemany(
            "INSERT INTO simulation_runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)",
            [
                ("r1", "ladder", "ann", "5m", "2024-01-01", "2024-02-01T00:00:00Z", 62.5, 12.5, "8", 1_717_199_000),
                ("r5", "ladder", None, "7m", None, None, 0.4, -5.0, "many", 1_717_100_000),
            ],
        )
    return path


def test_runs_are_recorded_in_this_labs_units_and_what_is_not_is_named(lab, old):
    ended = lab("migrate", "legacy", old)
    assert ended.status == 0, ended.err
    assert ended.out.startswith("3 runs taken over, 0 already there, 5 things not converted")
    for named in ("run r3: it was running", "'../r4' is no name", "row 5: it has no id", "interval = '7m'", "'many'"):
        assert named in ended.err
    runs = {run["runId"]: run for run in lab("runs", "list", "--json").json["runs"]}
    assert set(runs) == {"r1", "r2", "r5"}
    assert (runs["r1"]["status"], runs["r1"]["strategyId"], runs["r1"]["timeframe"]) == ("completed", "ladder", "5m")
    assert runs["r1"]["createdAt"] == "2024-05-31T23:43:20.000Z"
    assert runs["r1"]["completedAt"] == "2024-06-01T00:00:00.000Z"
    assert (runs["r2"]["status"], runs["r2"]["error"]) == ("failed", "no candles")
    shown = lab("runs", "show", "r1", "--json").json
    assert shown["legacyResult"] == {"trades": 8, "winRate": 0.625, "totalReturn": 0.125}
    assert "winRate          0.625 (as the old lab computed it)" in lab("runs", "show", "r1").out
    with TestClient(create_app(load_settings())) as client:
        assert client.get("/runs/r1").json()["legacyResult"] == shown["legacyResult"]
        assert client.get("/runs/r2").json()["legacyResult"] is None


def test_folders_of_artifacts_are_named(lab, old):
    (old.parent / "artifacts" / "r1").mkdir(parents=True)
    (old.parent / "artifacts" / "r1" / "trades.csv").write_text("mint,pnl\n")
    ended = lab("migrate", "legacy", old.parent)
    assert ended.out.startswith("3 runs taken over, 0 already there, 6 things not converted")
    assert "artifacts/r1, artifacts of run r1: 1 files stay where they are" in ended.err


def test_twice_changes_nothing(lab, old):
    lab("migrate", "legacy", old.parent)
    before = lab("runs", "list", "--json").json
    ended = lab("migrate", "legacy", old.parent)
    assert ended.out.startswith("0 runs taken over, 3 already there")
    assert lab("runs", "list", "--json").json == before


def test_what_is_no_old_lab_is_refused(lab, tmp_path):
    assert "no DuckDB file" in lab("migrate", "legacy", tmp_path).err
    (tmp_path / "x.duckdb").write_text("no database, but long enough to be taken for one" * 100)
    assert lab("migrate", "legacy", tmp_path / "x.duckdb").status == 2
    with duckdb.connect(str(tmp_path / "other.duckdb")) as connection:
        connection.execute("CREATE TABLE others (a INTEGER)")
    ended = lab("migrate", "legacy", tmp_path / "other.duckdb")
    assert ended.status == 2
    assert "it has others" in ended.err


@pytest.mark.parametrize("value", [1_717_200_000, 1_717_200_000_000, 1_717_200_000_000_000, "1717200000",
                                   "2024-06-01T00:00:00Z", "2024-06-01"])  # fmt: skip
def test_times_are_told_apart_by_magnitude(value):
    assert moment(value).isoformat() == "2024-06-01T00:00:00+00:00"


def test_percentages_become_fractions():
    assert fraction("total_return_pct", 50) == 0.5
    assert fraction("total_return", 1.5) == 1.5
    assert fraction("win_rate", 55.0, bounded=True) == 0.55
    assert fraction("win_rate", 0.55, bounded=True) == 0.55
    assert fraction("sharpe", float("nan")) is None
