"""The stores of a lab that has nothing but sweeps."""

from pathlib import Path

from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline.statistics.trials import TrialsLedger
from lab_pipeline.sweeps.store import SweepStore


def store_in(home: Path) -> SweepStore:
    """Return the sweeps of a home, whose ledger and backtests are where a lab has them."""
    return SweepStore(home / "sweeps", TrialsLedger(home / "catalog.duckdb", ArtifactStore(home / "artifacts")))
