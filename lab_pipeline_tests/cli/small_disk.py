"""Commands of the lab on a home that has a small disk of its own, in a mount namespace that ends with them."""

import json
import os
import subprocess
import sys

import pytest

LAB = """
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

def fill():
    for name, size in (("filler", 65536), ("rest", 1)):
        filler = os.open(disk / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            while True:
                os.write(filler, bytes(size))
        except OSError:
            pass
        os.close(filler)

def make_room():
    for name in ("filler", "rest"):
        (disk / name).unlink()
"""
"""Begins a script: `lab(*words)` returns status, output and errors; `disk` and `files` are directories.

`fill()` leaves no byte of the disk, `make_room()` gives back what that took.
"""


def told_by(script, tmp_path, files, clickhouse_url, *, between="", megabytes=48, seconds=180):
    """Run a script on a home on such a disk and return the JSON that it prints in the end.

    Args:
        script: what follows `LAB`.
        tmp_path: where the disk is mounted.
        files: what the script finds as `files`.
        clickhouse_url: of the home.
        between: shell commands for after a first call of the script, with the argument `prepare`, if there is one;
            `{disk}` is the disk.
        megabytes: the disk has.
        seconds: the script may take.
    """
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size={megabytes}m none {disk} && "
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
    call = '"$1" -c "$2" "$3" "$4"'
    before = f"{call} prepare && {between.format(disk=disk)} && " if between else ""
    done = subprocess.run(
        ["unshare", "-mr", "sh", "-c", f"{mount}{before}exec {call}", "sh", sys.executable, LAB + script, disk, files],
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
