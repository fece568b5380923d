"""What a run assumes of its fills, as one short label: runs with different ones are not to be compared unawares."""

import functools
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from lab_pipeline.domain.enums import ImpactModel, IntrabarPolicy
from lab_pipeline.domain.model import Document, canonical_json
from lab_pipeline.domain.strategy import AmmImpact, Costs, EndOfData, StopFill, VolumeShareImpact
from lab_pipeline.domain.timeframe import Timeframe

RULES = 1
"""Part of every id. Raise it when an engine fills differently under the same assumptions; so far none does: what there
was before an assumption could be stated is one of its values."""
ID_LENGTH = 12
ID_PATTERN = f"^[0-9a-f]{{{ID_LENGTH}}}$"
BEFORE = {"through": 0.0}
"""How stops filled in strategies from before they could say it."""


@dataclass(frozen=True)
class FillAssumptions:
    """A label.

    Attributes:
        id: the same for the same assumptions; hexadecimal.
        text: for people, such as `stops 0.5 through, stop first, fee 30 bps`; what is neutral is left out.
    """

    id: str
    text: str


@dataclass(frozen=True)
class Labelled:
    """How many runs share a label."""

    fills: str
    assumptions: str
    runs: int


def fill_assumptions(strategy: Mapping[str, Any]) -> FillAssumptions:
    """Label a strategy, as JSON has it, of any edition of the document.

    Left out is what a strategy chooses rather than assumes: stakes, delays, targets, and the length of its candles.

    Raises:
        ValidationError: if it is no strategy.

    >>> fill_assumptions({"exit": {"stopLoss": 0.3}, "costs": {"feeBps": 30}}).text
    'stops at their level, stop first, fee 30 bps'
    """
    named = {name: strategy[name] for name in ("costs", "intrabar", "finerTimeframe", "endOfData") if name in strategy}
    stops = strategy["exit"].get("stopFill", BEFORE)
    return _label(json.dumps({**named, "stopFill": stops}, sort_keys=True))


def labelled(runs: Iterable[FillAssumptions]) -> list[Labelled]:
    """Count runs by what they assume, the most frequent first."""
    counts = Counter(runs).items()
    found = [Labelled(one.id, one.text, count) for one, count in counts]
    return sorted(found, key=lambda label: (-label.runs, label.fills))


def note_on(labels: Sequence[Labelled]) -> str | None:
    """Say that numbers are about runs of different fill assumptions; None if they are not."""
    count = len(labels)
    if count < 2:  # noqa: PLR2004 - the least that differ
        return None
    return (
        f"mixed: runs under {count} different fill assumptions, whose returns are not comparable; "
        "choose one of them by `fills`"
    )


class _Assumptions(Document):
    costs: Costs = Costs()
    intrabar: Annotated[IntrabarPolicy, Field(strict=False)] = IntrabarPolicy.STOP_FIRST
    finer_timeframe: Timeframe | None = None
    end_of_data: EndOfData = EndOfData()
    stop_fill: StopFill


@functools.lru_cache(maxsize=1024)
def _label(document: str) -> FillAssumptions:
    assumed = _Assumptions.model_validate_json(document, by_alias=True, by_name=False)
    content = canonical_json({"rules": RULES, **assumed.to_json_dict()})
    return FillAssumptions(hashlib.sha256(content).hexdigest()[:ID_LENGTH], ", ".join(_phrases(assumed)))


def _phrases(assumed: _Assumptions) -> Iterator[str]:
    through, costs = assumed.stop_fill.through, assumed.costs
    yield {0.0: "stops at their level", 1.0: "stops at the low"}.get(through, f"stops {_number(through)} through")
    finer = "" if assumed.finer_timeframe is None else f" {assumed.finer_timeframe} candles, then stop first"
    yield assumed.intrabar.value.replace("_", " ") + finer
    priced = {"fee": costs.fee_bps, "slippage": costs.slippage_bps}
    yield from (f"{name} {_number(value)} bps" for name, value in priced.items() if value)
    if costs.fixed_fee:
        yield f"fixed fee {_number(costs.fixed_fee)}"
    impact = costs.impact
    if isinstance(impact, VolumeShareImpact):
        most = "" if impact.max_share is None else f", buys of at most {_number(impact.max_share)} of the volume"
        yield (
            f"impact {_number(impact.coefficient)} x volume share ^ {_number(impact.exponent)} "
            f"up to {_number(impact.max_slippage)}{most}"
        )
    elif isinstance(impact, AmmImpact):
        pool = "" if impact.liquidity is None else f" of {_number(impact.liquidity)} where unknown"
        yield f"impact of a pool{pool} up to {_number(impact.max_slippage)}"
    if not (costs.fee_bps or costs.slippage_bps or costs.fixed_fee or impact.model is not ImpactModel.NONE):
        yield "no costs"
    if assumed.end_of_data.haircut:
        yield f"{_number(assumed.end_of_data.haircut)} lost where data end"


def _number(value: float) -> str:
    return repr(value).removesuffix(".0")
