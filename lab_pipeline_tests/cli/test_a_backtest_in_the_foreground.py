import json
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from lab_pipeline.cli.up import only_one
from lab_pipeline.runs import artifacts
from lab_pipeline.settings import load_settings
from lab_pipeline_tests.support.markets import candles

BACKTEST = ("backtest", "--strategy", "ladder", "--timeframe", "1m")
HOLD = """
import sys, time
from pathlib import Path
from lab_pipeline.storage.duck_file import DuckFile
with DuckFile.at(Path(sys.argv[1])).transaction(write=True):
    print("held", flush=True)
    time.sleep(60)
"""


def test_json_is_one_object_and_nothing_else(stocked):
    ended = stocked(*BACKTEST, "--json")
    assert ended.status == 0, ended.err
    result = ended.json
    assert set(result) == {"runId", "status", "fingerprint", "summary", "tries", "artifactsDir"}
    assert result["status"] == "completed"
    assert result["artifactsDir"] == str(stocked.home / "artifacts" / result["runId"])
    assert result["summary"]["calls"] == 3
    assert result["summary"]["winRate"] == 1.0
    trades = pl.read_parquet(f"{result['artifactsDir']}/trades.parquet")
    assert trades.height == result["summary"]["trades"]
    shown = stocked("runs", "show", result["runId"][:8], "--json").json
    assert shown["status"] == "completed"
    assert shown["fingerprint"] == result["fingerprint"]
    assert shown["strategyId"] == "ladder"
    assert shown["summary"] == result["summary"]


def test_candles_and_calls_that_nobody_names_are_what_the_lake_has_and_it_says_so(stocked, tmp_path):
    named, unnamed = stocked(*BACKTEST, "--json"), stocked("backtest", "--strategy", "ladder", "--json")
    assert unnamed.json["fingerprint"] == named.json["fingerprint"]
    assert (named.err, unnamed.err) == ("", "")
    assert stocked("backtest", "--strategy", "ladder").err.splitlines()[:2] == [
        "candles of 1m, all there is",
        "calls from 2018-01-10 00:00, the first, to 2018-01-10 00:20, the last (UTC; --from, --to)",
    ]
    once = candles(["AAA"]).filter(pl.int_range(pl.len()) % 5 == 0)
    once.write_csv(tmp_path / "five.csv")
    assert stocked("ingest", "candles", tmp_path / "five.csv", "--timeframe", "5m").status == 0
    ended = stocked("backtest", "--strategy", "ladder", "--from", "2018-01-10", "--to", "2018-01-11")
    assert ended.status == 0
    assert ended.err.splitlines()[0] == "candles of 1m, which most calls have (--timeframe; there is 5m, too)"
    assert "calls from" not in ended.err


def test_the_same_request_twice_has_the_same_bytes(stocked):
    first, second = stocked(*BACKTEST, "--json").json, stocked(*BACKTEST, "--json").json
    assert first["fingerprint"] == second["fingerprint"]
    hashes = [
        [file["sha256"] for file in stocked("artifacts", "list", run["runId"], "--json").json["artifacts"]]
        for run in (first, second)
    ]
    assert hashes[0] == hashes[1]


@pytest.fixture(scope="module")
def plain():
    """The result without options: the same on every home, so one run serves all the tests that compare with it."""
    return {}


@pytest.mark.parametrize(
    "options",
    [
        ("--param", "exit.targets[0].multiple=1.2"),
        ("--param", "costs.feeBps=100"),
        ("--callers", "ann"),
        ("--mints", "AAA"),
        ("--from", "2018-01-10T00:05:00Z"),
        ("--to", "2018-01-10T00:05:00Z"),
        ("--strategy", "trend-rider"),
        ("--seed", "1"),
    ],
)
def test_every_option_reaches_the_result(stocked, options, plain):
    base = plain or stocked(*BACKTEST, "--json").json
    plain.update(base)
    changed = stocked(*BACKTEST, *options, "--json").json
    assert base["fingerprint"] != changed["fingerprint"]
    if options[0] != "--seed":
        assert base["summary"] != changed["summary"]


def test_a_strategy_file_is_stored_and_versioned(stocked, tmp_path):
    file = tmp_path / "mine.json"
    for version, stop in (("1", 0.2), ("1", 0.2), ("2", 0.3)):
        file.write_text(json.dumps({"id": "mine", "exit": {"stopLoss": stop}}))
        ended = stocked("backtest", "--strategy", file, "--timeframe", "1m", "--json")
        assert stocked("runs", "show", ended.json["runId"], "--json").json["strategyVersion"] == version
    old = stocked("backtest", "--strategy", "mine", "--version", "1", "--timeframe", "1m", "--json").json
    assert stocked("runs", "show", old["runId"], "--json").json["strategyVersion"] == "1"


def test_a_range_without_calls_completes_with_nulls(stocked):
    ended = stocked(*BACKTEST, "--from", "2017-01-01", "--to", "2017-02-01", "--json")
    assert ended.status == 0
    assert "NaN" not in ended.out
    assert ended.json["summary"]["calls"] == 0
    assert ended.json["summary"]["winRate"] is None
    assert ended.json["summary"]["totalReturn"] == 0


def test_calls_without_candles_complete_and_say_so(stocked, tmp_path):
    rows = {
        "call_id": ["z1", "z2"],
        "caller": ["zoe"] * 2,
        "mint": ["AAA", "ZZZ"],
        "called_at": ["2019-01-01T00:00:00Z"] * 2,
    }
    pl.DataFrame(rows).write_csv(tmp_path / "late.csv")
    assert stocked("ingest", "calls", tmp_path / "late.csv").status == 0
    result = stocked(*BACKTEST, "--callers", "zoe", "--json").json
    outcomes = pl.read_parquet(f"{result['artifactsDir']}/outcomes.parquet")
    assert outcomes["outcome"].to_list() == ["no_candles", "no_candles"]
    assert result["summary"]["entered"] == 0


def test_a_run_that_fails_says_why_and_leaves_nothing(stocked, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(artifacts.pq, "write_table", full)
    ended = stocked(*BACKTEST)
    assert ended.status == 1
    assert "nothing was published: the disk of " in ended.err
    assert "Traceback" not in ended.err
    run = stocked("runs", "list", "--json").json["runs"][0]
    assert run["status"] == "failed"
    assert "is full" in run["error"]
    assert run["summary"] is None


def test_artifacts_can_be_fetched_by_name(backtested, tmp_path):
    run_id = backtested.runs["ladder"]["runId"]
    ended = backtested("artifacts", "get", run_id[:8], "summary")
    assert json.loads(ended.out)["trades"] >= 1
    assert backtested("artifacts", "get", run_id, "trades.parquet", "--to", tmp_path).status == 0
    assert pl.read_parquet(tmp_path / "trades.parquet").height >= 1


def test_a_copy_of_an_artifact_that_is_cut_off_leaves_what_was_there(backtested, tmp_path, monkeypatch):
    def full(source, target):
        Path(target).write_bytes(Path(source).read_bytes()[:10])
        raise OSError(28, "No space left on device", str(source), None, str(target))

    run_id = backtested.runs["ladder"]["runId"]
    kept = tmp_path / "copies" / "trades.parquet"
    kept.parent.mkdir()
    kept.write_bytes(b"before")
    monkeypatch.setattr("lab_pipeline.cli.artifacts.shutil.copyfile", full)
    ended = backtested("artifacts", "get", run_id, "trades", "--to", kept.parent)
    assert ended.status == 2
    assert f"the disk of {kept.parent}" in ended.err
    assert list(kept.parent.iterdir()) == [kept]
    assert kept.read_bytes() == b"before"
    ended = backtested("artifacts", "get", run_id, "nothing")
    assert ended.status == 2
    assert "it has fills.parquet" in ended.err


def test_the_doctor_finds_nothing_wrong_with_a_healthy_lab(backtested):
    ended = backtested("doctor")
    assert ended.status == 0, ended.out
    assert "FAIL" not in ended.out
    assert "GiB free; MiB used: " in ended.out
    assert "lake 0." in ended.out
    for line in (
        "ok   locks        runs.duckdb, catalog.duckdb: nobody holds them for long",
        "ok   run processes 0 are executing",
        "ok   daemon       not running; `lab up` starts it",
        "ok   log shipper  ",
    ):
        assert line in ended.out
    on = next(line for line in ended.out.splitlines() if line.startswith("ok   automation"))
    assert "statistics_schedule" in on.partition("; off: ")[0]
    assert "nightly_backtests" in on.partition("; off: ")[2]


def test_a_new_lab_is_empty_and_not_ill(lab):
    ended = lab("doctor")
    assert ended.status == 0, ended.out
    lines = ended.out.splitlines()
    (lake,) = (number for number, line in enumerate(lines) if line.startswith("ok   lake "))
    assert "candles: none yet; calls: 0" in lines[lake]
    assert lines[lake + 1].split(maxsplit=1) == ["->", "`lab demo` makes up a market, `lab ingest` brings yours"]


def test_the_doctor_names_whoever_holds_a_store_and_what_was_killed(backtested, monkeypatch, start_holder):
    monkeypatch.setattr("lab_pipeline.cli.health.LOCK_SECONDS", 0.3)
    holder = start_holder(load_settings().catalog_path)
    locks = load_settings().dagster_home / "workers"
    locks.mkdir(exist_ok=True)
    (locks / "dead.lock").touch()
    ended = backtested("doctor")
    assert ended.status == 1
    assert str(holder.pid) in next(line for line in ended.out.splitlines() if line.startswith("FAIL locks"))
    assert "FAIL run processes 0 are executing, 1 were killed" in ended.out


def test_the_doctor_sees_a_daemon_that_is_silent_while_the_lab_is_up(backtested, monkeypatch):
    monkeypatch.setenv("LAB_PORT", "1")
    with only_one(load_settings()):
        ended = backtested("doctor")
    assert ended.status == 1
    assert "silent for over 90 s" in next(line for line in ended.out.splitlines() if line.startswith("FAIL daemon"))
    assert "FAIL webserver    `lab up` runs, but nothing answers on 127.0.0.1:1" in ended.out


@pytest.fixture
def start_holder():
    """Start a process that holds a DuckDB file of the lab."""
    started = []

    def start(path):
        process = subprocess.Popen([sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_the_doctor_names_what_is_wrong_and_the_remedy(backtested, monkeypatch):
    run_id = backtested.runs["ladder"]["runId"]
    (backtested.home / "artifacts" / run_id / "trades.parquet").unlink()
    monkeypatch.setenv("LAB_HOEM", "x")
    ended = backtested("doctor")
    assert ended.status == 1
    assert f"{run_id}/trades.parquet" in ended.out
    assert "unknown: LAB_HOEM" in ended.out


def test_settings_show_value_and_origin(lab, monkeypatch):
    monkeypatch.setenv("LAB_PORT", "4567")
    settings = {entry["name"]: entry for entry in lab("settings", "--json").json["settings"]}
    assert settings["LAB_PORT"] == {"name": "LAB_PORT", "value": "4567", "origin": "environment"}
    assert settings["LAB_THREADS"]["origin"] == "default"


def test_ingest_reports_what_it_did(lab, files):
    assert "240 added" in lab("ingest", "candles", files / "candles.csv", "--timeframe", "1m").out
    assert (
        "0 added, 0 changed, 240 already there"
        in lab("ingest", "candles", files / "candles.csv", "--timeframe", "1m").out
    )


def test_runs_can_be_exported_while_they_are_kept(stocked, tmp_path):
    run_id = stocked(*BACKTEST, "--json").json["runId"]
    assert stocked("runs", "export", tmp_path / "runs.parquet").out.startswith("1 runs written")
    row = pl.read_parquet(tmp_path / "runs.parquet").row(0, named=True)
    assert (row["run_id"], row["job_name"], row["status"]) == (run_id, "backtest", "SUCCESS")
    assert stocked("runs", "export", tmp_path / "runs.duckdb").status == 0
    wrong = stocked("runs", "export", tmp_path / "runs.csv")
    assert wrong.status == 2
    assert ".parquet or .duckdb" in wrong.err
    assert stocked("runs", "list", "--json").json["runs"][0]["runId"] == run_id


def test_an_override_may_clear_a_field(stocked):
    result = stocked(*BACKTEST, "--param", "reentry=null", "--param", "exit.stopLoss=null", "--json").json
    manifest = json.loads(Path(result["artifactsDir"], "manifest.json").read_text())
    assert manifest["spec"]["strategy"]["reentry"] is None
    assert manifest["spec"]["strategy"]["exit"]["stopLoss"] is None


def test_a_caller_whose_name_has_a_comma_can_be_selected(stocked, tmp_path):
    row = {"call_id": ["q1"], "caller": ["Smith, [red]John"], "mint": ["AAA"], "called_at": ["2018-01-10T00:00:30Z"]}
    pl.DataFrame(row).write_csv(tmp_path / "smith.csv")
    assert stocked("ingest", "calls", tmp_path / "smith.csv").status == 0
    result = stocked(*BACKTEST, "--callers", '"Smith, [red]John"', "--json").json
    assert result["summary"]["calls"] == 1


@pytest.mark.parametrize("option", ["--callers", "--mints"])
def test_an_empty_selection_is_not_everything(stocked, option):
    ended = stocked(*BACKTEST, option, ",")
    assert ended.status == 2
    assert f"{option} is empty" in ended.err


def test_a_damaged_manifest_is_named_and_the_other_runs_still_list(backtested):
    bad, good = (run["runId"] for run in backtested.runs.values())
    (backtested.home / "artifacts" / bad / "manifest.json").write_text("{")
    runs = {run["runId"]: run for run in backtested("runs", "list", "--json").json["runs"]}
    assert runs[good]["summary"]["calls"] == 3
    assert runs[bad]["summary"] is None
    assert f"{bad}/manifest.json is damaged" in runs[bad]["error"]
    ended = backtested("artifacts", "list", bad)
    assert ended.status == 2
    assert "is damaged" in ended.err


def test_text_is_never_read_as_markup(lab, tmp_path):
    file = tmp_path / "odd.json"
    file.write_text(json.dumps({"id": "odd", "name": "[/] [red]x :smile:", "exit": {"stopLoss": 0.2}}))
    assert lab("strategies", "add", file).status == 0
    assert "[/] [red]x :smile:" in lab("strategies", "list").out


def test_a_failed_run_prints_its_object_too(stocked, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(artifacts.pq, "write_table", full)
    ended = stocked(*BACKTEST, "--json")
    assert ended.status == 1
    assert ended.json["status"] == "failed"
    assert "is full" in ended.json["error"]


def test_a_killed_backtest_is_reported_failed_by_the_next(stocked):
    script = (
        "import os, signal, sys; import lab_pipeline.runs.backtest as steps;"
        "steps.simulate = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL);"
        "sys.argv = ['lab', *sys.argv[1:]]; from lab_pipeline.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", script, *BACKTEST], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    assert [run["status"] for run in stocked("runs", "list", "--json").json["runs"]] == ["running"]
    assert stocked(*BACKTEST).status == 0
    runs = stocked("runs", "list", "--json").json["runs"]
    assert [run["status"] for run in runs] == ["completed", "failed"]
    assert "was killed" in runs[1]["error"]
