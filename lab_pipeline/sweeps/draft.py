"""A sweep to begin with, as the text of a file."""

import json
from typing import Any

from lab_pipeline.domain.backtest import override
from lab_pipeline.domain.errors import InvalidConfigError
from lab_pipeline.domain.strategy import StrategyConfig
from lab_pipeline.sweeps.spec import ObjectiveSpec, SearchSpec, ValidationSpec

CANDIDATES: dict[str, tuple[float | None, ...]] = {
    "exit.stopLoss": (0.1, 0.2, 0.3, 0.4, 0.5),
    "exit.targets[0].multiple": (1.2, 1.5, 2, 3),
    "exit.maxHoldMinutes": (None, 30, 120, 480),
    "entry.delayMinutes": (0, 1, 5),
}
"""What people vary first, and over which values."""


def draft(strategy_id: str, config: StrategyConfig, timeframe: str) -> str:
    """Write a sweep of a strategy in YAML, with the defaults that people change most.

    Args:
        strategy_id: its id.
        config: its configuration; values that it cannot have are not offered, each taken alone.
        timeframe: of the candles.

    Returns:
        What `lab sweep run FILE` reads.
    """
    able = {path: [value for value in values if _can_have(config, path, value)] for path, values in CANDIDATES.items()}
    varied = [f"  {path}: {json.dumps(values)}" for path, values in able.items() if len(values) > 1]
    search, objective, validation = SearchSpec(), ObjectiveSpec(), ValidationSpec()
    lines = [
        f"strategy: {json.dumps(strategy_id)}",
        f"timeframe: {timeframe}",
        "space:  # a list, or {from: 0.05, to: 0.5, n: 10}",
        *(varied or [f"  exit.stopLoss: {json.dumps(CANDIDATES['exit.stopLoss'])}"]),
        "constraints: []  # such as exit.stopLoss < 0.4",
        f"search: {{sets: {search.sets}}}  # every combination, or so many",
        f"objective: {_flow(objective, 'name', 'min_trades', 'min_days', 'min_callers')}",
        f"validation: {_flow(validation, 'holdout', 'placebo')}",
        "seed: 0",
    ]
    return "\n".join(lines) + "\n"


def _can_have(config: StrategyConfig, path: str, value: float | None) -> bool:
    try:
        override(config, {path: value})
    except InvalidConfigError:
        return False
    return True


def _flow(part: Any, *names: str) -> str:  # noqa: ANN401 - one of the parts of a sweep
    return "{" + ", ".join(f"{name}: {getattr(part, name)}" for name in names) + "}"
