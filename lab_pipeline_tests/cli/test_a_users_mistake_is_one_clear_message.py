import json

import polars as pl
import pytest

from lab_pipeline_tests.support.markets import candles

BACKTEST = ("backtest", "--strategy", "ladder", "--timeframe", "1m")


def refused(ended, *words):
    assert ended.status == 2, ended
    assert "Traceback" not in ended.err
    for word in words:
        assert word in ended.err
    return ended


def with_value(column, value):
    return (
        candles()
        .cast({column: pl.String})
        .with_columns(pl.when(pl.int_range(pl.len()) == 5).then(pl.lit(value)).otherwise(pl.col(column)).alias(column))
    )


def test_a_missing_file(lab, tmp_path):
    refused(lab("ingest", "candles", tmp_path / "none.csv", "--timeframe", "1m"), "none.csv")


def test_wrong_columns(lab, tmp_path):
    pl.DataFrame({"mint": ["A"], "price": [1.0]}).write_csv(tmp_path / "x.csv")
    refused(lab("ingest", "candles", tmp_path / "x.csv", "--timeframe", "1m"), "x.csv", "timestamp", "price")


@pytest.mark.parametrize(
    ("column", "value"),
    [("close", "much"), ("open", "NaN"), ("low", "-1"), ("high", "0.5"), ("volume", "-3"), ("timestamp", "soon")],
)
def test_a_wrong_value_is_named_with_its_row(lab, tmp_path, column, value):
    with_value(column, value).write_csv(tmp_path / "x.csv")
    refused(lab("ingest", "candles", tmp_path / "x.csv", "--timeframe", "1m"), "x.csv", "line 7", column)
    assert list(lab.home.rglob("part-*")) == []


def test_a_pool_below_nothing_and_a_plan_with_its_stop_above_its_targets_are_named_by_row(lab, tmp_path):
    rows = candles()
    rows.with_columns(liquidity=pl.when(pl.int_range(pl.len()) == 5).then(-1.0).otherwise(9.0)).write_csv(
        tmp_path / "x.csv"
    )
    refused(lab("ingest", "candles", tmp_path / "x.csv", "--timeframe", "1m"), "line 7", "liquidity", "from 0")
    header = "call_id,caller,mint,called_at,targets,stop_price,liquidity_at_call\n"
    plan = "c1,ann,AAA,2018-01-10T00:00:00Z,1.5;2,2.5,1\n"
    (tmp_path / "calls.csv").write_text(f"{header}{plan}c2,ann,AAA,2018-01-10T00:00:00Z,,,-1\n")
    ended = lab("ingest", "calls", tmp_path / "calls.csv")
    refused(ended, "line 2", "stop_price", "below the targets", "line 3", "liquidity_at_call")
    assert list(lab.home.rglob("part-*")) == []


@pytest.mark.parametrize(
    ("params", "path"),
    [
        (["exit.stopFill.through=2"], "exit.stopFill.through"),
        (['costs.impact={"model": "volume_share", "coefficient": -1}'], "costs.impact.coefficient"),
        (["intrabar=finer", "finerTimeframe=5m"], "finerTimeframe: candles of 5m do not divide"),
        (["intrabar=finer", "finerTimeframe=30s"], "finerTimeframe: there are no candles of 30s"),
        (['filters=[{"field": "luck", "min": 1}]'], "filters[0].field"),
        (['filters=[{"field": "chain", "in": ["solana"]}]'], "filters[0].field: the calls have no column chain"),
        (['costs.impact={"model": "amm"}'], "costs.impact.liquidity"),
        (['exit.when={"any": [{"kind": "registered", "name": "ahead"}]}'], "exit.when.any[0].name: signal 'ahead' loo"),
    ],
)
def test_a_rule_that_the_lake_cannot_serve_is_named_and_nothing_starts(stocked, params, path):
    (stocked.home / "signals").mkdir()
    ahead = "import polars as pl\n\ndef signal(candles):\n    return pl.col('close').shift(-1) > 1\n"
    (stocked.home / "signals" / "ahead.py").write_text(ahead)
    refused(stocked(*BACKTEST, *(word for one in params for word in ("--param", one))), path)
    assert stocked("runs", "list", "--json").json["runs"] == []


def test_mixed_time_units(lab, tmp_path):
    with_value("timestamp", "1515542700").write_csv(tmp_path / "x.csv")
    refused(lab("ingest", "candles", tmp_path / "x.csv", "--timeframe", "1m"), "x.csv", "timestamp")


def test_duplicate_keys(lab, tmp_path):
    pl.concat([candles(), candles().head(1)]).write_csv(tmp_path / "x.csv")
    refused(lab("ingest", "candles", tmp_path / "x.csv", "--timeframe", "1m"), "x.csv", "line 2", "line 242")


def test_times_off_the_grid(lab, files):
    refused(lab("ingest", "candles", files / "candles.csv", "--timeframe", "5m"), "candles.csv", "5m")


def test_a_timeframe_that_is_none(lab, files):
    refused(lab("ingest", "candles", files / "candles.csv", "--timeframe", "fast"), "fast")


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"exit": {"stopLos": 0.3}}, "exit.stopLos"),
        ({"exit": {"targets": [{"multiple": 2, "fraction": 1.2}]}}, "exit.targets[0].fraction"),
        ({"exit": {"stopLoss": 0.3, "stopFill": {"through": 2}}}, "exit.stopFill.through"),
        ({"exit": {"stopLoss": 0.3}, "filters": [{"field": "luck", "min": 1}]}, "filters[0].field"),
        ({"exit": {"targets": [{"multiple": 2, "fraction": 0.6}, {"multiple": 3, "fraction": 0.6}]}}, "exit.targets"),
        ({}, "exit"),
    ],
)
def test_a_wrong_strategy_names_the_field(stocked, tmp_path, change, path):
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"id": "mine", **change}))
    for command in (
        ("strategies", "validate", file),
        ("strategies", "add", file),
        (*BACKTEST[:2], file, *BACKTEST[3:]),
    ):
        refused(stocked(*command), "mine.json", f"{path}: ")
    assert "mine" not in stocked("strategies", "list").out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--strategy", "nothing"), ("unknown strategy 'nothing'", "ladder")),
        (("--version", "9"), ("no version 9",)),
        (("--timeframe", "5m"), ("no 5m candles", "it has 1m")),
        (("--callers", "ann,zoe"), ("universe.callers", "unknown caller 'zoe'")),
        (("--mints", "CCC"), ("universe.mints", "unknown mint 'CCC'")),
        (("--mints", "AAA", "--callers", "ann"), ("one of --mints, --callers and --all",)),
        (("--from", "2018-01-11", "--to", "2018-01-10"), ("range.end", "after start")),
        (("--from", "yesterday"), ("range.start", "2018-01-10T00:00:00Z")),
        (("--param", "exit.stopLoss=2"), ("exit.stopLoss", "less than 1")),
        (("--param", "exit.stop=0.2"), ("exit.stop", "no such field")),
        (("--param", "0.2"), ("PATH=VALUE",)),
        (("--seed", "-1"), ("seed",)),
    ],
)
def test_a_backtest_that_cannot_run_starts_nothing(stocked, options, words):
    refused(stocked(*BACKTEST, *options), *words)
    assert stocked("runs", "list", "--json").json == {"runs": []}


def test_an_empty_lake_says_how_to_fill_it(lab):
    refused(lab(*BACKTEST), "lab ingest")


def test_unknown_runs_and_artifacts(lab):
    refused(lab("runs", "show", "abc"), "unknown run 'abc'")
    refused(lab("artifacts", "get", "abc", "trades"), "unknown run 'abc'")


def test_a_setting_that_cannot_be_used(lab, monkeypatch):
    monkeypatch.setenv("LAB_PORT", "many")
    refused(lab("settings"), "LAB_PORT")


def test_a_home_that_cannot_be_made(lab, monkeypatch, files):
    (files / "file").touch()
    monkeypatch.setenv("LAB_HOME", str(files / "file" / "home"))
    refused(lab("runs", "list"), "LAB_HOME")
    refused(lab("ingest", "calls", files / "calls.csv"), "file")


def test_bad_usage_is_status_two(lab):
    assert lab("backtest").status == 2
    assert lab("nonsense").status == 2
