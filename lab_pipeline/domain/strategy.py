"""What to do with a call: how to buy, when to sell, what it costs, how much to stake."""

import hashlib
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from lab_pipeline.domain.conditions import When
from lab_pipeline.domain.enums import EntryKind, ExitUse, ImpactModel, IntrabarPolicy, SizingKind
from lab_pipeline.domain.filters import Filter
from lab_pipeline.domain.model import Document, canonical_json, problem_at
from lab_pipeline.domain.timeframe import Timeframe

FRACTION_SUM_TOLERANCE = 1e-9
MINUTE_MS = 60_000


LONGEST_MINUTES = 10 * 366 * 24 * 60.0
LARGEST_AMOUNT = 1e15
LARGEST_MULTIPLE = 1e12
LARGEST_FACTOR = 1e6
MOST_TARGETS = 100
MOST_FILTERS = 100
MOST_CANDLES = 1_000
"""Of an average true range."""
MOST = 1_000_000
"""Of anything that a strategy counts."""
DEFAULT_THROUGH = 0.5
"""How far a stop that is hit inside a candle fills below its level, where a strategy does not say it."""

Distance = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
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
    """`market`, `dip` (limit below the first open), `rebound` (level above the running low) or `signal` (limit at the
    call's `entry_price`, market where it has none)."""
    fraction: Distance | None = None
    """Depth of the dip or height of the rebound, as a plain fraction; null for the others."""
    when: When | None = None
    """A `market` entry waits until this is true of a closed candle and buys at the open of the next; null for at once.
    """
    delay_minutes: Annotated[float, Field(ge=0, le=LONGEST_MINUTES)] = 0.0
    """Minutes from the call to the first candle that may be used."""
    max_wait_minutes: Annotated[float, Field(gt=0, le=LONGEST_MINUTES)] = 60.0
    """Minutes after the delay within which the entry must fill."""

    @model_validator(mode="after")
    def _fraction_fits_kind(self) -> Self:
        relative = self.kind in {EntryKind.DIP, EntryKind.REBOUND}
        if not relative and self.fraction is not None:
            raise problem_at(
                "fraction", f"has no meaning for a {self.kind} entry: leave it out or choose dip or rebound"
            )
        if relative and self.fraction is None:
            raise problem_at("fraction", f"missing: a {self.kind} entry needs it")
        return self

    @model_validator(mode="after")
    def _signals_buy_at_the_open(self) -> Self:
        if self.when is not None and self.kind is not EntryKind.MARKET:
            raise problem_at("when", f"buys at an open, so the kind must be market, not {self.kind}")
        return self


class Target(Document):
    """Sell a part of the position when the price reaches a multiple of the entry."""

    multiple: Annotated[float, Field(gt=1, le=LARGEST_MULTIPLE)]
    """Price / entry price at which to sell (2.0 = doubled)."""
    fraction: Annotated[float, Field(gt=0, le=1)]
    """Part of the original quantity to sell."""


class TrueRange(Document):
    """A distance in average true ranges: the mean of the candles that closed before the entry candle opened."""

    n: Annotated[int, Field(ge=1, le=MOST_CANDLES)]
    """Candles in the mean; one more is needed, since a true range counts from the close before."""
    k: Annotated[float, Field(gt=0, le=LARGEST_FACTOR)]
    """How many of them the level lies below the entry price, or the peak; it is never below 1 % of the entry price."""


class AtrDistance(Document):
    """A distance that follows how far the price swung before the entry."""

    atr: TrueRange
    """Average true range, and how many of them."""


def _kind_of_distance(value: object) -> str:
    return "atr" if isinstance(value, dict | AtrDistance) else "fraction"


AnyDistance = Annotated[
    Annotated[Distance, Tag("fraction")] | Annotated[AtrDistance, Tag("atr")], Discriminator(_kind_of_distance)
]


class TrailingStop(Document):
    """A stop that follows the peak once it is armed."""

    activation: Annotated[float, Field(gt=0, le=LARGEST_MULTIPLE)]
    """Multiple of the entry price at which it arms; 1.0 or less arms it from the entry."""
    distance: AnyDistance
    """Distance below the peak: a plain fraction, or `{"atr": {"n": 14, "k": 2}}`."""


class StopFill(Document):
    """At what price a stop fills that is hit inside a candle."""

    through: Share = DEFAULT_THROUGH
    """Part of the way from the level down to the candle's low: 0 is the level, 1 the worst that the candle allows."""


class Exit(Document):
    """When to sell. At least one of targets, stopLoss, trailing, maxHoldMinutes, when and use: signal is needed."""

    use: Annotated[ExitUse, Field(strict=False)] = ExitUse.RULES
    """`rules` below, or the `signal`: targets and stop that the caller posted, which take the place of targets and
    stopLoss; a call without any follows the rules."""

    targets: tuple[Target, ...] = Field(default=(), strict=False, max_length=MOST_TARGETS)
    """Take-profit ladder, multiples ascending, fractions summing to at most 1."""
    target_fractions: (
        Annotated[
            tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(strict=False, min_length=1, max_length=MOST_TARGETS)
        ]
        | None
    ) = None
    """What the caller's targets sell, in their order: cut to as many as there are and scaled to 1; null for equal
    parts."""
    stop_loss: AnyDistance | None = None
    """Distance of the stop below the entry price: a plain fraction, or `{"atr": {"n": 14, "k": 2}}`."""
    stop_fill: StopFill = StopFill()
    """How far below its level such a stop fills."""
    trailing: TrailingStop | None = None
    """Trailing stop, or null."""
    break_even_after: Annotated[int, Field(ge=1, le=MOST)] | None = None
    """Raise the stop to the entry price once this many targets have filled."""
    max_hold_minutes: Annotated[float, Field(gt=0, le=LONGEST_MINUTES)] | None = None
    """Sell at the first open at least this long after the entry."""
    when: When | None = None
    """Sell everything at the open after a candle at whose close this is true."""

    @property
    def has_rules(self) -> bool:
        """Whether it sells by rules of its own."""
        rules = (self.stop_loss, self.trailing, self.max_hold_minutes, self.when)
        return bool(self.targets) or any(rule is not None for rule in rules)

    @model_validator(mode="after")
    def _has_a_rule(self) -> Self:
        if not self.has_rules and self.use is ExitUse.RULES:
            raise problem_at(
                "", "no exit rule: set at least one of targets, stopLoss, trailing, maxHoldMinutes or when"
            )
        return self

    @model_validator(mode="after")
    def _fractions_have_targets(self) -> Self:
        if self.target_fractions is not None and self.use is not ExitUse.SIGNAL:
            raise problem_at("targetFractions", "is for the caller's targets: set use to signal, or leave it out")
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


MaxSlippage = Annotated[float, Field(gt=0, le=1)]


class NoImpact(Document):
    """The size of a fill does not move the price."""

    model: Literal[ImpactModel.NONE] = ImpactModel.NONE
    """`none`."""


class VolumeShareImpact(Document):
    """Slippage grows with the share of the candle's traded value: coefficient * share ** exponent."""

    model: Literal[ImpactModel.VOLUME_SHARE]
    """`volume_share`."""
    coefficient: Annotated[float, Field(ge=0, le=LARGEST_FACTOR)] = 0.1
    """Slippage, as a plain fraction, of a fill as large as all that the candle traded."""
    exponent: Annotated[float, Field(gt=0, le=10)] = 0.5
    """How it grows with the share."""
    max_slippage: MaxSlippage = 0.5
    """Slippage is never above this plain fraction; it is this in a candle without volume."""
    max_share: Annotated[float, Field(gt=0, le=1)] | None = None
    """Part of the candle's traded value that a buy may be; null for no limit."""


class AmmImpact(Document):
    """Slippage of a constant-product pool."""

    model: Literal[ImpactModel.AMM]
    """`amm`."""
    liquidity: Annotated[float, Field(gt=0, le=LARGEST_AMOUNT)] | None = None
    """Value of both sides of the pool at the first open, in quote currency, where neither candles nor call tell it."""
    max_slippage: MaxSlippage = 0.5
    """Slippage is never above this plain fraction; but a sell into an empty pool brings nothing."""


Impact = Annotated[NoImpact | VolumeShareImpact | AmmImpact, Field(discriminator="model")]


class Costs(Document):
    """Charged on every fill. The default is none: a run without costs says so in its report."""

    fee_bps: BasisPoints = 0.0
    """Fee, in basis points of the traded value."""
    slippage_bps: BasisPoints = 0.0
    """Slippage, in basis points of the price, always against the trader."""
    fixed_fee: Annotated[float, Field(ge=0, le=LARGEST_AMOUNT)] = 0.0
    """Charged on every fill whatever its size (gas, tip), in quote currency."""
    impact: Impact = NoImpact()
    """How the size of a fill moves its price against the trader, on top of slippageBps."""

    @property
    def by_size(self) -> bool:
        """Whether the size of a fill decides its price or its share of the costs."""
        return self.fixed_fee > 0 or not isinstance(self.impact, NoImpact)


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


class LossPause(Document):
    """A rest after trades that lost one after the other."""

    count: Annotated[int, Field(ge=1, le=MOST)]
    """Losing trades (net return of at most 0) in a row, by the time of their last sell."""
    minutes: Annotated[float, Field(gt=0, le=LONGEST_MINUTES)]
    """How long nothing is bought after the last of them; the count then begins anew."""


class Portfolio(Document):
    """The account in which the trades compete for cash and slots."""

    initial_capital: Annotated[float, Field(gt=0, le=LARGEST_AMOUNT)] = 10_000.0
    """Cash at the start, in quote currency."""
    sizing: Sizing = FixedSizing()
    """How much a buy is given."""
    max_open_positions: Annotated[int, Field(ge=1, le=MOST)] | None = 25
    """Positions that may be open at once; null for no limit."""
    max_per_token: Annotated[int, Field(ge=1, le=MOST)] | None = None
    """Positions that may be open at once on one token; null for no limit."""
    cooldown_minutes: Annotated[float, Field(gt=0, le=LONGEST_MINUTES)] | None = None
    """How long a token is not bought again after a position on it was closed; null for not at all."""
    pause_after_losses: LossPause | None = None
    """When nothing is bought for a while; null for never."""
    stop_at_drawdown: Annotated[float, Field(gt=0, le=1)] | None = None
    """Fall of the equity from its maximum, as a plain fraction, after which nothing is bought any more; null for none.
    """


class EndOfData(Document):
    """What a position is worth whose candles end."""

    haircut: Share = 0.0
    """Part of the last close that is lost when it is sold because the candles end: 1 is a token that is dead."""


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
    finer_timeframe: Timeframe | None = None
    """Length of the candles that decide it where intrabar is `finer`: shorter than those of the run."""
    horizon_minutes: Annotated[float, Field(gt=0, le=LONGEST_MINUTES)] = 1440.0
    """Minutes after the call at which whatever is left is sold."""
    end_of_data: EndOfData = EndOfData()
    """What a position is worth whose candles end before the horizon."""
    filters: tuple[Filter, ...] = Field(default=(), strict=False, max_length=MOST_FILTERS)
    """What must hold of a call, and of what is known before the entry; otherwise it is not entered."""
    portfolio: Portfolio = Portfolio()
    """The account: capital, stakes, positions at once."""

    @model_validator(mode="after")
    def _blocks_fit(self) -> Self:
        if self.horizon_minutes <= self.entry.delay_minutes:
            raise problem_at("horizonMinutes", "must exceed entry.delayMinutes, or no candle can be used")
        stopped = self.exit.stop_loss is not None or self.exit.use is ExitUse.SIGNAL
        if isinstance(self.portfolio.sizing, RiskSizing) and not stopped:
            raise problem_at("portfolio.sizing", "risk sizing divides by exit.stopLoss: set it")
        if self.intrabar is IntrabarPolicy.FINER and self.finer_timeframe is None:
            raise problem_at("finerTimeframe", "missing: intrabar finer needs the length of the finer candles")
        if self.intrabar is not IntrabarPolicy.FINER and self.finer_timeframe is not None:
            raise problem_at("finerTimeframe", f"has no meaning for intrabar {self.intrabar}: leave it out")
        return self

    def config_hash(self) -> str:
        """Return the sha256 (hex) of the canonical JSON of the configuration, names and tags excluded.

        A field of `NEUTRAL` that decides nothing is left out, so that a configuration from before there was such a
        field keeps its hash.
        """
        document = self.to_json_dict()
        config = {name: document[name] for name in CONFIG_FIELDS}
        for path, neutral in NEUTRAL.items():
            *parents, last = path.split(".")
            node = config
            for parent in parents:
                node = node[parent]
            if node[last] == neutral:
                del node[last]
        return hashlib.sha256(canonical_json(config)).hexdigest()


CONFIG_FIELDS = tuple(field.alias or name for name, field in StrategyConfig.model_fields.items())
NEUTRAL: dict[str, Any] = {
    "entry.when": None,
    "exit.use": "rules",
    "exit.targetFractions": None,
    "exit.stopFill": {"through": 0.0},
    "exit.when": None,
    "costs.fixedFee": 0.0,
    "costs.impact": {"model": "none"},
    "finerTimeframe": None,
    "endOfData": {"haircut": 0.0},
    "filters": [],
    "portfolio.maxPerToken": None,
    "portfolio.cooldownMinutes": None,
    "portfolio.pauseAfterLosses": None,
    "portfolio.stopAtDrawdown": None,
}
"""Fields, by path, that came after strategies had been stored, and the values with which every number is as before."""


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
