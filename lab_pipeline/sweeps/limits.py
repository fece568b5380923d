"""What a sweep may take: known before anything is simulated."""

import numpy as np
import polars as pl

from lab_pipeline.domain.errors import LabError
from lab_pipeline.domain.space import Space

MEMORY = 2 * 10**9
"""Bytes that the cells of a sweep may take where nobody says it."""
WIDEST = 3
"""Paths that are named where a space has too many sets."""


def days_swept(called_at: pl.Series, *, placebos: bool) -> int:
    """Return the days that cells are kept of: those with calls, or with placebos all from the first to the last.

    Args:
        called_at: of the calls that select.
        placebos: whether calls are moved, to whatever days of the span.
    """
    days = called_at.dt.date().to_physical().to_numpy()
    return int(np.ptp(days)) + 1 if placebos and len(days) else len(np.unique(days))


def callers_swept(callers: pl.Series) -> int:
    """Return the callers that cells are kept of: the rest of very many are one."""
    from lab_pipeline.engine.sweep.sweeper import MOST_CALLERS  # noqa: PLC0415 - numba

    return min(callers.n_unique(), MOST_CALLERS + 1)


def require_memory(sets: int, days: int, callers: int, space: Space, memory: int) -> None:
    """Refuse a sweep whose cells do not fit, and say what would.

    Args:
        sets: that will be evaluated, at the most.
        days: with calls.
        callers: of the calls.
        space: that the sets are of.
        memory: bytes that the cells may take.

    Raises:
        LabError: if they take more.
    """
    from lab_pipeline.engine.sweep.cells import bytes_needed  # noqa: PLC0415 - numba

    needed = bytes_needed(sets, days, callers)
    if needed <= memory:
        return
    cuts = [f"the sets from {sets:,} to {sets * memory // needed:,}{_widest(space)}"]
    for what, have, without in (
        ("days", days, bytes_needed(sets, 0, callers)),
        ("callers", callers, bytes_needed(sets, days, 0)),
    ):
        if fitting := (memory - without) * have // (needed - without) if memory > without else 0:
            cuts.append(f"the {what} from {have:,} to {fitting:,}")
    raise LabError(
        f"{sets:,} sets on {days:,} days of {callers:,} callers take {needed / 1e9:.3g} GB for their cells, and "
        f"LAB_SWEEP_MEMORY allows {memory / 1e9:.3g} GB: cut {', or '.join(cuts)}; or raise LAB_SWEEP_MEMORY to "
        f"{needed}"
    )


def _widest(space: Space) -> str:
    """Name the paths with most values."""
    counts = {one.path: len(one.values) for one in space.dimensions if one.values is not None and len(one.values) > 1}
    most = sorted(counts, key=lambda path: -counts[path])[:WIDEST]
    return f" ({', '.join(f'{path} has {counts[path]:,} values' for path in most)})" if most else ""
