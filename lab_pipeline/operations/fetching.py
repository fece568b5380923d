"""What the calls of a lab need of a source of candles."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lab_pipeline.domain.errors import LabError
from lab_pipeline.fetch.wanted import Wanted, reach_ms, wanted

if TYPE_CHECKING:
    from lab_pipeline.domain.strategy import StrategyConfig
    from lab_pipeline.operations.lab import Lab


def needed_candles(
    lab: "Lab",
    timeframe: str,
    until_ms: int,
    *,
    by_chain: bool,
    callers: Sequence[str] = (),
    mints: Sequence[str] = (),
    chain: str | None = None,
) -> Wanted:
    """Find the candles that calls of the lake need, for all active strategies.

    Args:
        lab: with the calls and the strategies.
        timeframe: length of the candles.
        until_ms: before which they must have closed.
        by_chain: whether the source asks for a token's chain.
        callers: only their calls; of all by default.
        mints: only calls on these tokens; on all by default.
        chain: of tokens whose calls do not say it.

    Raises:
        LabError: if there is no such call, or no active strategy.
    """
    calls = lab.lake.calls(callers=callers or None, mints=mints or None)
    if calls.is_empty():
        raise LabError("the lake has no such calls: add some with `lab ingest calls FILE`")
    reach = reach_ms(_active(lab), timeframe)
    return wanted(calls, reach, timeframe, until_ms, by_chain=by_chain, chain=chain)


def _active(lab: "Lab") -> "list[StrategyConfig]":
    readable, _ = lab.strategies.readable_latest()
    active = [stored.strategy.config for stored in readable if stored.is_active]
    if not active:
        raise LabError("no strategy is active, so nothing says how long candles are needed: activate one")
    return active
