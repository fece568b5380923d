"""Which calls a strategy enters at all."""

from typing import Annotated, Self

from pydantic import Discriminator, Field, Tag, model_validator

from lab_pipeline.domain.model import Document, problem_at

MOST_VALUES = 10_000
LARGEST = 1e100
"""As prices and amounts are at most."""

TEXTS = ("caller", "mint", "direction", "chain", "source_url")
BROUGHT = ("entry_price", "stop_price", "price_at_call", "market_cap_at_call", "liquidity_at_call")
"""Numbers that calls may bring."""

MEASURED = ("pre_return_1h", "pre_volatility_1h", "pre_volume_1h", "hour_of_day")
"""Numbers that are measured at the entry, on the candles before it."""

COUNTED = ("token_age_minutes", "call_number_on_token", "caller_calls_before")
"""Numbers that are counted over all calls up to this one, by called_at and call_id."""

FIELDS = (*TEXTS, *BROUGHT, *MEASURED, *COUNTED)


Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]


def _kind_of_value(value: object) -> str:
    return "text" if isinstance(value, str) else "number"


Value = Annotated[
    Annotated[str, Field(max_length=1_000), Tag("text")] | Annotated[Number, Tag("number")],
    Discriminator(_kind_of_value),
]


class Filter(Document):
    """A condition on one thing that is known of a call before its entry. What is null never fits."""

    field: Annotated[str, Field(max_length=100)]
    """A column of the call, or one of the numbers known before the entry."""
    min: Number | None = None
    """Least value that fits."""
    max: Number | None = None
    """Largest value that fits."""
    in_: Annotated[tuple[Value, ...], Field(strict=False, max_length=MOST_VALUES)] | None = Field(
        default=None, alias="in"
    )
    """The values that fit."""

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        if self.field not in FIELDS:
            raise problem_at("field", f"unknown: it is one of {', '.join(FIELDS)}")
        if self.min is None and self.max is None and not self.in_:
            raise problem_at("", "nothing to hold the field to: set min, max or in")
        if self.field in TEXTS:
            if self.min is not None or self.max is not None:
                raise problem_at("min" if self.min is not None else "max", f"{self.field} is text: use in")
            wrong = next((i for i, one in enumerate(self.in_ or ()) if not isinstance(one, str)), None)
        else:
            wrong = next((i for i, one in enumerate(self.in_ or ()) if isinstance(one, str)), None)
        if wrong is not None:
            kind = "text" if self.field in TEXTS else "a number"
            raise problem_at(f"in[{wrong}]", f"{self.field} is {kind}")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise problem_at("max", f"must be at least min: {self.max:g} is less than {self.min:g}")
        return self
