"""A strategy as sentences."""

from collections.abc import Iterator, Sequence

from lab_pipeline.domain.backtest import AllUniverse, CallersUniverse, TokensUniverse
from lab_pipeline.domain.enums import EntryKind, IntrabarPolicy
from lab_pipeline.domain.strategy import (
    AtrDistance,
    Entry,
    Exit,
    FixedSizing,
    FractionSizing,
    Portfolio,
    StrategyConfig,
)
from lab_pipeline.reports.formats import TIMES, duration, words

NAMES_SHOWN = 6
_INTRABAR = {
    IntrabarPolicy.STOP_FIRST: "the stop is taken to come first.",
    IntrabarPolicy.TARGET_FIRST: "the target is taken to come first.",
    IntrabarPolicy.NEAREST_OPEN: "the side nearer to the open is taken to come first.",
    IntrabarPolicy.FINER: "its finer candles tell which comes first; where they do not, the stop is taken to.",
}


def sentences(strategy: StrategyConfig) -> Iterator[tuple[str, str]]:
    """Say what the strategy does: pairs of a keyword and a sentence."""
    yield "Buy", _entry(strategy.entry)
    yield from _exits(strategy.exit)
    yield "Finally", f"Whatever is left {duration(strategy.horizon_minutes)} after the call is sold at the last close."
    if strategy.reentry is not None and strategy.reentry.max_count:
        times = "once" if strategy.reentry.max_count == 1 else f"up to {strategy.reentry.max_count} times"
        retrace = _percent(strategy.reentry.retrace)
        yield "Buy again", f"After a target or a stop, {times}, with a limit {retrace} below the last fill."
    costs = strategy.costs
    yield "Costs", f"{costs.fee_bps:g} bp fee and {costs.slippage_bps:g} bp slippage on every fill."
    yield "Ambiguity", f"When one candle reaches both a target and the stop, {_INTRABAR[strategy.intrabar]}"
    yield "Account", _portfolio(strategy.portfolio)


def universe_text(
    universe: TokensUniverse | CallersUniverse | AllUniverse, repeats: int | None = 0, faulty: int | None = 0
) -> str:
    """Say which calls were asked for, and how many were left out as repeats, and for faults; null: nobody knows."""
    rule = universe.first_mention
    mention = None if rule is None else (rule.by, rule.window_days)
    return "; ".join([_selected(universe), *left_out(mention, universe.without_faults, repeats, faulty)])


def left_out(
    mention: tuple[str, float] | None, faults: Sequence[str], repeats: int | None, faulty: int | None
) -> Iterator[str]:
    """Say by which rules calls were left out, and how many; null: nobody knows.

    Args:
        mention: `by` and `windowDays` of the rule of first mentions, if there is one.
        faults: of candles that a call must not have.
        repeats: left out by the first.
        faulty: left out by the second.
    """
    if mention is not None:
        by, days = mention
        whose = "of a token" if by == "token" else "of a token by each caller"
        yield f"the first mention {whose} in {days:g} days, {_count(repeats, 'repeat')} left out"
    if faults:
        named = ", ".join(words(fault) for fault in faults)
        yield f"without faults of candles ({named}), {_count(faulty, 'call')} left out"


def _count(number: int | None, noun: str) -> str:
    return f"{noun}s" if number is None else f"{number:,} {noun}{'' if number == 1 else 's'}"


def _selected(universe: TokensUniverse | CallersUniverse | AllUniverse) -> str:
    match universe:
        case TokensUniverse(mints=names):
            noun = "token"
        case CallersUniverse(callers=names):
            noun = "caller"
        case AllUniverse():
            return "every call"
    more = f" and {len(names) - NAMES_SHOWN:,} more" if len(names) > NAMES_SHOWN else ""
    plural = "s" if len(names) != 1 else ""
    return f"{len(names):,} {noun}{plural}: {', '.join(names[:NAMES_SHOWN])}{more}"


def _entry(entry: Entry) -> str:
    wait = duration(entry.max_wait_minutes)
    after = f"{duration(entry.delay_minutes)} after the call" if entry.delay_minutes else "the call"
    match entry.kind:
        case EntryKind.MARKET:
            return f"At the open of the first candle from {after} on, if one comes within {wait}."
        case EntryKind.DIP:
            return f"With a limit {_percent(entry.fraction)} below the first open from {after} on, for at most {wait}."
        case EntryKind.REBOUND:
            return (
                f"When the price has risen {_percent(entry.fraction)} from its low since {after}, for at most {wait}."
            )
        case EntryKind.SIGNAL:
            return (
                f"With a limit at the caller's entry price from {after} on, for at most {wait}; without one, at once."
            )


def _exits(exits: Exit) -> Iterator[tuple[str, str]]:
    if exits.targets:
        steps = [f"{_percent(target.fraction)} at {target.multiple:g}{TIMES}" for target in exits.targets]
        yield "Take profit", f"Sell {', '.join(steps)} the entry price."
    if exits.stop_loss is not None:
        yield "Stop loss", f"Sell everything {_distance(exits.stop_loss)} below the entry price."
    if exits.trailing is not None:
        activation = exits.trailing.activation
        armed = f"Once the price has reached {activation:g}{TIMES}" if activation > 1 else "From the entry on"
        yield "Trail", f"{armed}, sell everything {_distance(exits.trailing.distance)} below the peak."
    if exits.break_even_after is not None:
        count = "one target has" if exits.break_even_after == 1 else f"{exits.break_even_after} targets have"
        yield "Break even", f"Once {count} filled, the stop is at the entry price."
    if exits.max_hold_minutes is not None:
        yield "Time", f"Sell everything at the first open {duration(exits.max_hold_minutes)} after the entry."


def _portfolio(portfolio: Portfolio) -> str:
    match portfolio.sizing:
        case FixedSizing(amount=amount):
            size = f"{amount:,.10g} a buy"
        case FractionSizing(fraction=fraction):
            size = f"{_percent(fraction)} of the equity a buy"
        case sizing:
            size = (
                f"as much a buy as loses {_percent(sizing.fraction)} of the equity at the stop, "
                f"at most {_percent(sizing.max_fraction)} of it"
            )
    limit = portfolio.max_open_positions
    slots = "no limit on open positions" if limit is None else f"at most {limit:,} open at once"
    return f"Starts with {portfolio.initial_capital:,.10g}, {size}, {slots}."


def _distance(distance: float | AtrDistance) -> str:
    if isinstance(distance, AtrDistance):
        return f"{distance.atr.k:g} true ranges (mean of {distance.atr.n:,} candles)"
    return _percent(distance)


def _percent(fraction: float | None) -> str:
    return "" if fraction is None else f"{fraction * 100:.6g}%"
