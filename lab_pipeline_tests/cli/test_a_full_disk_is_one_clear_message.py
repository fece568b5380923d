"""With the whole home on a disk without room, every command says so, and everything works again when there is room."""

import json

import pytest

from lab_pipeline_tests.cli.small_disk import told_by

ON_A_SMALL_DISK = """
def everything():
    return {path.relative_to(disk).as_posix(): path.stat().st_size
            for path in sorted((disk / "home").rglob("*"))
            if path.is_file() and not path.name.endswith(("-shm", "-wal", ".lock", ".gate"))}

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
make_room()
after = [lab("ingest", "calls", str(files / "more.csv")), lab("strategies", "add", str(files / "big.json")),
         lab(*backtest), lab("runs", "list", "--json")]
print(json.dumps({"before": before, "full": full, "found": found, "left": left, "after": after}))
"""


@pytest.mark.long
def test_every_command_that_writes_names_the_full_disk_and_works_once_there_is_room(tmp_path, files, clickhouse_url):
    (files / "more.csv").write_text("call_id,caller,mint,called_at\nd9,dan,AAA,2018-01-10T00:05:00Z\n")
    strategy = {"id": "big", "name": "Big", "description": "x" * 10_000, "exit": {"stopLoss": 0.2}}
    (files / "big.json").write_text(json.dumps(strategy))
    told = told_by(ON_A_SMALL_DISK, tmp_path, files, clickhouse_url)

    assert [status for status, _, _ in told["before"]] == [0, 0, 0, 0]
    status, out, err = told["full"].pop("runs list")  # it only reads
    assert (status, err) == (0, "")
    assert "completed" in out
    status, out, err = told["full"].pop("gc --keep-days 1")  # of which there is nothing to do
    assert (status, err) == (0, "")
    assert "0 runs, 0 bytes deleted" in out
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
