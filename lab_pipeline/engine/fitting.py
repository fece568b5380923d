"""What a strategy reads, and what it must fit: answered without the compiled engine, for who only asks for a run."""

from collections.abc import Collection

from lab_pipeline.domain import frames
from lab_pipeline.domain.enums import EntryKind, ExitUse
from lab_pipeline.domain.errors import FieldError
from lab_pipeline.domain.filters import BROUGHT, TEXTS
from lab_pipeline.domain.strategy import AmmImpact, StrategyConfig
from lab_pipeline.domain.timeframe import timeframe_ms


def reads_liquidity(config: StrategyConfig) -> bool:
    """Return whether a strategy reads what candles say of the pool."""
    return isinstance(config.costs.impact, AmmImpact)


def columns_read(config: StrategyConfig) -> set[str]:
    """Return which of `frames.CALL_OPTIONS` a strategy reads; a call's direction always counts."""
    read = {"direction", *(one.field for one in config.filters)}
    if config.entry.kind is EntryKind.SIGNAL:
        read.add("entry_price")
    if config.exit.use is ExitUse.SIGNAL:
        read |= {"targets", "stop_price"}
    if reads_liquidity(config):
        read.add("liquidity_at_call")
    return read & set(frames.CALL_OPTIONS)


def misfits(
    config: StrategyConfig, timeframe: str, columns: Collection[str], timeframes: Collection[str]
) -> list[FieldError]:
    """Name every field of a strategy that does not fit what it is simulated on, by its path.

    Args:
        config: the strategy.
        timeframe: of the run.
        columns: that the calls have.
        timeframes: of which there are candles, beside those of the run.
    """
    problems = [
        FieldError(f"filters[{number}].field", f"the calls have no column {one.field}")
        for number, one in enumerate(config.filters)
        if one.field in (*TEXTS, *BROUGHT) and one.field not in columns
    ]
    if config.finer_timeframe is not None:
        coarse, fine = timeframe_ms(timeframe), timeframe_ms(config.finer_timeframe)
        if fine >= coarse or coarse % fine:
            said = f"candles of {config.finer_timeframe} do not divide the run's, of {timeframe}: choose shorter ones"
            problems.append(FieldError("finerTimeframe", said))
        elif config.finer_timeframe not in timeframes:
            problems.append(FieldError("finerTimeframe", f"there are no candles of {config.finer_timeframe} to read"))
    return problems


def without_a_pool(config: StrategyConfig, *, candles: bool, calls: bool) -> list[FieldError]:
    """Name the field that is missing if a strategy trades with a pool of which nothing is known.

    Args:
        config: the strategy.
        candles: whether some of them say what the pool holds.
        calls: whether some of them do.
    """
    impact = config.costs.impact
    if not isinstance(impact, AmmImpact) or impact.liquidity is not None or candles or calls:
        return []
    said = "nothing tells what the pool holds: neither candles (liquidity) nor calls (liquidity_at_call); set it"
    return [FieldError("costs.impact.liquidity", said)]
