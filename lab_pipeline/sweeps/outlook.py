"""What a sweep would do and could not say: all that is known of it before anything is simulated."""

from dataclasses import asdict, dataclass
from typing import Any

from lab_pipeline.domain.timeframe import timeframe_ms
from lab_pipeline.statistics.selection import RULES, unsayable
from lab_pipeline.sweeps.limits import callers_swept, days_swept
from lab_pipeline.sweeps.running import ResolvedSweep

FIRST_INVALID = 3
"""Invalid sets that are told of."""


LEAST_PLACEBOS = 19
"""The smallest p-value that so many can give is 1 / 20."""


@dataclass(frozen=True)
class Outlook:
    """A sweep that was resolved and not begun.

    Attributes:
        strategy: id of the strategy; `strategy_version` that is varied.
        method: how the space is searched.
        asked: points of the space; for an optimiser of its first batch, like the following.
        sets: of them that would be evaluated; `duplicates`, `excluded` and `invalid` of them that would not.
        first_invalid: what is wrong with the first of those.
        proposed: sets that an optimiser would propose in all; null for other methods.
        entry_groups: combinations of entry, delay, horizon and filters, each of which reads its calls once more.
        calls: that select, on so many `days` and of so many `callers`.
        held_days: days of the holdout.
        repeats: calls that are left out because others said it first.
        faulty: calls that are left out because their candles have faults.
        placebos: times that the whole search is done again.
        memory: bytes of the cells; `memory_allowed` by LAB_SWEEP_MEMORY.
        unsaid: parts of the verdict that will not be said, and why.
    """

    strategy: str
    strategy_version: str
    method: str
    asked: int
    sets: int
    duplicates: int
    excluded: int
    invalid: int
    first_invalid: list[str]
    proposed: int | None
    entry_groups: int
    calls: int
    days: int
    callers: int
    held_days: int
    repeats: int
    faulty: int
    placebos: int
    memory: int
    memory_allowed: int
    unsaid: dict[str, str]

    @classmethod
    def of(cls, resolved: ResolvedSweep) -> "Outlook":
        """Look at a sweep that `running.resolve` returned."""
        from lab_pipeline.engine.sweep.cells import bytes_needed  # noqa: PLC0415 - numba

        spec, sets, calls = resolved.spec, resolved.sets, resolved.calls
        callers = calls["caller"].n_unique()
        proposed = spec.search.sets if spec.search.optimises else None
        return cls(
            strategy=spec.strategy,
            strategy_version=resolved.strategy_version,
            method=resolved.method,
            asked=sets.asked,
            sets=len(sets),
            duplicates=sets.duplicates,
            excluded=sets.excluded,
            invalid=sets.invalid_count,
            first_invalid=[
                f"{one.values}: {', '.join(map(str, one.problems))}" for one in sets.invalid[:FIRST_INVALID]
            ],
            proposed=proposed,
            entry_groups=len(sets.plan(timeframe_ms(spec.timeframe)).groups),
            calls=calls.height,
            days=calls["called_at"].dt.date().n_unique(),
            callers=callers,
            held_days=resolved.held_days,
            repeats=resolved.repeats,
            faulty=resolved.faulty,
            placebos=spec.validation.placebo,
            memory=bytes_needed(
                proposed or len(sets),
                days_swept(calls["called_at"], placebos=spec.validation.placebo > 0),
                callers_swept(calls["caller"]),
            ),
            memory_allowed=resolved.memory,
            unsaid=unsaid_of(resolved),
        )

    def to_json_dict(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return asdict(self)


def unsaid_of(resolved: ResolvedSweep) -> dict[str, str]:
    """Return the parts of the verdict that a sweep will not say, each with the reason."""
    from lab_pipeline.engine.sweep import days_of  # noqa: PLC0415 - numba

    spec, calls = resolved.spec, resolved.calls
    days, reach, _ = days_of(calls["called_at"].to_physical().to_numpy(), resolved.sets)
    unsaid = {RULES[part].title: why for part, why in unsayable(days, reach, spec.validation.validation).items()}
    least, callers = spec.objective, calls["caller"].n_unique()
    wanted = (("min_days", least.min_days, len(days)), ("min_callers", least.min_callers, callers))
    if short := [f"objective.{name} is {needed}, there are {have}" for name, needed, have in wanted if have < needed]:
        unsaid["winner"] = f"no set can win: {', '.join(short)}"
    if not spec.validation.placebo:
        unsaid["placebo, p"] = "validation.placebo is 0"
    elif spec.validation.placebo < LEAST_PLACEBOS:
        unsaid["placebo, p"] = f"{LEAST_PLACEBOS} placebos are the least that can pass"
    return unsaid
