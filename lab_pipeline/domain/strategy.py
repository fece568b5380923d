"""What to do with a call: how to buy, when to sell, what it costs, how much to stake."""

import hashlib
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from lab_pipeline.domain.enums import EntryKind, IntrabarPolicy, SizingKind
from lab_pipeline.domain.model import Document, canonical_json, problem_at

FRACTION_SUM_TOLERANCE = 1e-9
MINUTE_MS = 60_000


LONGEST_MINUTES = 10 * 366 * 24 * 60.0
LARGEST_AMOUNT = 1e15
LARGEST_MULTIPLE = 1e12
MOST_TARGETS = 100
MOST = 1_000_000
"""Of anything that a strategy counts."""
Distance = Annotated[float, Field(gt=0, lt=1)]
BasisPoints = Annotated[float, Field(ge=0, lt=10_000)]
Name = Annotated[str, Field(max_length=200)]
Description = Annotated[str, Field(max_length=10_000)]
Tags = Annotated[tuple[Annotated[str, Field(max_length=100)], ...], Field(max_length=100)]


def minutes_to_ms(minutes: float) -> int:
    """Convert minutes to whole milliseconds, the clock of the engine."""
    return round(minutes * MINUTE_MS)


class Entry(Document):
    """How and when to buy after a call."""

    kind: Annotated[EntryKind, Field(strict=False)] = EntryKind.MARKET
    """`market`, `dip` (limit below the first open) or `rebound` (level above the running low)."""
    fraction: Distance | None = None
    """Depth of the dip or height of the rebound, as a plain fraction; null for `market`."""
    delay_minutes: Annotated[float, Field(ge=0, le=LONGEST_MINUTES)] = 0.0
    """Minutes from the call to the first candle that may be used."""
    max_wait_minutes: Annotated[float, Field(gt=0, le=LONGEST_MINUTES)] = 60.0
    """Minutes after the delay within which the entry must fill."""

    @model_validator(mode="after")
    def _fraction_fits_kind(self) -> Self:
        if self.kind is EntryKind.MARKET and self.fraction is not None:
            raise problem_at("fraction", "has no meaning for a market entry: leave it out or choose dip or rebound")
        if self.kind is not EntryKind.MARKET and self.fraction is None:
            raise problem_at("fraction", f"missing: a {self.kind} entry needs it")
        return self


class Target(Document):
    """Sell a part of the position when the price reaches a multiple of the entry."""

    multiple: Annotated[float, Field(gt=1, le=LARGEST_MULTIPLE)]
    """Price / entry price at which to sell (2.0 = doubled)."""
    fraction: Annotated[float, Field(gt=0, le=1)]
    """Part of the original quantity to sell."""


class TrailingStop(Document):
    """A stop that follows the peak once it is armed."""

    activation: Annotated[float, Field(gt=0, le=LARGEST_MULTIPLE)]
    """Multiple of the entry price at which it arms; 1.0 or less arms it from the entry."""
    distance: Distance
    """Distance below the peak, as a plain fraction."""


class Exit(Document):
    """When to sell. At least one of targets, stopLoss, trailing and maxHoldMinutes is needed."""

    targets: tuple[Target, ...] = Field(default=(), strict=False, max_length=MOST_TARGETS)
    """Take-profit ladder, multiples ascending, fractions summing to at most 1."""
    stop_loss: Distance | None = None
    """Distance of the stop below the entry price, as a plain fraction."""
    trailing: TrailingStop | None = None
    """Trailing stop, or null."""
    break_even_after: Annotated[int, Field(ge=1, le=MOST)] | None = None
    """Raise the stop to the entry price once this many targets have filled."""
    max_hold_minutes: Annotated[float, Field(gt=0, le=LONGEST_MINUTES)] | None = None
    """Sell at the first open at least this long after the entry."""

    @model_validator(mode="after")
    def _has_a_rule(self) -> Self:
        if not self.targets and self.stop_loss is None and self.trailing is None and self.max_hold_minutes is None:
            raise problem_at("", "no exit rule: set at least one of targets, stopLoss, trailing or maxHoldMinutes")
        return self

    @model_validator(mode="after")
    def _ladder_ascends(self) -> Self:
        for index, (lower, upper) in enumerate(zip(self.targets, self.targets[1:], strict=False), start=1):
            if upper.multiple <= lower.multiple:
                raise problem_at(
                    f"targets[{index}].multiple", f"must ascend: {upper.multiple} comes after {lower.multiple}"
                )
        total = sum(target.fraction for target in self.targets)
        if total > 1 + FRACTION_SUM_TOLERANCE:
            raise problem_at("targets", f"fractions sum to {total:.10g}, at most 1 can be sold")
        return self


class Reentry(Document):
    """Buy again after a trade closed by a target or a stop."""

    retrace: Distance
    """Depth of the limit below the last fill price, as a plain fraction."""
    max_count: Annotated[int, Field(ge=0, le=MOST)] = 1
    """How many times a call may be re-entered."""


class Costs(Document):
    """Charged on every fill. The default is none: a run without costs says so in its report."""

    fee_bps: BasisPoints = 0.0
    """Fee, in basis points of the traded value."""
    slippage_bps: BasisPoints = 0.0
    """Slippage, in basis points of the price, always against the trader."""


class FixedSizing(Document):
    """The same amount for every buy."""

    kind: Literal[SizingKind.FIXED] = SizingKind.FIXED
    amount: Annotated[float, Field(gt=0, le=LARGEST_AMOUNT)] = 100.0
    """Cash spent on a buy, costs included, in quote currency."""


class FractionSizing(Document):
    """A fraction of the equity at the time of the buy."""

    kind: Literal[SizingKind.FRACTION]
    fraction: Annotated[float, Field(gt=0, le=1)]
    """Part of the equity spent on a buy."""


class RiskSizing(Document):
    """As much as loses a fraction of the equity at the stop: fraction / stop distance, capped."""

    kind: Literal[SizingKind.RISK]
    fraction: Annotated[float, Field(gt=0, le=1)]
    """Part of the equity that may be lost at the stop."""
    max_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Upper bound of the part of the equity spent on a buy."""


Sizing = Annotated[FixedSizing | FractionSizing | RiskSizing, Field(discriminator="kind")]


class Portfolio(Document):
    """The account in which the trades compete for cash and slots."""

    initial_capital: Annotated[float, Field(gt=0, le=LARGEST_AMOUNT)] = 10_000.0
    """Cash at the start, in quote currency."""
    sizing: Sizing = FixedSizing()
    """How much a buy is given."""
    max_open_positions: Annotated[int, Field(ge=1, le=MOST)] | None = 25
    """Positions that may be open at once; null for no limit."""


class StrategyConfig(Document):
    """Everything that decides the trades: what is hashed, versioned and simulated."""

    entry: Entry = Entry()
    """How and when it buys after a call."""
    exit: Exit
    """When it sells; at least one rule."""
    reentry: Reentry | None = None
    """Whether it buys again after a trade, and how; null for never."""
    costs: Costs = Costs()
    """What every fill costs."""
    intrabar: Annotated[IntrabarPolicy, Field(strict=False)] = IntrabarPolicy.STOP_FIRST
    """What happens first in a candle that reaches both a target and the stop."""
    horizon_minutes: Annotated[float, Field(gt=0, le=LONGEST_MINUTES)] = 1440.0
    """Minutes after the call at which whatever is left is sold."""
    portfolio: Portfolio = Portfolio()
    """The account: capital, stakes, positions at once."""

    @model_validator(mode="after")
    def _blocks_fit(self) -> Self:
        if self.horizon_minutes <= self.entry.delay_minutes:
            raise problem_at("horizonMinutes", "must exceed entry.delayMinutes, or no candle can be used")
        if isinstance(self.portfolio.sizing, RiskSizing) and self.exit.stop_loss is None:
            raise problem_at("portfolio.sizing", "risk sizing divides by exit.stopLoss: set it")
        return self

    def config_hash(self) -> str:
        """Return the sha256 (hex) of the canonical JSON of the configuration, names and tags excluded."""
        config = {name: self.to_json_dict()[name] for name in CONFIG_FIELDS}
        return hashlib.sha256(canonical_json(config)).hexdigest()


CONFIG_FIELDS = tuple(field.alias or name for name, field in StrategyConfig.model_fields.items())


class Strategy(StrategyConfig):
    """A named configuration, as it is kept in a file."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
    """Letters, digits, `-` and `_`; the name under which runs refer to it."""
    name: Name = ""
    description: Description = ""
    tags: Annotated[Tags, Field(strict=False)] = ()

    @property
    def config(self) -> StrategyConfig:
        """The part that decides the trades, without names and tags."""
        return StrategyConfig.model_validate({name: getattr(self, name) for name in StrategyConfig.model_fields})

    def metadata_dict(self) -> dict[str, Any]:
        """Return id, name, description and tags under their JSON names."""
        return {key: value for key, value in self.to_json_dict().items() if key not in CONFIG_FIELDS}
