"""Which sets of a space are tried: all chosen at once, before anything is known of their results."""

from collections.abc import Iterable
from typing import Literal

import numpy as np

from lab_pipeline.domain.errors import FieldError, InvalidConfigError
from lab_pipeline.domain.space import MOST_SETS, SUBJECT, Point, Space
from lab_pipeline.sweeps.spec import SearchSpec

Method = Literal["grid", "random", "sobol"]


def find_points(space: Space, search: SearchSpec, seed: int) -> tuple[Method, Iterable[Point]]:
    """Return how the space is searched, and the points to try.

    Args:
        space: what is varied.
        search: how; without a method, every combination if there are no more than it has sets, else Sobol's points.
        seed: of what is drawn.

    Raises:
        InvalidConfigError: if a grid has no end, or more sets are drawn than are possible.
    """
    size = space.size
    method: Method = search.method or ("grid" if size is not None and size <= search.sets else "sobol")
    if method == "grid":
        return method, space.grid()
    count, dimensions = search.sets, len(space.dimensions)
    if method == "random":
        shares = np.random.Generator(np.random.PCG64(seed)).random((count, dimensions))
    else:
        from scipy.stats import qmc  # noqa: PLC0415 - three quarters of a second

        doublings = (count - 1).bit_length()  # only a power of two of them is balanced
        if 1 << doublings > MOST_SETS:
            said = f"sobol draws the next power of two, {1 << doublings:,}; at most {MOST_SETS:,} sets are possible"
            raise InvalidConfigError(SUBJECT, [FieldError("search.sets", said)])
        shares = qmc.Sobol(dimensions, scramble=True, rng=seed).random_base2(doublings)
    return method, (
        tuple(one.at(float(share)) for one, share in zip(space.dimensions, row, strict=True)) for row in shares
    )
