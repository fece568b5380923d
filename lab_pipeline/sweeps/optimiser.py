"""Sets that are proposed batch by batch, in view of how those before them fared: Optuna's samplers.

A study lives in memory. What makes it go on elsewhere is the list of its trials: the sampler of each batch is a new
one, whose seed is that of the sweep and the number of the batch, so that it proposes the same to the same trials,
whoever made them. An excluded or invalid set, and one that could not win, has minus infinity for its objectives.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from lab_pipeline.domain.errors import FieldError, InvalidConfigError
from lab_pipeline.domain.space import SUBJECT, Dimension, Point, Space

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import Trial as OpenTrial

    from lab_pipeline.sweeps.spec import Method, SearchSpec

LEAST_DIMENSIONS = 2
"""Of CMA-ES, whose distribution has a shape."""


@dataclass(frozen=True)
class Trial:
    """A set that was proposed, and how it fared.

    Attributes:
        places: where it lies in each dimension: number of the value, or the share of a range that has no end of values.
        objectives: as many as are weighed; larger is better.
        kept: what the sampler keeps with it, as JSON types.
    """

    places: tuple[float, ...]
    objectives: tuple[float, ...]
    kept: dict[str, Any]


def versions() -> tuple[str, ...]:
    """Return what proposes: others may propose otherwise."""
    return tuple(f"{name}=={version(name)}" for name in ("optuna", "cmaes", "numpy"))


class Optimiser:
    """Proposes points of a space; `ask` and `tell` take turns.

    Attributes:
        trials: that were told, in their order.
    """

    def __init__(
        self, space: Space, search: "SearchSpec", seed: int, *, objectives: int = 1, trials: Iterable[Trial] = ()
    ) -> None:
        """Begin a search, or go on with one.

        Args:
            space: to be searched.
            search: how; its method is an optimiser.
            seed: of what is drawn.
            objectives: how many are weighed; several with `nsga2` alone.
            trials: of whole batches, as `tell` returned them.

        Raises:
            LabError: if Optuna is not installed.
            InvalidConfigError: if the method cannot search the space.
        """
        _require_optuna(search.method)
        import optuna  # noqa: PLC0415 - an extra, and half a second

        self._space, self._search, self._seed = space, search, seed
        varied = [one for one in space.dimensions if one.values is None or len(one.values) > 1]
        if search.method == "cmaes" and len(varied) < LEAST_DIMENSIONS:
            said = f"cmaes needs {LEAST_DIMENSIONS} paths that vary, at least: vary more, or search by tpe"
            raise InvalidConfigError(SUBJECT, [FieldError("search.method", said)])
        self._places = {one.path: _distribution(one, search.method) for one in space.dimensions}
        optuna.logging.set_verbosity(optuna.logging.ERROR)  # it announces every study
        self._study: Study = optuna.create_study(directions=["maximize"] * objectives)
        self.trials = list(trials)
        self._study.add_trials(
            optuna.create_trial(
                values=one.objectives,
                params=self._named(one.places),
                distributions=self._places,
                system_attrs=one.kept,
            )
            for one in self.trials
        )
        sampler = self._sampler()
        if isinstance(sampler, optuna.samplers.NSGAIISampler):
            for generation in range(1, self.batch):  # one by one, as they were bred: their order decides between equals
                sampler.get_parent_population(self._study, generation)
        self._open: list[OpenTrial] = []

    @property
    def batch(self) -> int:
        """The number of the next batch, from 0 on."""
        return len(self.trials) // self._search.batch

    def ask(self) -> list[Point]:
        """Return the points of the next batch; none when all sets of the search were proposed."""
        count = min(self._search.batch, self._search.sets - len(self.trials))
        self._study.sampler = self._sampler()
        self._open = [self._study.ask(self._places) for _ in range(count)]
        return [self._point(one.params) for one in self._open]

    def tell(self, objectives: Sequence[tuple[float, ...]]) -> list[Trial]:
        """Say how the points of the last batch fared and return them as trials."""
        told = [self._study.tell(one, values) for one, values in zip(self._open, objectives, strict=True)]
        made = [
            Trial(tuple(one.params[path] for path in self._places), tuple(one.values), dict(one.system_attrs))
            for one in told
        ]
        self.trials += made
        return made

    def points(self) -> list[Point]:
        """Return the points of all trials."""
        return [self._point(self._named(one.places)) for one in self.trials]

    def _sampler(self) -> "BaseSampler":
        """Return the sampler of the next batch."""
        from optuna.samplers import CmaEsSampler, NSGAIISampler, TPESampler  # noqa: PLC0415 - an extra

        seed = int(np.random.SeedSequence([self._seed, self.batch]).generate_state(1)[0])
        match self._search.method:
            case "cmaes":
                return CmaEsSampler(popsize=self._search.batch, seed=seed, warn_independent_sampling=False)
            case "nsga2":
                return NSGAIISampler(population_size=self._search.batch, seed=seed)
            case _:
                return TPESampler(constant_liar=True, seed=seed)

    def _named(self, places: tuple[float, ...]) -> dict[str, float]:
        named = zip(self._space.dimensions, places, strict=True)
        return {one.path: place if one.values is None else int(place) for one, place in named}

    def _point(self, places: dict[str, Any]) -> Point:
        return tuple(
            one.at(places[one.path]) if one.values is None else one.values[places[one.path]]
            for one in self._space.dimensions
        )


def _require_optuna(method: "Method | None") -> None:
    try:
        import cmaes  # noqa: F401, PLC0415 - an extra
        import optuna  # noqa: F401, PLC0415 - an extra
    except ImportError:
        said = f"{method} needs Optuna: pip install 'lab-pipeline[optuna]', or search by sobol"
        raise InvalidConfigError(SUBJECT, [FieldError("search.method", said)]) from None


def _distribution(dimension: Dimension, method: "Method | None") -> "BaseDistribution":
    """Return where the places of a dimension are from; of values that are no ascending numbers none is between others.

    CMA-ES knows no such values: it takes all as they stand in a row.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution  # noqa: PLC0415

    values = dimension.values
    if values is None:
        return FloatDistribution(0.0, 1.0)
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if method == "cmaes" or (len(numbers) == len(values) and numbers == sorted(numbers)):
        return IntDistribution(0, len(values) - 1)
    return CategoricalDistribution(tuple(range(len(values))))
