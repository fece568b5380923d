"""`lab compare`: call by call, in numbers, and what was asked."""

import polars as pl
import pytest

from lab_pipeline.cli.app import out


def made_by_call(lab, run_id):
    directory = lab.home / "artifacts" / run_id
    calls = pl.read_parquet(directory / "outcomes.parquet").select("call_id")
    made = pl.read_parquet(directory / "trades.parquet").group_by("call_id").agg(pl.col("net_return").sum())
    return calls.join(made, on="call_id", how="left").fill_null(0.0).sort("call_id")["net_return"]


def test_the_difference_of_each_call_is_that_of_its_trades(backtested):
    ids = [backtested.runs[name]["runId"] for name in ("ladder", "trend-rider")]
    told = backtested("compare", ids[0][:8], ids[1][:8], "--json").json
    difference = made_by_call(backtested, ids[1]) - made_by_call(backtested, ids[0])
    (pair,) = told["beyondFirst"]
    assert (pair["runId"], pair["calls"], pair["onlyFirst"], pair["onlySecond"]) == (ids[1], 3, 0, 0)
    assert pair["mean"] == pytest.approx(difference.mean())
    assert (pair["better"], pair["worse"]) == ((difference > 0).sum(), (difference < 0).sum())
    assert [run["runId"] for run in told["runs"]] == ids
    assert told["configDiff"]["strategyId"] == ["ladder", "trend-rider"]


def test_it_fits_eighty_columns(backtested, monkeypatch):
    monkeypatch.setattr(out, "width", 80)
    ids = [run["runId"] for run in backtested.runs.values()]
    shown = backtested("compare", *ids).out
    assert max(map(len, shown.splitlines())) <= 80
    for words in ("beyond what it made under A", "95 % interval", "asked differently", "mean net return", '"ladder"'):
        assert words in shown


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        (["ladder"], "name 2 to 20 runs, not 1"),
        (["ladder", "ladder"], "named more than once"),
        (["ladder", "none"], "unknown run 'none'"),
    ],
)
def test_what_cannot_be_compared_is_one_clear_message(backtested, chosen, said):
    ended = backtested(
        "compare", *(backtested.runs[name]["runId"] if name in backtested.runs else name for name in chosen)
    )
    assert ended.status == 2
    assert said in ended.err


def test_a_run_that_published_nothing_is_named(backtested, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("lab_pipeline.runs.artifacts.pq.write_table", full)
        assert backtested("backtest", "--strategy", "ladder").status == 1
    failed = next(run for run in backtested("runs", "list", "--json").json["runs"] if run["status"] == "failed")
    ended = backtested("compare", backtested.runs["ladder"]["runId"], failed["runId"])
    assert f"nothing to compare yet of {failed['runId']} (failed)" in ended.err
