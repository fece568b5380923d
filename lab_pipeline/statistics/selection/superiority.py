"""Is the best of many better than cash, or than what is traded now, or only the luckiest: tests of superior ability.

White, "A Reality Check for Data Snooping" (2000); Hansen, "A Test for Superior Predictive Ability" (2005); Romano and
Wolf, "Stepwise Multiple Testing as Formalized Data Snooping" (2005). All sets are resampled by the same draws of days,
which keeps what they have in common. The tests are on all sets that could have won: a shortlist of the best would have
forgotten the luck that made it.
"""

from dataclasses import dataclass

import numpy as np

from lab_pipeline.domain.candles import Floats, Integers
from lab_pipeline.statistics.selection.resampling import block_length, long_run_deviation, stationary_draws, weights

SETS_AT_ONCE = 512
SIZE = 0.05
NO_VARIATION = 1e-12


@dataclass(frozen=True)
class Superiority:
    """What the tests say; a p-value is (1 + resamples at least as good) / (1 + resamples).

    Attributes:
        reality_check: White's p-value: by means in their own unit, all sets counted as if they were as good as the
            benchmark.
        lower: Hansen's, of studentised means, counting no set that is worse than the benchmark.
        consistent: counting no set that is clearly worse; the one to go by.
        upper: counting every set.
        superior: positions of the sets that are better than the benchmark, found step by step, with a chance of
            `SIZE` that even one of them is not (StepM).
        block: mean length of the blocks of days that were drawn.
        days: how many.
        tested: how many sets vary at all; the others are no evidence.
    """

    reality_check: float
    lower: float
    consistent: float
    upper: float
    superior: Integers
    block: float
    days: int
    tested: int


def superiority(
    net: Floats,
    *,
    benchmark: Floats | None = None,
    resamples: int = 2000,
    seed: int = 0,
    block: float | None = None,
    studentised: bool = True,
) -> Superiority:
    """Test whether any set is better than the benchmark.

    Args:
        net: (S, D) day returns of the sets that could have won.
        benchmark: (D,) those of what they are held against; of cash where none is given.
        resamples: how many.
        seed: of the draws.
        block: mean length of a block of days; by Politis and White where none is given.
        studentised: whether each set is measured by its own deviation, as Hansen does; White does not in any case.

    Where no set varies, none is superior, and every p-value is 1.

    Raises:
        ValueError: the benchmark has other days.
    """
    if benchmark is not None and benchmark.shape != net.shape[1:]:
        raise ValueError(f"benchmark: must have {net.shape[1]} days as the sets have, has {benchmark.shape}")
    gains = np.ascontiguousarray((net if benchmark is None else net - benchmark).T)
    length = block_length(gains) if block is None else block
    drawn = weights(stationary_draws(len(gains), length, resamples, seed))
    days = len(gains)
    varied = np.flatnonzero(np.ptp(gains, axis=0) > NO_VARIATION * np.abs(gains).max(axis=0, initial=0.0))
    if not len(varied):
        return Superiority(1.0, 1.0, 1.0, 1.0, varied, length, days, 0)
    told = gains[:, varied]
    plain = _Resampled(told, drawn)
    scaled = _Resampled(told, drawn, studentised=True) if studentised else plain
    mean = scaled.mean
    clear = np.sqrt(2.0 * np.log(max(np.log(days), 1.0)) / days) * long_run_deviation(told, length) / scaled.unit
    # Resampled means are centred on the set's own, as if it were as good as the benchmark. Centred on zero, a set that
    # is worse stays so, and is hardly ever the best of a resample.
    centres = {
        "lower": np.maximum(mean, 0.0),
        "consistent": np.where(mean >= -clear, mean, 0.0),
        "upper": mean,
    }
    luck = scaled.maxima(list(centres.values()))
    p_values = {name: _p_value(by_luck, mean.max()) for name, by_luck in zip(centres, luck, strict=True)}
    return Superiority(
        reality_check=_p_value(plain.maxima([plain.mean])[0], plain.mean.max()),
        superior=varied[_stepwise(scaled, centres["consistent"], luck[1])],
        block=length,
        days=days,
        tested=len(varied),
        **p_values,
    )


class _Resampled:
    """Means of sets and those of every resample, a part of the sets at a time.

    Studentised, a mean is measured by the deviation of its days, and that of a resample by the deviation of the days
    drawn: a day that makes a mean makes its deviation too. Measured by one deviation throughout, the best of five
    hundred sets without an edge on 120 days would be superior at 5 % in 15 % of all worlds, and never if returns are
    skewed. What days have in common is in the draws, so that the deviation need not know of it.
    """

    def __init__(self, gains: Floats, drawn: Floats, *, studentised: bool = False) -> None:
        self.unit: Floats = gains.std(axis=0) if studentised else np.ones(gains.shape[1])
        self.mean: Floats = gains.mean(axis=0) / self.unit
        self._gains = gains / self.unit
        self._drawn = drawn
        self._studentised = studentised

    def maxima(self, centres: list[Floats], among: Integers | None = None) -> Floats:
        """Return the best of all sets in each resample less what each is centred on, (centres, resamples)."""
        found = np.full((len(centres), len(self._drawn)), -np.inf)
        sets = np.arange(len(self.mean)) if among is None else among
        for begin in range(0, len(sets), SETS_AT_ONCE):
            part = sets[begin : begin + SETS_AT_ONCE]
            means, by = self._resample(part)
            for number, centre in enumerate(centres):
                np.maximum(found[number], ((means - centre[part]) * by).max(axis=1), out=found[number])
        return found

    def _resample(self, sets: Integers) -> tuple[Floats, Floats | float]:
        """Return the resampled means of some sets and what to multiply them by, (resamples, sets)."""
        gains = self._gains[:, sets]
        means = self._drawn @ gains
        if not self._studentised:
            return means, 1.0
        squares = self._drawn @ (gains * gains)
        variance = squares - means * means
        by = np.zeros_like(variance)
        np.divide(1.0, np.sqrt(np.abs(variance)), out=by, where=variance > NO_VARIATION * squares)
        return means, by


def _stepwise(resampled: _Resampled, centre: Floats, luck: Floats) -> Integers:
    """Return the sets above a quantile of luck, then those above that of the luck of the others, and so on."""
    left = np.arange(len(centre))
    superior = np.empty(0, np.int64)
    while len(left):
        above = resampled.mean[left] > np.quantile(luck, 1.0 - SIZE)
        if not above.any():
            break
        superior, left = np.concatenate([superior, left[above]]), left[~above]
        if len(left):
            luck = resampled.maxima([centre], left)[0]
    return np.sort(superior)


def _p_value(luck: Floats, observed: float) -> float:
    return (1.0 + float((luck >= observed).sum())) / (1.0 + len(luck))
