"""The conditions, worse than those of a backtest, that say how much of a result hangs on good fills."""

from typing import NamedTuple


class StressLane(NamedTuple):
    """Conditions of all fills; a strategy that asks for worse ones keeps its own.

    Attributes:
        name: what it is called.
        fee_bps: fee of every fill, in hundredths of a percent.
        slippage_bps: slippage of every fill, likewise.
        delay_candles: by which every entry comes later.
    """

    name: str
    fee_bps: float
    slippage_bps: float
    delay_candles: int = 0


STRESS_LANES = (
    StressLane("baseline", 50.0, 100.0),
    StressLane("worse", 75.0, 150.0),
    StressLane("ugly", 50.0, 200.0),
    StressLane("one_candle_late", 50.0, 100.0, 1),
    StressLane("two_candles_late", 50.0, 100.0, 2),
    StressLane("fee_spike", 150.0, 100.0),
    StressLane("slippage_spike", 50.0, 500.0),
    StressLane("full", 100.0, 250.0, 2),
)
