"""chDB acknowledges inserts whose rows it could not write; the embedded server does not."""

import json
import os
import subprocess
import sys

import polars as pl
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.errors import ClickHouseError

ON_A_SMALL_DISK = """
import json, os, sys
from pathlib import Path
from lab_pipeline.clickhouse.gateway.engine import Engine
from lab_pipeline.clickhouse.gateway.errors import GatewayError

home = Path(sys.argv[1])
engine = Engine(home / "data", memory_bytes=1 << 30)
engine.run("CREATE DATABASE lab")
engine.run("CREATE TABLE lab.t (n UInt64) ENGINE = MergeTree ORDER BY n "
           "SETTINGS non_replicated_deduplication_window = 100")

def insert(number):
    session = engine.session(f"tag{number}", database="lab", parameters={},
                             settings={"async_insert": "0", "insert_deduplication_token": str(number)})
    try:
        work = session.insert("INSERT INTO t", "CSV")
        work.append(f"{number}\\n".encode())
        work.finish()
        return "stored"
    except GatewayError as error:
        return error.code
    finally:
        session.close()

def fill():
    filler = os.open(home / "filler", os.O_WRONLY | os.O_CREAT)
    for size in (4096, 1):
        try:
            while True:
                os.write(filler, bytes(size))
        except OSError:
            pass
    os.close(filler)

answers = [insert(1)]
fill()
answers += [insert(2), insert(2)]
os.truncate(home / "filler", 0)
answers += [insert(2), insert(2)]
print(json.dumps([answers, engine.run("SELECT n FROM lab.t ORDER BY n").split()]))
engine.close()
"""


def test_a_full_disk_acknowledges_nothing_and_takes_the_same_rows_once_there_is_room(embedded, tmp_path):
    assert embedded
    mount = f"mount -t tmpfs -o size=30m none {tmp_path} && "
    probe = subprocess.run(["unshare", "-mr", "sh", "-c", mount + "true"], capture_output=True, text=True, check=False)
    if probe.returncode:
        pytest.skip(f"nothing can be mounted here: {probe.stderr.strip()}")
    command = ["unshare", "-mr", "sh", "-c", mount + 'exec "$1" -c "$2" "$3"', "sh"]
    done = subprocess.run(
        [*command, sys.executable, ON_A_SMALL_DISK, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.returncode == 0, done.stderr
    answers, rows = json.loads(done.stdout.splitlines()[-1])
    assert answers == ["stored", 243, 243, "stored", "stored"]
    assert rows == ["1", "2"]


def test_rows_that_break_a_constraint_are_refused(embedded, client, http):
    assert embedded
    client.command("CREATE TABLE t (n UInt64, CONSTRAINT small CHECK n < 5) ENGINE = MergeTree ORDER BY n")
    assert http("INSERT INTO t FORMAT CSV", body=b"3\n").status == 200
    answer = http("INSERT INTO t FORMAT CSV", body=b"9\n")
    assert answer.status == 500
    assert answer.headers["x-clickhouse-exception-code"] == "469"
    assert b"Constraint `small`" in answer.data
    assert client.query("SELECT n FROM t").result_rows == [(3,)]


def test_the_errors_of_others_are_not_an_inserts_own(embedded, client, http):
    assert embedded
    client.command("CREATE TABLE t (n UInt64, CONSTRAINT small CHECK n < 5) ENGINE = MergeTree ORDER BY n")
    for _ in range(3):
        assert http("INSERT INTO t FORMAT CSV", body=b"9\n").status == 500
        assert http("SELECT nothing").status == 404
        assert http("SELECT throwIf(1, 'two\nlines\tand a tab')").status == 500
        assert http("INSERT INTO t FORMAT CSV", body=b"1\n").status == 200
    assert client.query("SELECT count() FROM t").result_rows == [(3,)]


def test_a_full_disk_is_told_to_the_user(embedded, client, monkeypatch):
    rows = pl.DataFrame({"n": [1]}, schema={"n": pl.UInt64})
    client.command("CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n")
    full = DatabaseError("Cannot reserve 1.00 MiB, not enough space")
    full.code = 243
    with ClickHouse(embedded) as clickhouse:

        def refuse(*_args, **_kwargs):
            raise full

        monkeypatch.setattr(clickhouse.client, "raw_insert", refuse)
        with pytest.raises(ClickHouseError, match="has no room left on its disk: make room, then do it again") as said:
            clickhouse.insert("t", rows, "token")
    assert type(said.value) is ClickHouseError  # at once: writing again and again would not help
