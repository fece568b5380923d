"""Whether a sweep could run, and what it would take, before anything is simulated."""

from dataclasses import dataclass

from lab_pipeline.domain.errors import FieldError, InvalidConfigError, LabError
from lab_pipeline.domain.space import Space
from lab_pipeline.lake import Lake
from lab_pipeline.runs import backtest as backtests
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.sweeps.limits import MEMORY, callers_swept, days_swept, require_memory
from lab_pipeline.sweeps.outlook import unsaid_of
from lab_pipeline.sweeps.running import ResolvedSweep, plan, resolve
from lab_pipeline.sweeps.search import find_points
from lab_pipeline.sweeps.spec import Method, SweepSpec

SUBJECT = "sweep"
PLACES = {"strategyId": "strategy", "strategyVersion": "strategy_version"}
"""What a backtest calls fields that are called otherwise here."""
MOST_MADE, SAMPLE = 10_000, 1_000
"""Sets that are made to be counted: two thirds of a second a thousand; and how many stand for more of them."""
OF_THE_REQUEST = ("space", "constraints", "search")
"""Begin paths of what is no parameter."""


def find_problems(spec: SweepSpec, strategies: StrategyStore, lake: Lake) -> list[FieldError]:
    """Name the fields of a request that can be seen to be wrong without making its sets, by their paths."""
    found: list[FieldError] = []
    try:
        asked = spec.backtest(backtests.full_range(lake))
    except InvalidConfigError as error:
        found += error.errors
    except backtests.EmptyLakeError as error:
        found.append(FieldError("timeframe", str(error)))
    else:
        found += [FieldError(_place(one.path), one.message) for one in backtests.find_problems(asked, strategies, lake)]
    try:
        find_points(Space.parse(spec.space, spec.constraints), spec.search, spec.seed)
    except InvalidConfigError as error:
        found += [FieldError(_in_space(one.path), one.message) for one in error.errors]
    return found


@dataclass(frozen=True)
class Estimate:
    """What a sweep would be.

    Attributes:
        method: how the space is searched.
        resolved: the request with its sets; with some of them, drawn at random, where there are too many to make now.
        asked: sets that would be made.
        sets: that would be evaluated; at most, where it is not exact.
        exact: whether all of them were made, and those that are equal, excluded or invalid are known.
        days: that select and have calls.
        callers: whose calls these are.
        candles: that would be read, at most.
        cell_bytes: of memory for what is counted.
        allowed_bytes: of that, at most.
        unsaid: parts of the verdict that it will not say, each with the reason.
    """

    method: Method
    resolved: ResolvedSweep
    asked: int
    sets: int
    exact: bool
    days: int
    callers: int
    candles: int
    cell_bytes: int
    allowed_bytes: int
    unsaid: dict[str, str]


def estimate(spec: SweepSpec, strategies: StrategyStore, lake: Lake, *, memory: int = MEMORY) -> Estimate:
    """Resolve a request and say what it would take; nothing is simulated.

    Args:
        spec: the request.
        strategies: of the lab.
        lake: of the lab.
        memory: bytes that cells may take.

    Raises:
        InvalidConfigError: naming each field that is wrong, or what to cut where the memory does not suffice.
    """
    from lab_pipeline.engine.sweep.cells import bytes_needed  # noqa: PLC0415 - numba

    if problems := find_problems(spec, strategies, lake):
        raise InvalidConfigError(SUBJECT, problems)
    method, asked = _asked(spec)
    exact = asked <= MOST_MADE and not spec.search.optimises  # nobody knows yet what an optimiser proposes
    if not exact:
        some = spec.search.model_copy(update={"method": "random", "sets": SAMPLE})
        spec = spec.model_copy(update={"search": some})
    try:
        resolved = resolve(spec, strategies, lake, memory=memory)
        sets = len(resolved.sets) if exact else asked
        days = resolved.calls["called_at"].dt.date().n_unique()
        callers = resolved.calls["caller"].n_unique()
        cells = (
            days_swept(resolved.calls["called_at"], placebos=spec.validation.placebo > 0),
            callers_swept(resolved.calls["caller"]),
        )
        needed = bytes_needed(sets, *cells)
        require_memory(sets, *cells, resolved.sets.space, memory)
    except InvalidConfigError as error:
        raise InvalidConfigError(
            SUBJECT, [FieldError(_in_space(one.path), one.message) for one in error.errors]
        ) from None
    except LabError as error:
        if type(error) is not LabError:
            raise  # a store, not the request
        raise InvalidConfigError(SUBJECT, [FieldError("", str(error))]) from None
    with plan(resolved, lake) as candles:
        rows = candles.rows_planned
    return Estimate(method, resolved, asked, sets, exact, days, callers, rows, needed, memory, unsaid_of(resolved))


def _asked(spec: SweepSpec) -> tuple[Method, int]:
    """Return how the space is searched, and how many points of it are tried."""
    space = Space.parse(spec.space, spec.constraints)
    method, _ = find_points(space, spec.search, spec.seed)
    if method == "grid":
        return method, space.size or 0
    return method, 1 << (spec.search.sets - 1).bit_length() if method == "sobol" else spec.search.sets


def _place(path: str) -> str:
    """Return where in a sweep the field of a backtest is."""
    return PLACES.get(path, path.removeprefix("universe.").removeprefix("range."))


def _in_space(path: str) -> str:
    """Return where in a request a path of its space is."""
    return path if not path or path.startswith(OF_THE_REQUEST) else f"space.{path}"
