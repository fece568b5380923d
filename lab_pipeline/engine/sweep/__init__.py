"""Thousands of rules on the same calls, each bit for bit as the kernel would have it.

from lab_pipeline.engine.sweep import sweep
result = sweep(candles, calls, strategy, {"exit.stopLoss": [0.1, 0.2, 0.3]}, timeframe="1m")
result.sets
"""

from lab_pipeline.engine.sweep.space import InvalidSet, Sets
from lab_pipeline.engine.sweep.sweeper import PartialSweep, Sweep, Sweeper, days_of, sweep
from lab_pipeline.engine.sweep.worker import SweepCanceledError

__all__ = ["InvalidSet", "PartialSweep", "Sets", "Sweep", "SweepCanceledError", "Sweeper", "days_of", "sweep"]
