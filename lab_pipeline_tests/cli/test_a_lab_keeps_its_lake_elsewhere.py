"""`LAB_LAKE` puts the lake into a bucket or another directory, and everything works there."""

import pytest

from lab_pipeline.settings import load_settings

BACKTEST = ("backtest", "--strategy", "ladder", "--timeframe", "1m", "--json")


@pytest.mark.parametrize("kind", ["bucket", "directory"])
def test_a_backtest_on_a_lake_elsewhere(lab, files, monkeypatch, bucket, tmp_path, kind):  # noqa: PLR0917 - fixtures
    place = bucket if kind == "bucket" else str(tmp_path / "elsewhere")
    monkeypatch.setenv("LAB_LAKE", place)
    assert lab("ingest", "candles", files / "candles.csv", "--timeframe", "1m").status == 0
    assert lab("ingest", "calls", files / "calls.csv").status == 0
    run = lab(*BACKTEST)
    assert run.status == 0, run.err
    assert not (lab.home / "lake").exists()
    versions = lab("lake", "history", "--json").json["versions"]
    assert [one["isKept"] for one in versions] == [True] * len(versions)
    assert lab(*BACKTEST, "--as-of", versions[0]["version"]).json["fingerprint"] == run.json["fingerprint"]
    parts = lab(*BACKTEST, "--candles-per-part", "1")
    assert parts.json["fingerprint"] == run.json["fingerprint"]
    assert "candles: 1m; calls: " in " ".join(lab("doctor").out.split())
    assert lab("gc", "--dry-run").status == 0


@pytest.mark.parametrize("place", ["gs://bucket/lake", "s3://", "https://somewhere/lake"])
def test_what_is_no_place_for_a_lake_is_refused(lab, monkeypatch, place):
    monkeypatch.setenv("LAB_LAKE", place)
    done = lab("lake", "history")
    assert done.status != 0
    assert "write a directory, s3://bucket or s3://bucket/prefix" in " ".join(done.err.split())


def test_a_directory_of_a_users_home_is_found(monkeypatch, lab):
    monkeypatch.setenv("LAB_LAKE", "~/candles")
    assert str(load_settings().lake_root).endswith("/candles")
    assert "~" not in str(load_settings().lake_root)
    assert lab.home
