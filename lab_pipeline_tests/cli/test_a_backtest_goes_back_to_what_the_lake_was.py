"""`--as-of` and a re-execution read the lake as it was; `lab lake history` lists what there is."""

import dagster as dg
import pytest

from lab_pipeline.cli.jobs import backtest_job
from lab_pipeline.operations.lab import Lab
from lab_pipeline.runs.tags import LAKE_TAG
from lab_pipeline.settings import load_settings
from lab_pipeline_tests.support.markets import candles

BACKTEST = ("backtest", "--strategy", "ladder", "--timeframe", "1m", "--json")


def restate(stocked, tmp_path):
    path = tmp_path / "restated.csv"
    candles().with_columns(volume=7.0 * candles()["volume"] + 1).write_csv(path)
    assert stocked("ingest", "candles", path, "--timeframe", "1m").status == 0


def test_as_of_gives_the_same_fingerprint_after_a_restatement(stocked, tmp_path):
    first = stocked(*BACKTEST).json
    (*_, version) = reversed(stocked("lake", "history", "--json").json["versions"])
    restate(stocked, tmp_path)
    assert stocked(*BACKTEST).json["fingerprint"] != first["fingerprint"]
    for as_of in (version["version"], version["at"]):
        assert stocked(*BACKTEST, "--as-of", as_of).json["fingerprint"] == first["fingerprint"]
    shown = stocked("lake", "history", "--limit", "1")
    assert "ingest restated.csv" in shown.out
    assert "versions before" in shown.out


def test_an_execution_again_reads_what_the_first_did(stocked, tmp_path):
    run_id = stocked(*BACKTEST).json["runId"]
    restate(stocked, tmp_path)
    with Lab(load_settings()) as lab:
        before = lab.artifacts.manifest(run_id)
        first = lab.instance.get_run_by_id(run_id)
        assert first.tags[LAKE_TAG] == before.lake
        again = dg.execute_job(
            dg.reconstructable(backtest_job),
            lab.instance,
            run_config=first.run_config,
            reexecution_options=dg.ReexecutionOptions(run_id),
        )
        assert again.success
        found = lab.artifacts.manifest(again.run_id)
    assert (found.fingerprint, found.lake) == (before.fingerprint, before.lake)


@pytest.mark.parametrize(
    ("as_of", "says"),
    [
        ("v99.1", "the lake has no version 99 of its candles: the newest is"),
        ("2001-01-01", "the lake has no version of 2001-01-01T00:00:00.000Z or before"),
        ("yesterday", "'yesterday' is neither a version of the lake, such as v12.5, nor a time (ISO 8601)"),
    ],
)
def test_what_there_is_not_is_said_in_one_sentence(stocked, as_of, says):
    done = stocked(*BACKTEST[:-1], "--as-of", as_of)
    assert done.status != 0
    assert says in " ".join(done.err.split())
    assert len(done.err.splitlines()) <= 3


def test_a_lake_is_repaired(stocked, tmp_path):
    restate(stocked, tmp_path)
    assert "nothing is lost" in stocked("lake", "repair").out
    lake = Lab(load_settings()).lake
    lost = lake.candle_files("1m")[0].name
    (lake.root / lost).unlink()
    assert "is lost, with its rows" in stocked("doctor").out
    done = stocked("lake", "repair")
    assert done.status == 0
    assert "1 files were taken off the lake" in " ".join(done.out.split())
    assert stocked("doctor").out.count("FAIL") == 0
