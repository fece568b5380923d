"""Conditions over candles that have closed: what a strategy may wait for before it buys, or sells."""

from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator

from lab_pipeline.domain.enums import CrossDirection, SignalKind
from lab_pipeline.domain.model import Document, problem_at

MOST_CANDLES = 1_000
MOST_CONDITIONS = 20
Length = Annotated[int, Field(ge=1, le=MOST_CANDLES)]
Direction = Annotated[CrossDirection, Field(strict=False)]


class _Cross(Document):
    fast: Length
    """Candles of the faster average."""
    slow: Annotated[int, Field(ge=2, le=MOST_CANDLES)]
    """Candles of the slower average."""
    direction: Direction = CrossDirection.UP
    """`up`: the faster is above the slower, and was not a candle before; `down` the other way round."""

    @model_validator(mode="after")
    def _fast_is_faster(self) -> Self:
        if self.fast >= self.slow:
            raise problem_at("slow", f"must exceed fast: {self.slow} is not more than {self.fast}")
        return self


class EmaCross(_Cross):
    """Exponential averages of the closes (smoothing 2 / (candles + 1), begun at the first close) cross."""

    kind: Literal[SignalKind.EMA_CROSS]


class SmaCross(_Cross):
    """Plain averages of the closes cross."""

    kind: Literal[SignalKind.SMA_CROSS]


class Rsi(Document):
    """The relative strength index (Wilder's averages of gains and losses of the closes) is high or low."""

    kind: Literal[SignalKind.RSI]
    n: Length = 14
    """Candles of the averages."""
    above: Annotated[float, Field(ge=0, le=100)] | None = None
    """True at or above this."""
    below: Annotated[float, Field(ge=0, le=100)] | None = None
    """True at or below this."""

    @model_validator(mode="after")
    def _has_a_side(self) -> Self:
        if (self.above is None) == (self.below is None):
            raise problem_at("", "set one of above and below")
        return self


class Breakout(Document):
    """The close is above the highest high, or below the lowest low, of the candles before."""

    kind: Literal[SignalKind.BREAKOUT]
    n: Length = 20
    """How many candles before."""
    direction: Direction = CrossDirection.UP
    """`up` for the highest high, `down` for the lowest low."""


class VolumeSpike(Document):
    """The candle traded a multiple of the mean volume of the candles before."""

    kind: Literal[SignalKind.VOLUME_SPIKE]
    n: Length = 20
    """How many candles before."""
    multiple: Annotated[float, Field(gt=0, le=1e6)] = 3.0
    """True at or above this multiple; never where the candles before traded nothing."""


class IchimokuCross(Document):
    """Tenkan-sen crosses kijun-sen: the middles between highest high and lowest low of few and of many candles."""

    kind: Literal[SignalKind.ICHIMOKU_CROSS]
    tenkan: Length = 9
    """Candles of the faster line."""
    kijun: Annotated[int, Field(ge=2, le=MOST_CANDLES)] = 26
    """Candles of the slower line."""
    direction: Direction = CrossDirection.UP
    """`up`: the faster is above the slower, and was not a candle before; `down` the other way round."""

    @model_validator(mode="after")
    def _fast_is_faster(self) -> Self:
        if self.tenkan >= self.kijun:
            raise problem_at("kijun", f"must exceed tenkan: {self.kijun} is not more than {self.tenkan}")
        return self


class Registered(Document):
    """A signal of the lab's own, or one that an installed package registers in the group `lab_pipeline.signals`."""

    kind: Literal[SignalKind.REGISTERED]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]
    """Name of the file in the lab's directory of signals, without its ending, or of the entry point."""
    warm_up: Annotated[int, Field(ge=0, le=MOST_CANDLES)] = 0
    """Candles before the call that it wants to see."""
    arguments: Annotated[dict[str, JsonValue], Field(max_length=100)] = Field(default_factory=dict)
    """Handed to it by name."""


Condition = Annotated[
    EmaCross | SmaCross | Rsi | Breakout | VolumeSpike | IchimokuCross | Registered, Field(discriminator="kind")
]
Conditions = Annotated[tuple[Condition, ...], Field(strict=False, max_length=MOST_CONDITIONS)]


class When(Document):
    """Conditions, all or any of which must hold at the close of a candle."""

    all_: Conditions | None = Field(default=None, alias="all")
    """Every one of these holds."""
    any_: Conditions | None = Field(default=None, alias="any")
    """At least one of these holds."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.all_ is None) == (self.any_ is None):
            raise problem_at("", "set one of all and any")
        if not self.conditions:
            raise problem_at("any" if self.all_ is None else "all", "has no condition: name at least one")
        return self

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The conditions, however they are joined."""
        return self.all_ or self.any_ or ()
