"""`lab demo` makes a market, runs a backtest on it through Dagster, sweeps its exits, and says where to look."""

import json

import polars as pl
import pytest

from lab_pipeline.runs.strategies import example_strategies

SMALL = ("demo", "--tokens", "12", "--calls", "40")


@pytest.mark.slow
def test_the_demo_repeats_with_the_same_numbers_as_a_run_of_its_own(lab, monkeypatch):
    monkeypatch.delenv("LAB_PORT", raising=False)
    first, second = lab(*SMALL), lab(*SMALL)
    assert (first.status, second.status) == (0, 0), (first.err, second.err)
    assert "market:" in first.out
    assert "open http://127.0.0.1:3000: the run, its assets" in second.out

    everything = lab("runs", "list", "--json").json["runs"]
    assert {run["status"] for run in everything} == {"completed"}
    ids = sorted(strategy.id for strategy in example_strategies())
    assert sorted(run["strategyId"] for run in everything) == sorted([*ids, *ids])
    assert everything[0]["strategyId"] == "ladder", "Dagster's pages are about the run that is shown"
    assert f"The other {len(ids) - 1} strategies that ship ran on the same calls" in first.out
    runs = [run for run in everything if run["strategyId"] == "ladder"]
    assert runs[0]["runId"] != runs[1]["runId"]
    assert runs[0]["fingerprint"] == runs[1]["fingerprint"]
    assert runs[0]["summary"] == runs[1]["summary"]
    trades = pl.read_parquet(lab.home / "artifacts" / runs[0]["runId"] / "trades.parquet")
    assert trades.height == runs[0]["summary"]["trades"] > 0
    for caller in trades["caller"].unique():
        assert caller in first.out


@pytest.mark.slow
def test_the_demo_ends_with_a_sweep_of_a_thousand_sets_again_and_again(lab):
    first, second = lab(*SMALL), lab(*SMALL)
    assert (first.status, second.status) == (0, 0), (first.err, second.err)
    told = lab("sweep", "list", "--json").json["sweeps"]
    assert [one["sets"] for one in told] == [1000, 1000]
    assert told[0]["fingerprint"] == told[1]["fingerprint"]
    for ended, one in zip((first, second), told, strict=True):
        directory = lab.home / "sweeps" / one["sweep_id"]
        selection = json.loads((directory / "selection.json").read_bytes())
        assert (selection["trials"], selection["trials_before"]) == (1001, 1), "the demo's backtest is a try, too"
        lines = ended.out.splitlines()
        report = lines.index(f"report {directory / 'report.html'}")
        words = " ".join(lines[report + 1 :])
        assert words.strip().startswith("Supported." if selection["supported"] else "Not supported")
        placebos = pl.read_parquet(directory / "placebo.parquet").filter(pl.col("kind") == "moments")
        assert f"on {placebos.height} markets in which the calls were made at other moments" in ended.out


@pytest.mark.slow
def test_where_any_port_will_do_the_demo_names_none(lab, monkeypatch):
    monkeypatch.setenv("LAB_PORT", "0")
    told = lab(*SMALL)
    assert told.status == 0, told.err
    assert "open the address that it prints: the run" in told.out
