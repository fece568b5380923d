"""On a home that is mounted read-only, a command reads, or says in one message that it cannot write there."""

import pytest

from lab_pipeline_tests.cli.small_disk import told_by

ON_A_READ_ONLY_DISK = """
if sys.argv[3:] == ["prepare"]:
    sys.exit(sum(lab(*words)[0] for words in [
        ("ingest", "candles", str(files / "candles.csv"), "--timeframe", "1m"),
        ("ingest", "calls", str(files / "calls.csv")), ("strategies", "list"), ("runs", "list")]))
reading = {" ".join(words): lab(*words) for words in [
    ("strategies", "list"), ("settings",), ("artifacts", "verify"), ("clickhouse", "status"), ("doctor",),
    ("runs", "list")]}
writing = {" ".join(words): lab(*words) for words in [
    ("up",), ("runs", "list", "--json"), ("ingest", "calls", str(files / "calls.csv")),
    ("strategies", "describe", "ladder"),
    ("backtest", "--strategy", "ladder", "--timeframe", "1m"), ("statistics", "--refresh"), ("gc",),
    ("settings", "--apply"), ("api",), ("migrate", "storage", "embedded")]}
print(json.dumps({"reading": reading, "writing": writing}))
"""


@pytest.mark.slow
def test_a_command_on_a_read_only_home_reads_or_says_that_it_cannot_write(tmp_path, files, clickhouse_url):
    told = told_by(ON_A_READ_ONLY_DISK, tmp_path, files, clickhouse_url, between="mount -o remount,ro {disk}")

    assert "ladder" in told["reading"]["strategies list"][1]
    status, lines, _ = told["reading"].pop("doctor")
    assert status == 1
    assert f"FAIL home         {tmp_path}/disk/home" in lines
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
