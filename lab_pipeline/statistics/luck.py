"""One of how many tries a backtest is, and what the best of so many shows by luck alone."""

from dataclasses import dataclass
from typing import Any

import polars as pl

from lab_pipeline.domain.clusters import trades_error
from lab_pipeline.domain.luck import best_by_luck
from lab_pipeline.runs.artifacts import DamagedArtifactError, Manifest
from lab_pipeline.statistics.trials import TrialsLedger


@dataclass(frozen=True)
class Luck:
    """How far the choice of a backtest among others goes.

    It is computed when it is shown, and no part of what was published: the number of tries grows.

    Attributes:
        trials: of the strategy's family on calls of the same time, this one included.
        standard_error: of the mean net return, clustered by days or callers; null where nothing can be said.
        best: mean net return that the best of so many without an edge would show by luck alone; likewise.
    """

    trials: int
    standard_error: float | None
    best: float | None

    @property
    def said(self) -> str:
        """The same in a sentence."""
        if self.trials <= 1:
            return "the only try on these calls so far"
        one = f"one of {self.trials:,} tries on these calls"
        if self.best is None:
            return f"{one}; what luck alone would show cannot be said"
        return f"{one}; the best of {self.trials:,} by luck alone would show {self.best:+.2%} a trade"

    def as_json(self) -> dict[str, Any]:
        """Return the same for a document."""
        return {"trials": self.trials, "bestByLuck": self.best, "said": self.said}


def luck_of(manifest: Manifest, ledger: TrialsLedger) -> Luck:
    """Return what is to be held against a published backtest."""
    spec = manifest.spec
    tried = ledger.tried(spec.strategy_id, spec.range.start, spec.range.end)
    trials = max(1, tried.trials)  # a run that is not on record is a try all the same
    try:
        path = ledger.artifacts.path(manifest.run_id, "trades")
    except DamagedArtifactError:  # which the doctor names
        return Luck(trials, None, None)
    trades = pl.read_parquet(path, columns=["net_return", "called_at", "caller"], glob=False)
    error = trades_error(trades)
    return Luck(trials, error, None if error is None else best_by_luck(error, trials))
