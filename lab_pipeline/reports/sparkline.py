"""A curve as a line of text, for places that show text alone."""

from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"
WIDTH = 32
"""Characters of a line: what a column of a table holds."""


def sparkline(values: Sequence[float], *, width: int = WIDTH) -> str:
    """Draw values in their order, the lowest at the bottom, the last of each step; empty without values.

    >>> sparkline([1, 2, 3, 2, 1], width=5), sparkline([5, 5], width=9)
    ('▁▅█▅▁', '▁▁')
    """
    if not len(values):
        return ""
    steps = min(width, len(values))
    taken = [values[(step + 1) * len(values) // steps - 1] for step in range(steps)]
    low, high = min(taken), max(taken)
    if low == high:
        return BLOCKS[0] * steps
    heights = (int(len(BLOCKS) * (value - low) / (high - low)) for value in taken)
    return "".join(BLOCKS[min(height, len(BLOCKS) - 1)] for height in heights)
