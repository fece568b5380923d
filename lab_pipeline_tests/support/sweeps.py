"""Sweeps that were never computed, for what is done with published ones."""

import json
from datetime import timedelta

import polars as pl

from lab_pipeline.domain.backtest import iso, now
from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline.statistics.trials import TrialsLedger
from lab_pipeline.sweeps.store import SweepStore

SPEC = {"timeframe": "5m", "space": {"exit.stopLoss": [0.1]}, "objective": {"name": "expectancy_lower"}}
SPACE = {
    "method": "grid",
    "start": "2024-01-01T00:00:00.000Z",
    "end": "2024-02-01T00:00:00.000Z",
    "holdout_start": None,
}
PAGE = "<!doctype html><title>a sweep</title>"
FIGURES = dict.fromkeys(["dsr", "pbo", "spa_consistent_p", "placebo_p"])


def sweeps_of(home):
    """Return the sweeps of a home, whose ledger and backtests are where a lab has them."""
    return SweepStore(home / "sweeps", TrialsLedger(home / "catalog.duckdb", ArtifactStore(home / "artifacts")))


def publish_sweep(home, sweep_id, *, strategy="mine", age_days=0, hashes=("a", "b")):
    """Publish a sweep of that age and return its directory."""
    store = sweeps_of(home)
    head = {
        "fingerprint": "f",
        "spec": {"strategy": strategy, **SPEC},
        "strategy_version": "1",
        "snapshot": "s",
        "engine_version": "1",
        "sets": len(hashes),
        "verdict": "not supported",
    }
    sets = pl.DataFrame({"set_id": range(len(hashes)), "config_hash": list(hashes)})
    store.publish(sweep_id, head, {"sets": sets}, {"space": SPACE, "selection": {"winner": None, **FIGURES}}, PAGE)
    manifest = store.directory / sweep_id / "manifest.json"
    document = json.loads(manifest.read_bytes())
    made = next(name for name in ("createdAt", "created_at") if name in document)
    document[made] = iso(now() - timedelta(days=age_days))
    manifest.write_text(json.dumps(document))
    return store.directory / sweep_id
