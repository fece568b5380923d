"""The days that a sweep has held out: opened once, and every look is on record."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lab_pipeline.domain.backtest import TimeRange, iso
from lab_pipeline.domain.errors import ConflictError
from lab_pipeline.lake import Lake
from lab_pipeline.runs import backtest as backtests
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.statistics.trials import Tried
from lab_pipeline.sweeps.records import Look, looks, record_look
from lab_pipeline.sweeps.sets import set_config, set_row
from lab_pipeline.sweeps.spec import SweepSpec
from lab_pipeline.sweeps.store import SweepStore

RESULT = "holdout.json"
"""Beside the artifacts of a sweep, and none of them: the manifest lists what was known before anybody looked."""


@dataclass(frozen=True)
class Holdout:
    """What is known of the held out days of a sweep.

    Attributes:
        sweep_id: whose.
        held: range of their calls.
        looks: at them, by the whole family of the strategy, the earliest first.
        used: what the family has tried on calls of these days.
        result: what `reveal` has found; null before the first look.
    """

    sweep_id: str
    held: TimeRange
    looks: list[Look]
    used: Tried
    result: dict[str, Any] | None

    @property
    def said(self) -> str:
        """How often it was seen, in words."""
        sweeps, backtests = self.used.sweeps, self.used.backtests
        if not sweeps and not backtests:
            return self._seen
        who = [_counted(count, noun) for count, noun in ((sweeps, "sweep"), (backtests, "backtest")) if count]
        return f"{self._seen}; {' and '.join(who)} of the family used some of these days"

    @property
    def _seen(self) -> str:
        if not self.looks:
            return "not seen yet"
        others = sum(look.sweep_id != self.sweep_id for look in self.looks)
        times = "once" if len(self.looks) == 1 else f"{len(self.looks):,} times"
        elsewhere = f", {others:,} of them for other sweeps of this strategy or its family" if others else ""
        return f"seen {times}{elsewhere}"

    def as_json(self) -> dict[str, Any]:
        """Return the same for a document."""
        seen = [{"sweepId": look.sweep_id, "at": iso(look.at), "by": look.by} for look in self.looks]
        held = {"start": iso(self.held.start), "end": iso(self.held.end)}
        return {**held, "said": self.said, "seen": seen, "result": self.result}


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def holdout_of(store: SweepStore, sweep_id: str) -> Holdout | None:
    """Return what is known of the holdout of a sweep, without looking at it; null if it has none."""
    manifest, space = store.manifest(sweep_id), store.document(sweep_id, "space")
    if space["holdout_start"] is None:
        return None
    held = TimeRange(
        start=datetime.fromisoformat(space["holdout_start"]), end=datetime.fromisoformat(space["holdout_end"])
    )
    found = store.storage.mark(sweep_id, RESULT)
    result = None if found is None else json.loads(found)
    strategy = str(manifest.spec["strategy"])
    used = store.trials.tried(strategy, held.start, held.end)
    return Holdout(sweep_id, held, looks(store, strategy, held), used, result)


def reveal(
    store: SweepStore, sweep_id: str, *, lake: Lake, strategies: StrategyStore, by: str, threads: int | None = None
) -> Holdout:
    """Look at the holdout: how the winner and the representative of the plateau fare there.

    It is simulated at the first look; every look is recorded, before anything is shown.

    Args:
        store: the sweeps of the lab.
        sweep_id: whose holdout it is.
        lake: that has the candles.
        strategies: of the lab.
        by: name of the user who looks.
        threads: of the simulation.

    Raises:
        ConflictError: if nothing was held out, or there is no set to look at.
    """
    known = holdout_of(store, sweep_id)
    if known is None:
        raise ConflictError(f"sweep {sweep_id} held nothing out: `validation.holdout` says how much of the days is")
    manifest, selection = store.manifest(sweep_id), store.document(sweep_id, "selection")
    if selection["winner"] is None:
        raise ConflictError(
            f"no set of sweep {sweep_id} could win, so there is none to look at: its holdout stays closed"
        )
    result = known.result
    if result is None:
        roles: dict[int, list[str]] = {selection["winner"]: ["winner"]}
        if selection["plateau_set"] is not None:
            roles.setdefault(selection["plateau_set"], []).append("plateau")
        asked = SweepSpec.parse(manifest.spec).backtest(known.held).model_copy(update={"range": known.held})
        result = {"sweep_id": sweep_id, "start": iso(known.held.start), "end": iso(known.held.end), "sets": []}
        for set_id, role in roles.items():
            config = set_config(store, strategies, sweep_id, set_id)
            backtest = backtests.resolve_config(asked, manifest.strategy_version, config, strategies, lake)
            simulated = backtests.simulate(backtest, backtests.plan(backtest, lake), threads=threads)
            summary, row = simulated.simulation.summary, set_row(store, sweep_id, set_id)
            result["sets"].append(
                {
                    "set_id": set_id,
                    "roles": role,
                    "config_hash": row["config_hash"],
                    "snapshot": simulated.provenance.snapshot,
                    "trades": summary.trades,
                    "wins": summary.wins,
                    "expectancy": summary.expectancy,
                    "expectancy_low": summary.expectancy_low,
                    "expectancy_high": summary.expectancy_high,
                    "selected_expectancy": row["expectancy"],
                    "selected_trades": row["trades"],
                }
            )
    record_look(store, sweep_id, str(manifest.spec["strategy"]), known.held, by)
    if known.result is None:
        store.storage.set_mark(sweep_id, RESULT, json.dumps(result, indent=2, allow_nan=False) + "\n")
    seen = looks(store, str(manifest.spec["strategy"]), known.held)
    return Holdout(sweep_id, known.held, seen, known.used, result)
