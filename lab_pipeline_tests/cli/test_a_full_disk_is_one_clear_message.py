"""With the whole home on a disk without room, every command says so, and everything works again when there is room."""

import json
import os
import subprocess
import sys

import pytest

ON_A_SMALL_DISK = """
import contextlib, io, json, os, sys
from pathlib import Path
from lab_pipeline.cli import main

disk, files = Path(sys.argv[1]), Path(sys.argv[2])

def lab(*words):
    sys.argv = ["lab", *words]
    out, err = io.StringIO(), io.StringIO()
    status = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as ended:
            status = ended.code or 0
    return [status, out.getvalue(), err.getvalue()]

def everything():
    return {path.relative_to(disk).as_posix(): path.stat().st_size
            for path in sorted((disk / "home").rglob("*"))
            if path.is_file() and not path.name.endswith(("-shm", "-wal", ".lock", ".gate"))}

def fill():
    for name, size in (("filler", 65536), ("rest", 1)):
        filler = os.open(disk / name, os.O_WRONLY | os.O_CREAT)
        try:
            while True:
                os.write(filler, bytes(size))
        except OSError:
            pass
        os.close(filler)

backtest = ("backtest", "--strategy", "ladder", "--timeframe", "1m", "--json")
before = [lab("ingest", "candles", str(files / "candles.csv"), "--timeframe", "1m"),
          lab("ingest", "calls", str(files / "calls.csv")), lab(*backtest), lab("statistics", "--refresh", "--json")]
fill()
found = everything()
full = {" ".join(words): lab(*words) for words in [
    ("ingest", "calls", str(files / "more.csv")), backtest, ("runs", "list"), ("gc", "--keep-days", "1"),
    ("statistics", "--refresh"), ("strategies", "add", str(files / "big.json")), ("settings", "--apply"), ("up",),
    ("doctor",)]}
left = everything()
for name in ("filler", "rest"):
    (disk / name).unlink()
after = [lab("ingest", "calls", str(files / "more.csv")), lab("strategies", "add", str(files / "big.json")),
         lab(*backtest), lab("runs", "list", "--json")]
print(json.dumps({"before": before, "full": full, "found": found, "left": left, "after": after}))
"""


@pytest.mark.slow
def test_every_command_names_the_full_disk_and_works_once_there_is_room(tmp_path, files, clickhouse_url):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=48m none {disk} && "
    probe = subprocess.run(["unshare", "-mr", "sh", "-c", mount + "true"], capture_output=True, text=True, check=False)
    if probe.returncode:
        pytest.skip(f"nothing can be mounted here: {probe.stderr.strip()}")
    (files / "more.csv").write_text("call_id,caller,mint,called_at\nd9,dan,AAA,2018-01-10T00:05:00Z\n")
    strategy = {"id": "big", "name": "Big", "description": "x" * 100_000, "exit": {"stopLoss": 0.2}}
    (files / "big.json").write_text(json.dumps(strategy))
    environment = {
        **os.environ,
        "LAB_HOME": str(disk / "home"),
        "LAB_CLICKHOUSE_URL": clickhouse_url,
        "LAB_PORT": "0",
        "LAB_API_PORT": "0",
        "COLUMNS": "300",
    }
    shell = ["unshare", "-mr", "sh", "-c", mount + 'exec "$1" -c "$2" "$3" "$4"', "sh"]
    done = subprocess.run(
        [*shell, sys.executable, ON_A_SMALL_DISK, str(disk), str(files)],
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])

    assert [status for status, _, _ in told["before"]] == [0, 0, 0, 0]
    for command, (status, out, err) in told["full"].items():
        text = out if command == "doctor" else err
        assert status == (1 if command == "doctor" else 2), (command, out, err)
        assert "is full (" in text, (command, out, err)
        assert "make room, then do it again" in text, (command, text)
        assert "Traceback" not in out + err
        assert command == "doctor" or (out.strip() == "" and len(err.strip().splitlines()) == 1), (command, out, err)
    assert told["left"] == told["found"]  # nothing half-written, nothing lost

    ingested, added, again, listed = told["after"]
    assert [ingested[0], added[0], again[0], listed[0]] == [0, 0, 0, 0], told["after"]
    assert ingested[1].startswith("1 calls on 1 mints: 1 added")
    first, second = json.loads(told["before"][2][1]), json.loads(again[1])
    assert second["summary"]["calls"] == first["summary"]["calls"] + 1
    assert [run["status"] for run in json.loads(listed[1])["runs"]] == ["completed", "completed"]
