"""Trading backtests as data pipelines.

from lab_pipeline import Strategy, generate_market, simulate
market, strategy = generate_market(), Strategy.parse({"id": "mine", "exit": {"stopLoss": 0.3}})
simulate(market.candles, market.calls, strategy, timeframe="5m")
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab_pipeline.client import Client
    from lab_pipeline.domain.strategy import Strategy
    from lab_pipeline.lake.demo import generate_market
    from lab_pipeline.notebook.simulation import simulate
    from lab_pipeline.notebook.sweeping import sweep
    from lab_pipeline.operations.lab import Lab

__all__ = ["Client", "Lab", "Strategy", "__version__", "generate_market", "simulate", "sweep"]
__version__ = "0.1.0"

_HOMES = {
    "Client": "client",
    "Lab": "operations.lab",
    "Strategy": "domain.strategy",
    "generate_market": "lake.demo",
    "simulate": "notebook.simulation",
    "sweep": "notebook.sweeping",
}


def __getattr__(name: str) -> object:
    """Import on first use: the command line and every process of a lab import this package, and few of them a part."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List what can be imported, used or not."""
    return sorted({*globals(), *__all__})
