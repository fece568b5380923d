from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.settings import load_settings

BACKTEST = ("backtest", "--strategy", "ladder", "--timeframe", "1m", "--json")


@pytest.mark.slow
def test_the_newest_and_the_pinned_are_kept_and_the_rest_goes_with_everything(stocked, monkeypatch):
    ids = [stocked(*BACKTEST).json["runId"] for _ in range(4)]
    with open_instance(load_settings()) as instance:
        instance.add_run_tags(ids[0], {"lab/pinned": "the reference"})

    assert "everything is kept" in stocked("gc").out
    monkeypatch.setenv("LAB_KEEP_RUNS_PER_STRATEGY", "1")
    kept = stocked("gc").out
    assert "of each leaderboard stay, however old (LAB_KEEP_LEADERS: 10)" in kept  # all four, so few are they
    assert "0 runs" in kept
    monkeypatch.setenv("LAB_KEEP_LEADERS", "0")
    plan = stocked("gc", "--dry-run", "--json").json
    assert [run["runId"] for run in plan["runs"]] == ids[1:3]
    assert plan["bytes"] == sum(run["bytes"] for run in plan["runs"]) > 0
    assert len(stocked("runs", "list", "--json").json["runs"]) == 4

    assert "2 runs" in stocked("gc").out
    assert [run["runId"] for run in stocked("runs", "list", "--json").json["runs"]] == [ids[3], ids[0]]
    assert {path.name for path in (stocked.home / "artifacts").glob("[!.]*")} == {ids[3], ids[0]}
    with open_instance(load_settings()) as instance:
        assert not instance.all_logs(ids[1])
        assert instance.all_logs(ids[3])
    assert stocked("gc", "--json").json == {"dryRun": False, "bytes": 0, "leftoverBytes": 0, "lakeBytes": 0, "runs": []}
    assert stocked("artifacts", "verify").status == 0


def test_artifacts_are_verified_by_their_hashes(stocked):
    run_id = stocked(*BACKTEST).json["runId"]
    ended = stocked("artifacts", "verify", run_id[:8])
    assert ended.status == 0
    assert "1 runs" in ended.out
    file = stocked.home / "artifacts" / run_id / "trades.parquet"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1  # of the same size: only the hash can tell
    file.write_bytes(content)
    (stocked.home / "artifacts" / run_id / "paths.parquet").unlink()
    ended = stocked("artifacts", "verify")
    assert ended.status == 1
    assert f"{run_id}/trades.parquet: its bytes are not those that were published" in ended.out
    assert f"{run_id}/paths.parquet: it is missing" in ended.out


@pytest.mark.parametrize("options", [[], ["--dry-run"], ["--json"]])
def test_a_clock_far_ahead_of_the_lab_is_one_clear_message(lab, options):
    now = datetime.now(UTC)
    with open_instance(load_settings()) as instance:
        for at, run_id in ((now - timedelta(days=365), "old"), (now - timedelta(minutes=5), "new")):
            run = dg.DagsterRun(job_name="backtest", run_id=run_id, status=dg.DagsterRunStatus.SUCCESS)
            instance.run_storage.add_historical_run(run, at)
    ended = lab("gc", "--keep-days", "30", *options)
    assert ended.status == 2
    assert "`lab gc --trust-clock`" in ended.err
    assert "Traceback" not in ended.err
    assert not ended.out
    with open_instance(load_settings()) as instance:
        assert instance.has_run("old")
    assert lab("gc", "--keep-days", "30", "--trust-clock", *options).status == 0
    with open_instance(load_settings()) as instance:
        assert instance.has_run("old") is ("--dry-run" in options)
        assert instance.has_run("new")
