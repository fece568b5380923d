"""On a home that is mounted read-only, a command reads, or says in one message that it cannot write there."""

import json
import os
import subprocess
import sys

import pytest

ON_A_READ_ONLY_DISK = """
import contextlib, io, json, sys
from pathlib import Path
from lab_pipeline.cli import main

disk, files = Path(sys.argv[1]), Path(sys.argv[2])

def lab(*words):
    sys.argv = ["lab", *words]
    out, err, status = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as ended:
            status = ended.code or 0
    return [status, out.getvalue(), err.getvalue()]

if sys.argv[3:] == ["prepare"]:
    sys.exit(sum(lab(*words)[0] for words in [
        ("ingest", "candles", str(files / "candles.csv"), "--timeframe", "1m"),
        ("ingest", "calls", str(files / "calls.csv")), ("strategies", "list"), ("runs", "list")]))
reading = {" ".join(words): lab(*words) for words in [
    ("strategies", "list"), ("settings",), ("artifacts", "verify"), ("clickhouse", "status"), ("doctor",)]}
writing = {" ".join(words): lab(*words) for words in [
    ("up",), ("runs", "list"), ("ingest", "calls", str(files / "calls.csv")), ("strategies", "describe", "ladder"),
    ("backtest", "--strategy", "ladder", "--timeframe", "1m"), ("statistics", "--refresh"), ("gc",),
    ("settings", "--apply"), ("api",), ("migrate", "storage", "embedded")]}
print(json.dumps({"reading": reading, "writing": writing}))
"""


@pytest.mark.slow
def test_a_command_on_a_read_only_home_reads_or_says_that_it_cannot_write(tmp_path, files, clickhouse_url):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=48m none {disk} && "
    probe = subprocess.run(["unshare", "-mr", "sh", "-c", mount + "true"], capture_output=True, text=True, check=False)
    if probe.returncode:
        pytest.skip(f"nothing can be mounted here: {probe.stderr.strip()}")
    environment = {
        **os.environ,
        "LAB_HOME": str(disk / "home"),
        "LAB_CLICKHOUSE_URL": clickhouse_url,
        "LAB_PORT": "0",
        "LAB_API_PORT": "0",
        "COLUMNS": "300",
    }
    script = mount + f'"$1" -c "$2" "$3" "$4" prepare && mount -o remount,ro {disk} && exec "$1" -c "$2" "$3" "$4"'
    shell = ["unshare", "-mr", "sh", "-c", script, "sh"]
    done = subprocess.run(
        [*shell, sys.executable, ON_A_READ_ONLY_DISK, str(disk), str(files)],
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])

    assert "ladder" in told["reading"]["strategies list"][1]
    status, lines, _ = told["reading"].pop("doctor")
    assert status == 1
    assert f"FAIL home         {disk}/home" in lines
    assert "make it writable for this user, or set LAB_HOME elsewhere" in lines
    for command, (status, out, err) in told["reading"].items():
        assert status == 0, (command, out, err)
        assert "error" not in err, (command, err)
    for command, (status, out, err) in told["writing"].items():
        assert status == 2, (command, out, err)
        assert "cannot be written (" in err, (command, err)
        assert "make it writable for this user, or set LAB_HOME elsewhere" in err, (command, err)
        assert len(err.strip().splitlines()) == 1, (command, err)
        assert "Traceback" not in out + err
