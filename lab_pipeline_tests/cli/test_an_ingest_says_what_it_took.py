import json

import polars as pl
import pytest

from lab_pipeline.lake import Lake, ingest
from lab_pipeline_tests.support.markets import candles


def test_ignored_columns_are_named(lab, tmp_path):
    path = tmp_path / "x.csv"
    candles().with_columns(note=pl.lit("x"), **{"a\x1b[2Jb": pl.lit("y")}).write_csv(path)
    ended = lab("ingest", "candles", path, "--timeframe", "1m")
    assert ended.status == 0
    assert f"{path}: ignored columns: note, a\\x1b[2Jb" in ended.out


def test_a_file_of_one_token(lab, tmp_path):
    path = tmp_path / "tv.csv"
    path.write_text("time,open,high,low,close,Volume\n1735689600,1,2,0.5,1.5,10\n")
    ended = lab("ingest", "candles", path, "--timeframe", "5m")
    assert ended.status == 2
    assert "tv.csv has no column mint: " in ended.err
    assert "--mint MINT" in ended.err
    assert lab("ingest", "candles", path, "--timeframe", "5m", "--mint", "So111").status == 0
    assert Lake(lab.home / "lake").mints("5m") == ["So111"]
    ended = lab("ingest", "candles", path, "--timeframe", "5m", "--mint", "So\x1b111")
    assert (ended.status, "the mint 'So\\x1b111' must be 1 to 256 visible characters" in ended.err) == (2, True)


def test_an_exported_chat(lab, tmp_path):
    mint = "7GCihgDB8fe6KNjn2MYtkzZcRjQy3t9GHdC8uHYmW2hr"
    message = {"id": 7, "type": "message", "date_unixtime": "1735689600", "from": "Marta", "from_id": "user5"}
    messages = [{**message, "text": f"short {mint}"}, {**message, "id": 8, "text": "gm"}]
    path, aliases, skipped = tmp_path / "result.json", tmp_path / "who.yaml", tmp_path / "skipped.jsonl"
    path.write_text(json.dumps({"name": "Gems", "type": "public_channel", "id": 1, "messages": messages}))
    aliases.write_text("callers: {Marta Lindqvist: [Marta]}\n")
    ended = lab("ingest", "calls", path, "--aliases", aliases, "--skipped", skipped)
    assert ended.status == 0
    assert "1 calls on 1 mints: 1 added" in ended.out
    assert f"{path}: 1 left out: 1 no token address" in ended.out
    assert "1 calls are short: kept, and not simulated" in ended.out
    assert Lake(lab.home / "lake").callers() == ["Marta Lindqvist"]
    assert json.loads(skipped.read_text())["messageId"] == 8
    ended = lab("ingest", "calls", path, "--patterns", tmp_path / "none.yaml")
    assert (ended.status, f"{tmp_path}/none.yaml is no file" in ended.err) == (2, True)


def test_rows_that_match_alone(lab, tmp_path):
    path = tmp_path / "x.csv"
    candles().with_columns(interval=pl.Series(["1m", "1h", "1m"] * 80)).write_csv(path)
    ended = lab("ingest", "candles", path, "--timeframe", "1m")
    assert ended.status == 2
    assert "the files say 160 times 1m, 80 times 1h: --matching-only takes the rows of 1m alone" in ended.err
    ended = lab("ingest", "candles", path, "--timeframe", "1m", "--matching-only")
    assert (ended.status, f"{path}: 80 rows of other lengths left out" in ended.out) == (0, True)


def test_candles_that_lie_as_longer_ones_do(lab, tmp_path):
    path = tmp_path / "x.csv"
    lines = [f"M,{1735689600 + hour * 3600},1,2,0.5,1.5,10\n" for hour in range(5)]
    path.write_text("mint,timestamp,open,high,low,close,volume\n" + "".join(lines))
    ended = lab("ingest", "candles", path, "--timeframe", "5m")
    assert ended.status == 2
    assert "seem to be of 1h, not of 5m: every step is a multiple of 1h, 12 times the timeframe" in ended.err
    ended = lab("ingest", "candles", path, "--timeframe", "5m", "--force")
    assert (ended.status, f"{path}: taken by force, though its candles seem to be of 1h" in ended.out) == (0, True)


@pytest.mark.parametrize(
    "error", [pl.exceptions.PanicException("a library fell over"), RuntimeError("a library fell over")]
)
def test_an_exception_of_a_library_is_one_sentence(lab, files, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(ingest, "parse_named", fail)
    ended = lab("ingest", "candles", files / "candles.csv", "--timeframe", "1m")
    assert ended.status == 2
    assert ended.err.strip().splitlines()[-1] == f"error: {files}/candles.csv cannot be read: a library fell over"
    assert "Traceback" not in ended.err


def test_what_files_are_taken_for_is_shown_and_nothing_ingested(lab, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("1735689600;1,5;2,5;0,5;1,5;10,5\n1735689900;1,5;2,5;0,7;1,6;10,5\n")
    said = ("--timeframe", "5m", "--mint", "So111", "--dry-run")
    ended = lab("ingest", "candles", path, *said)
    assert ended.status == 0
    for line in (
        "rows.csv: CSV separated by semicolons without a header",
        "open: column open",
        "mint: So111, of all rows",
        "times: Unix seconds, UTC",
        "timeframe: 5m",
        "decimals: behind a comma",
        "ignored columns: none",
        "So111,2025-01-01T00:00:00.000",
        "nothing was ingested: this was a dry run",
    ):
        assert line in ended.out
    assert Lake(lab.home / "lake").timeframes() == []
    ended = lab("ingest", "candles", path, *said, "--columns", "time,open,high,low,close")
    assert (ended.status, "has 6 columns, and --columns names 5" in ended.err) == (2, True)


HEAD = "mint,timestamp,open,high,low,close,volume"
HOURS = [f"M,{1735689600 + 3600 * number},1,2,0.5,1.5,10" for number in range(8)]
MINUTES = [f"N,{1735689600 + 300 * number},1,2,0.5,1.5,10" for number in range(8)]
SAID = [f"{line},{length}" for line, length in zip(HOURS[:1] + MINUTES, ["1h"] + ["5m"] * 8, strict=True)]


@pytest.mark.parametrize(
    ("lines", "options", "warned"),
    [
        ([HEAD, *MINUTES], ("--timeframe", "5m"), None),
        ([HEAD, *HOURS], ("--timeframe", "5m"), "its candles, at 8 times, seem to be of 1h, not of 5m: they are"),
        ([HEAD, *HOURS, *MINUTES], ("--timeframe", "5m"), "the 8 candles of M seem to be of 1h, not of 5m: they are"),
        ([f"{HEAD},interval", *SAID], (), "candles of more than one length (5m, 1h): each row goes where it says"),
        ([f"{HEAD},interval", *SAID], ("--timeframe", "5m"), "it says that its candles are of 5m, 1h: all but those"),
        ([f"{HEAD},interval", *SAID[1:]], ("--timeframe", "5m"), None),
    ],
)
def test_a_dry_run_warns_of_lengths_that_are_several_or_others(lab, tmp_path, lines, options, warned):
    path = tmp_path / "x.csv"
    path.write_text("\n".join(lines) + "\n")
    ended = lab("ingest", "candles", path, *options, "--dry-run")
    assert ended.status == 0, ended.err
    warnings = [line.strip() for line in ended.out.splitlines() if "warning" in line]
    assert (warnings == []) if warned is None else warnings[0].startswith(f"warning: {warned}")


def test_columns_are_taken_for_what_is_said(lab, tmp_path):
    path = tmp_path / "x.csv"
    candles().rename({"volume": "size"}).write_csv(path)
    assert lab("ingest", "candles", path, "--timeframe", "1m", "--map", "volume=size").status == 0
    ended = lab("ingest", "candles", path, "--timeframe", "1m", "--map", "volume")
    assert (ended.status, "--map volume is not of the form volume='Volume BTC'" in ended.err) == (2, True)
    ended = lab("ingest", "candles", path, "--timeframe", "1m", "--map", "size=volume")
    assert (ended.status, "--map size: candles have mint, timestamp," in ended.err) == (2, True)


def test_every_row_goes_where_its_file_says(lab, tmp_path):
    path = tmp_path / "x.csv"
    path.write_text(
        "mint,timestamp,interval,open,high,low,close,volume\n"
        "M,1735689600,5m,1,2,0.5,1.5,10\nM,1735689600,1h,1,2,0.5,1.5,10\n"
    )
    ended = lab("ingest", "candles", path)
    assert (ended.status, "1 candles of 5m, 1 candles of 1h" in ended.out) == (0, True)
    assert Lake(lab.home / "lake").timeframes() == ["5m", "1h"]


def test_what_a_chat_is_taken_for_is_shown_with_what_is_left_out(lab, tmp_path):
    path, mint = tmp_path / "result.json", "J7F1zxWHgVc57S2brosBMZXbSadddUfXJytYd92xS1Bs"
    said = {"type": "message", "date": "2025-03-10T11:00:00", "date_unixtime": "1741604400", "from": "Ann"}
    messages = [{**said, "id": 1, "text": f"{mint} TP1 2.0 TP2 3.0"}, {**said, "id": 2, "text": "gm"}]
    path.write_text(json.dumps({"name": "x", "type": "public_channel", "id": 7, "messages": messages}))
    ended = lab("ingest", "calls", path, "--dry-run")
    assert ended.status == 0, ended.err
    lines = [line.strip() for line in ended.out.splitlines()]
    assert lines[0] == f"{path}: Telegram export"
    assert "left out: 1 no token address" in lines
    assert any(",2.0;3.0," in line and mint in line for line in lines)
    assert not (lab.home / "lake" / "calls").exists()
