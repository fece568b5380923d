"""The simulation: from candles, calls and a strategy to fills, trades and an account. Pure, and typed by `domain`.

from lab_pipeline.engine import simulate
simulation = simulate(candles, calls, strategy, timeframe="1m")
simulation.trades
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab_pipeline.engine.simulation import Simulation
    from lab_pipeline.engine.simulator import PartialSimulation, Simulator, simulate

__all__ = ["ENGINE_VERSION", "PartialSimulation", "Simulation", "Simulator", "simulate"]

ENGINE_VERSION = "4"
"""Changes whenever the same inputs may give other results; part of every fingerprint."""

_HOMES = {
    "PartialSimulation": "simulator",
    "Simulation": "simulation",
    "Simulator": "simulator",
    "simulate": "simulator",
}


def __getattr__(name: str) -> object:
    """Import on first use: numba takes a second, which who only asks for the version need not wait."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List what can be imported, used or not."""
    return sorted({*globals(), *__all__})
