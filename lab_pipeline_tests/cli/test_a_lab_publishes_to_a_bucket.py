"""The whole way with `LAB_ARTIFACTS`: what runs and sweeps publish is in a bucket, and every command finds it there."""

import hashlib
import json
import os
import shutil
from datetime import UTC, datetime

import httpx
import polars as pl
import pytest
from fastapi.testclient import TestClient

from lab_pipeline.api.app import create_app
from lab_pipeline.cli.jobs import run_backtest_job
from lab_pipeline.dagster_ext import io_manager
from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.dagster_ext.reconcile import unpublish
from lab_pipeline.files.bucket import Bucket, BucketError
from lab_pipeline.operations.backtest_config import BacktestConfig
from lab_pipeline.operations.lab import Lab
from lab_pipeline.operations.retention import Policy, collect, expired
from lab_pipeline.operations.run_records import run_records
from lab_pipeline.runs.listing import newest
from lab_pipeline.settings import load_settings
from lab_pipeline.statistics import refresh
from lab_pipeline.storage.duck_file import DuckFile
from lab_pipeline_tests.support.running_lab import RunningLab

pytestmark = pytest.mark.usefixtures("own_forkserver")
BACKTEST = ("backtest", "--strategy", "ladder", "--timeframe", "1m", "--json")
PROCESSES = {"multiprocess": {"max_concurrent": 2, "start_method": {"forkserver": {}}}}
DASK = {"dask": {"cluster": {"local": {"n_workers": 2}}}}
DOWN = "http://127.0.0.1:9"


@pytest.fixture
def objects(bucket):
    """Keys of what is in the bucket, under a directory."""
    return lambda directory="": sorted(one.key for one in Bucket(bucket).objects(directory))


@pytest.fixture
def published(stocked, bucket, monkeypatch):
    """The command line on a home whose two backtests are in a bucket; `run` is what one of them said."""
    monkeypatch.setenv("LAB_ARTIFACTS", bucket)
    stocked.run, stocked.other = stocked(*BACKTEST).json, stocked(*BACKTEST).json
    return stocked


def files_of(lab, run_id):
    listed = lab("artifacts", "list", run_id, "--json").json["artifacts"]
    return {file["name"]: file["sha256"] for file in listed}


def test_a_backtest_has_the_bytes_that_it_has_in_a_directory(stocked, bucket, objects, monkeypatch):
    inside = stocked(*BACKTEST).json
    before = files_of(stocked, inside["runId"])
    monkeypatch.setenv("LAB_ARTIFACTS", bucket)
    ended = stocked(*BACKTEST)
    assert ended.status == 0, ended.err
    run = ended.json
    assert run["artifactsDir"] == f"{bucket}/runs/{run['runId']}"
    assert run["fingerprint"] == inside["fingerprint"]
    assert run["summary"] == inside["summary"]
    assert files_of(stocked, run["runId"]) == before
    assert not (stocked.home / "artifacts" / run["runId"]).exists()
    shutil.rmtree(stocked.home / "artifacts.cache")
    for name, sha256 in before.items():
        got = stocked("artifacts", "get", run["runId"], name, "--to", stocked.home.parent)
        assert got.out.strip() == str(stocked.home.parent / name)
        assert hashlib.sha256((stocked.home.parent / name).read_bytes()).hexdigest() == sha256
    assert objects("runs.manifests") == [f"runs.manifests/{run['runId']}.json"]


def test_every_command_reads_it_there(published):
    run, other = published.run["runId"], published.other["runId"]
    assert [one["status"] for one in published("runs", "list", "--json").json["runs"]] == ["completed"] * 2
    assert published("runs", "show", run, "--json").json["summary"] == published.run["summary"]
    assert "artifacts s3://" in published("runs", "show", run).out
    assert published("compare", run, other).status == 0
    assert published("artifacts", "verify").out == "2 runs: every file is as it was published\n"
    assert published("statistics", "--refresh").status == 0
    assert "2 runs" in published("statistics").out
    assert published("clickhouse", "rebuild").status == 0
    assert "2 runs in s3://" in published("doctor").out
    lab = Lab(load_settings())
    shutil.rmtree(published.home / "artifacts.cache")
    rebuilt = refresh(lab.statistics, run_records(lab.runs, lab.statistics.catalog.run_records()), rebuild=True)
    assert (rebuilt.added, rebuilt.runs) == (2, 2)
    assert lab.run(run[:8]).trades.height == published.run["summary"]["trades"]
    assert "<html" in lab.run(run).sheet().html


def test_runs_are_deleted_there_the_manifest_first(published, objects, monkeypatch):
    run, other = published.run["runId"], published.other["runId"]
    deleted = []
    delete = Bucket.delete
    monkeypatch.setattr(Bucket, "delete", lambda self, keys: deleted.append(some := list(keys)) or delete(self, some))
    assert published("runs", "delete", run, "--yes").status == 0
    assert deleted[0] == [f"runs.manifests/{run}.json"]
    assert not [key for key in objects() if run in key]
    with Lab(load_settings()) as lab:
        unpublish(lab.settings, other)
    assert objects() == []


def test_old_runs_go_by_rule(published, objects):
    with Lab(load_settings()) as lab:
        found = expired(lab, Policy(max_age=None, per_strategy=1, leaders=0), datetime.now(UTC))
        gone = list(collect(lab, found))
    assert [one.run_id for one in gone] == [published.run["runId"]]
    assert gone[0].bytes > 10_000
    assert objects("runs.manifests") == [f"runs.manifests/{published.other['runId']}.json"]


@pytest.mark.parametrize(
    "executor", [pytest.param(PROCESSES, marks=pytest.mark.slow), pytest.param(DASK, marks=pytest.mark.long)]
)
def test_parts_pass_values_through_the_bucket_and_leave_none(published, objects, monkeypatch, executor):
    if executor is DASK:
        pytest.importorskip("dagster_dask")
    seen = []
    discard = io_manager.discard
    monkeypatch.setattr(
        io_manager, "discard", lambda *asked: seen.extend(objects(f".scratch/{asked[1]}")) or discard(*asked)
    )
    settings = load_settings()
    with open_instance(settings) as instance:
        config = BacktestConfig(strategy="ladder", timeframe="1m", candles_per_part=20)
        run = run_backtest_job(instance, config, executor=executor)
    assert run.error is None
    assert len([key for key in seen if "simulate_part" in key]) >= 2
    assert objects(".scratch") == []
    assert files_of(published, run.run_id) == files_of(published, published.run["runId"])


def test_what_dead_runs_left_there_is_swept(published, objects):
    settings = load_settings()
    Bucket(settings.artifacts).write(".scratch/nobody/run.load/whole", b"x")
    with open_instance(settings) as instance:
        assert io_manager.has_scratch(settings, "nobody")
        io_manager.sweep(settings, instance)
    assert not io_manager.has_scratch(settings, "nobody")
    assert objects(".scratch") == []
    assert published.run["status"] == "completed"


@pytest.mark.slow
def test_the_demo_and_its_sweep_are_published_there(lab, bucket, objects, monkeypatch):
    monkeypatch.setenv("LAB_ARTIFACTS", bucket)
    ended = lab("demo", "--tokens", "12", "--calls", "40")
    assert ended.status == 0, ended.err
    run, *others = lab("runs", "list", "--json").json["runs"]
    assert f"report {bucket}/runs/{run['runId']}/report." in ended.out
    assert len(objects("runs.manifests")) == 1 + len(others)
    (sweep,) = lab("sweep", "list", "--json").json["sweeps"]
    sweep_id = sweep["sweep_id"]
    assert f"report {bucket}/sweeps/{sweep_id}/report." in ended.out
    assert objects("sweeps.manifests") == [f"sweeps.manifests/{sweep_id}.json"]
    shutil.rmtree(lab.home / "artifacts.cache")
    told = lab("sweep", "show", sweep_id, "--json")
    assert told.status == 0, told.err
    assert told.json["artifactsDir"] == f"{bucket}/sweeps/{sweep_id}"
    assert "every file there" in lab("doctor").out
    assert lab("sweep", "pin", sweep_id).status == 0
    assert f"sweeps/{sweep_id}/pinned" in objects("sweeps")
    assert lab("sweep", "show", sweep_id, "--json").json["isPinned"] is True
    settings = load_settings()
    with TestClient(create_app(settings)) as client:
        listed = client.get(f"/sweeps/{sweep_id}/artifacts").json()["artifacts"]
        for file in listed:
            assert hashlib.sha256(client.get(file["downloadUrl"]).content).hexdigest() == file["sha256"], file["name"]
        assert client.get(f"/lab/sweeps/{sweep_id}").status_code == 200
    assert lab("sweep", "pin", sweep_id, "--off").status == 0
    assert lab("sweep", "delete", sweep_id).status == 0
    assert objects("sweeps") == objects("sweeps.manifests") == []


def test_files_are_downloaded_with_tag_and_ranges(published, objects):
    run = published.run["runId"]
    with TestClient(create_app(load_settings())) as client:
        listed = client.get(f"/runs/{run}/artifacts").json()["artifacts"]
        trades = next(file for file in listed if file["name"] == "trades.parquet")
        place = f"{published.run['artifactsDir']}/trades.{trades['sha256'][:16]}.parquet"
        assert trades["path"] == place
        assert place.removeprefix(f"{load_settings().artifacts}/") in objects("runs")
        shutil.rmtree(published.home / "artifacts.cache")
        answer = client.get(trades["downloadUrl"])
        assert hashlib.sha256(answer.content).hexdigest() == trades["sha256"]
        assert answer.headers["etag"] == f'"{trades["sha256"]}"'
        assert answer.headers["content-disposition"] == 'attachment; filename="trades.parquet"'
        part = client.get(trades["downloadUrl"], headers={"range": "bytes=4-9"})
        assert (part.status_code, part.content) == (206, answer.content[4:10])
        same = client.get(trades["downloadUrl"], headers={"if-none-match": answer.headers["etag"]})
        assert same.status_code == 304
        table = client.get(trades["downloadUrl"], params={"format": "csv"})
        assert table.headers["content-disposition"] == 'attachment; filename="trades.csv"'
        assert pl.read_csv(table.content).height == trades["rows"]
        both = {"run": [run, published.other["runId"]]}
        assert len(client.get("/compare", params=both).json()["equity"]["series"]) == 2
        assert client.get(f"/lab/runs/{run}").status_code == 200
        assert client.get("/lab/compare", params=both).status_code == 200
        assert "checks.artifacts" not in client.get("/api/health").text


def test_a_store_that_is_down_is_an_error_of_every_reader(published, monkeypatch):
    run = published.run["runId"]
    monkeypatch.setenv("AWS_ENDPOINT_URL", DOWN)
    for words in (
        ("runs", "list"),
        ("runs", "show", run),
        ("artifacts", "list", run),
        ("artifacts", "verify"),
        ("compare", run, published.other["runId"]),
        ("statistics", "--refresh"),
        ("runs", "delete", run, "--yes"),
    ):
        ended = published(*words)
        assert ended.status != 0, words
        assert ended.err.startswith("error: s3://"), ended.err
        assert "does not answer as it ought: check the network" in ended.err
        assert len(ended.err.splitlines()) == 1
    doctor = published("doctor")
    assert doctor.status != 0
    assert doctor.out.count("does not answer as it ought") == 2, doctor.out  # runs and sweeps
    with TestClient(create_app(load_settings())) as client:
        for path in (f"/runs/{run}", "/runs", f"/runs/{run}/artifacts", f"/runs/{run}/artifacts/trades", "/sweeps"):
            answer = client.get(path)
            assert answer.status_code == 503, path
            assert "does not answer as it ought" in answer.json()["error"]["message"]
        health = client.get("/api/health")
        assert health.status_code == 503
        assert "checks.artifacts" in health.text


def test_a_list_that_fails_lets_go_of_the_record(published, monkeypatch):
    assert published.run["runId"]
    monkeypatch.setenv("AWS_ENDPOINT_URL", DOWN)
    settings = load_settings()
    with pytest.raises(BucketError) as kept:
        newest(settings, 10)
    with DuckFile.at(settings.dagster_home / "runs.duckdb").transaction(write=True) as connection:
        assert connection.writable
    assert "does not answer" in str(kept.value)


def test_a_backtest_whose_store_is_down_fails_with_one_sentence_and_goes_on_later(stocked, bucket, monkeypatch):
    monkeypatch.setenv("LAB_ARTIFACTS", bucket)
    create, endpoint = Bucket.create, os.environ["AWS_ENDPOINT_URL"]

    def down(*_asked):
        monkeypatch.setenv("AWS_ENDPOINT_URL", DOWN)
        Bucket(bucket).require()

    monkeypatch.setattr(Bucket, "create", down)
    ended = stocked(*BACKTEST)
    assert ended.status == 1
    assert ended.json["error"].startswith("s3://")
    monkeypatch.setattr(Bucket, "create", create)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    (run,) = stocked("runs", "list", "--json").json["runs"]
    assert (run["status"], run["summary"]) == ("failed", None)
    assert stocked(*BACKTEST).status == 0


def test_a_backup_names_the_bucket_and_a_restored_lab_reads_it(published, bucket, objects, tmp_path, monkeypatch):
    backup, before = tmp_path / "backup", objects()
    taken = published("backup", backup)
    assert taken.status == 0, taken.err
    assert f"artifacts are in {bucket}, which keeps them and is not copied" in taken.out
    (document,) = (backup / "snapshots").glob("*.json")
    snapshot = json.loads(document.read_text())
    assert snapshot["artifacts"] == bucket
    assert not [file["path"] for file in snapshot["files"] if "artifacts" in file["path"]]
    assert objects() == before

    monkeypatch.setenv("LAB_HOME", str(tmp_path / "restored"))
    restored = published("restore", backup)
    assert restored.status == 0, restored.err
    assert restored.err == ""
    run = published.run["runId"]
    assert published("runs", "show", run, "--json").json["summary"] == published.run["summary"]
    assert published("artifacts", "verify").status == 0

    Bucket(bucket).delete([f"runs.manifests/{run}.json"])
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "later"))
    assert f"1 of these runs, {run} first, have no artifacts in {bucket}" in published("restore", backup).err
    monkeypatch.delenv("LAB_ARTIFACTS")
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "without"))
    assert f"the artifacts of these runs are in {bucket}: set LAB_ARTIFACTS to it" in published("restore", backup).err


@pytest.mark.slow
def test_a_running_lab_publishes_there_and_serves_it(stocked, bucket, objects):
    lab = RunningLab(stocked.home, LAB_ARTIFACTS=bucket)
    try:
        launched = [lab.launch(strategy="ladder", timeframe="1m", seed=seed)["run"]["runId"] for seed in (1, 2)]
        assert [lab.wait(run_id) for run_id in launched] == ["SUCCESS", "SUCCESS"]
        assert objects("runs.manifests") == sorted(f"runs.manifests/{run_id}.json" for run_id in launched)
        with httpx.Client(base_url=lab.api, trust_env=False, timeout=60) as client:
            for run_id in launched:
                for file in client.get(f"/runs/{run_id}/artifacts").json()["artifacts"]:
                    content = client.get(f"/runs/{run_id}/artifacts/{file['name']}").content
                    assert hashlib.sha256(content).hexdigest() == file["sha256"]
                assert client.get(f"/lab/runs/{run_id}").status_code == 200
            assert client.get("/api/health").json()["checks"]["artifacts"] == "ok"
            assert client.delete(f"/runs/{launched[0]}").status_code == 204
    finally:
        status, _ = lab.stop()
    assert status == 0
    assert not [key for key in objects() if launched[0] in key]
    assert not (stocked.home / "artifacts").exists()
