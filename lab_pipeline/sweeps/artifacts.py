"""What is written of a sweep: frames and the document of its selection."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline.domain.candles import Integers
from lab_pipeline.domain.enums import IntrabarPolicy
from lab_pipeline.statistics.selection import Selection, StopFills
from lab_pipeline.statistics.selection.verdict import RULES, Finding
from lab_pipeline.sweeps.callers import CallerTests

if TYPE_CHECKING:
    from lab_pipeline.engine.sweep import Sweep

FOLDS = pl.Schema(
    {
        "fold": pl.Int32(),
        "kind": pl.String(),
        "train_start": frames.TIMESTAMP,
        "train_end": frames.TIMESTAMP,
        "test_start": frames.TIMESTAMP,
        "test_end": frames.TIMESTAMP,
        "purged_calls": pl.Int32(),
        "set_id": pl.Int32(),
        "train_expectancy": pl.Float64(),
        "test_expectancy": pl.Float64(),
        "test_trades": pl.Int32(),
    }
)
PLACEBOS = pl.Schema(
    {"kind": pl.String(), "number": pl.Int32(), "best_metric": pl.Float64(), "best_set_id": pl.Int32()}
)
POLICIES = (IntrabarPolicy.STOP_FIRST, IntrabarPolicy.TARGET_FIRST, IntrabarPolicy.NEAREST_OPEN)
"""What may come first in an ambiguous candle, where no finer ones decide it."""
INTRABAR = pl.Schema(
    {
        "set_id": pl.Int32(),
        "policy": pl.String(),
        "trades": pl.Int32(),
        "expectancy": pl.Float64(),
        "ambiguous": pl.Int64(),
    }
)
LANES = pl.Schema({"set_id": pl.Int32(), "lane": pl.String(), "expectancy": pl.Float64(), "trades": pl.Int32()})
PATHS = pl.Schema({"path": pl.Int32(), "day": pl.Date(), "trades": pl.Int32(), "net_sum": pl.Float64()})


def frames_of(
    sweep: "Sweep",
    selection: Selection,
    lanes: pl.DataFrame,
    placebos: pl.DataFrame | None,
    *,
    accounts: pl.DataFrame,
    callers: CallerTests | None,
    walk: str,
    calls_a_day: Integers,
) -> dict[str, pl.DataFrame]:
    """Return the tables of a sweep by the names of their files; a part that was not said has no rows.

    Args:
        sweep: what the sets earned.
        selection: the winner, and how far it can be believed.
        lanes: of the sets that were run once more: `set_id` and columns of `frames.FILL_CERTAINTY`.
        placebos: columns of `PLACEBOS`, if there are any.
        accounts: of the shortlist; columns of `replays.ACCOUNTS`.
        callers: tests of every caller under every set, if there are any.
        walk: kind of the walk forward.
        calls_a_day: as many as the sweep has days.
    """
    return {
        "sets": _sets(sweep, selection, lanes),
        "days": sweep.day_cells(),
        "callers": _callers(sweep, callers),
        "folds": _folds(selection, walk, calls_a_day),
        "oos": _out_of_sample(selection),
        "cscv": _halves(selection),
        "paths": _paths(sweep, selection),
        "lanes": lanes.select(LANES.names()),
        "accounts": accounts,
        "placebo": pl.concat([PLACEBOS.to_frame(), *(() if placebos is None else (placebos,)), _shuffled(callers)]),
    }


def placebo_rows(kind: str, found: Sequence[tuple[float, int]]) -> pl.DataFrame:
    """Return the rows of `PLACEBOS` for the best objective and set of each; null where no set may win."""
    told = [
        (kind, number, best if math.isfinite(best) else None, which if which >= 0 else None)
        for number, (best, which) in enumerate(found)
    ]
    return pl.DataFrame(told, schema=PLACEBOS, orient="row")


def intrabar_rows(sets: Sequence[int], sweeps: "Sequence[Sweep]") -> pl.DataFrame:
    """Return the rows of `INTRABAR` of some sets; `sweeps` are theirs by `POLICIES`."""
    parts = [
        swept.sets.select(
            pl.Series("set_id", sets, pl.Int32), pl.lit(str(policy)).alias("policy"), *INTRABAR.names()[2:]
        )
        for policy, swept in zip(POLICIES, sweeps, strict=True)
    ]
    return pl.concat(parts).sort("set_id", maintain_order=True)


def stop_fills_document(fills: StopFills) -> dict[str, Any]:
    """Return what `selection.json` says of the winner with stops as run, at their level and at the low."""
    return {
        "winners": {name: one if one >= 0 else None for name, one in fills.winners.items()},
        "objectives": {name: _number(value) for name, value in fills.objective.items()},
        "ranks": dict(fills.ranks),
        "survives": fills.survives,
    }


def ranked(selection: Selection) -> list[int]:
    """Return the sets that could win, best first; of equals the first."""
    best_first: list[int] = selection.choice.ranking.tolist()
    return best_first


def selection_document(selection: Selection, earlier: int, front: tuple[int, ...] | None = None) -> dict[str, Any]:
    """Return what `selection.json` says; null where a figure does not exist or was not said.

    Args:
        selection: the winner, and how far it can be believed.
        earlier: tries of the strategy's family by other sweeps and by backtests.
        front: sets that none other beats in all of several objectives.
    """
    deflation, halves, superior = selection.deflation, selection.overfitting, selection.superiority
    walk, paths, land = selection.walk, selection.paths, selection.plateau
    stress, placebo, verdict = selection.stress, selection.placebo, selection.verdict
    low, high = selection.interval or (None, None)
    document = {
        "winner": selection.choice.winner if selection.choice.winner >= 0 else None,
        "objective": str(selection.choice.objective),
        "front": front and list(front),
        "days": selection.days,
        "trials": selection.trials,
        "trials_before": earlier,
        "effective_trials": selection.effective_trials,
        "expectancy_low": low,
        "expectancy_high": high,
        "psr": deflation and deflation.psr,
        "dsr": deflation and deflation.dsr,
        "dsr_effective": deflation and deflation.dsr_effective,
        "luck_sharpe": deflation and deflation.luck,
        "track_record_days": deflation and deflation.track_record_days,
        "minimum_backtest_days": deflation and deflation.backtest_days,
        "pbo": halves and halves.probability,
        "pbo_loss": halves and halves.loss,
        "pbo_slope": halves and halves.slope,
        "reality_check_p": superior and superior.reality_check,
        "spa_lower_p": superior and superior.lower,
        "spa_consistent_p": superior and superior.consistent,
        "spa_upper_p": superior and superior.upper,
        "superior_sets": superior and superior.superior.tolist(),
        "oos_expectancy": walk and walk.expectancy,
        "walk_forward_efficiency": walk and walk.efficiency,
        "path_expectancies": None if paths is None else [_number(value) for value in paths.expectancies.tolist()],
        "plateau_set": land and land.chosen,
        "plateau_ratio": land and land.ratio,
        "weakest_lane": stress and stress.weakest,
        "weakest_lane_expectancy": stress and stress.expectancy,
        "placebo_p": placebo and placebo.p_value,
        "supported": verdict.supported,
        "failed": [str(part) for part in verdict.failed],
        "unsaid": [str(part) for part in verdict.unsaid],
        "verdict": verdict.words,
        "parts": [_part(finding) for finding in verdict.findings],
    }
    return {name: _number(value) for name, value in document.items()}


def _part(finding: Finding) -> dict[str, Any]:
    rule = RULES[finding.part]
    return {
        "part": str(finding.part),
        "title": rule.title,
        "value": _number(finding.value),
        "wanted": rule.wanted,
        "passed": finding.passed,
        "doubt": rule.doubt,
        "unsaid": finding.unsaid,
    }


def _number(value: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Return a value as JSON can write it."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _sets(sweep: "Sweep", selection: Selection, lanes: pl.DataFrame) -> pl.DataFrame:
    choice, count = selection.choice, sweep.sets.height
    place = np.full(count, -1, np.int32)
    best_first = ranked(selection)
    place[best_first] = np.arange(1, len(best_first) + 1)
    land = np.full(count, -np.inf) if selection.plateau is None else selection.plateau.scores
    weakest = lanes.group_by("set_id").agg(pl.col("expectancy").fill_null(0.0).min().alias("lane_min"))
    sets = sweep.sets.with_columns(train_trades="trades", train_expectancy="expectancy")
    return sets.join(weakest, on="set_id", how="left", maintain_order="left").with_columns(
        pl.Series("eligible", choice.allowed),
        pl.Series("objective", np.where(np.isfinite(choice.scores), choice.scores, np.nan), nan_to_null=True),
        pl.Series("plateau", np.where(np.isfinite(land), land, np.nan), nan_to_null=True),
        pl.Series("rank", [None if rank < 0 else rank for rank in place.tolist()], pl.Int32),
    )


def _callers(sweep: "Sweep", tests: CallerTests | None) -> pl.DataFrame:
    """Return the cells by set and caller, and what was tested of each; null where it was not."""
    cells = sweep.caller_cells()
    shape = len(sweep.callers), sweep.sets.height
    place_of = {name: number for number, name in enumerate(sweep.callers)}  # the rest of many callers stands last
    number = cells["caller"].replace_strict(place_of, return_dtype=pl.Int64)
    place = number.to_numpy(), cells["set_id"].to_numpy()
    told = []
    for name in ("p_value", "q_value"):
        values = np.full(shape, np.nan)
        if tests is not None:
            values[: len(tests.callers)] = getattr(tests, f"{name}s")
        told.append(pl.Series(name, values[place], nan_to_null=True))
    return cells.with_columns(told)


def _folds(selection: Selection, walk: str, calls_a_day: Integers) -> pl.DataFrame:
    rows = [
        {
            "fold": number,
            "kind": walk,
            "train_start": one.fold.train_start,
            "train_end": one.fold.train_end,
            "test_start": one.fold.test_start,
            "test_end": one.fold.test_end,
            "purged_calls": int(calls_a_day[one.fold.purged].sum()),
            "set_id": one.chosen if one.chosen >= 0 else None,
            "train_expectancy": _number(one.train_expectancy),
            "test_expectancy": _number(one.test_expectancy),
            "test_trades": one.test_trades,
        }
        for number, one in enumerate(selection.walk.folds if selection.walk else ())
    ]
    whole = {name: pl.Int64() if kind == frames.TIMESTAMP else kind for name, kind in FOLDS.items()}
    return pl.DataFrame(rows, schema=whole).cast(FOLDS)


def _out_of_sample(selection: Selection) -> pl.DataFrame:
    walk = selection.walk
    days, chosen = (np.empty(0, np.int64),) * 2 if walk is None else (walk.days, walk.chosen)
    trades, net = (np.empty(0),) * 2 if walk is None else (walk.trades, walk.net)
    return pl.DataFrame(
        [
            pl.Series("day", days, pl.Int64).cast(frames.TIMESTAMP).cast(pl.Date),
            pl.Series("net_sum", net),
            pl.Series("trades", trades.astype(np.int32)),
            pl.Series("set_id", [None if one < 0 else one for one in chosen.tolist()], pl.Int32),
        ]
    )


def _paths(sweep: "Sweep", selection: Selection) -> pl.DataFrame:
    paths = selection.paths
    if paths is None:
        return pl.DataFrame(schema=PATHS)
    number, day = (one.ravel() for one in np.indices(paths.net.shape))
    days = pl.Series(sweep.days[day]).cast(frames.TIMESTAMP).cast(pl.Date)
    columns = {"path": number, "day": days, "trades": paths.trades.ravel(), "net_sum": paths.net.ravel()}
    return pl.DataFrame(columns).select(pl.col(name).cast(kind) for name, kind in PATHS.items())


def _shuffled(tests: CallerTests | None) -> pl.DataFrame:
    found = () if tests is None else tests.shuffled.shuffled
    return placebo_rows("callers", [(one.objective, one.set) for one in found])


def _halves(selection: Selection) -> pl.DataFrame:
    halves = selection.overfitting
    none = np.empty(0)
    chosen = np.empty(0, np.int64) if halves is None else halves.chosen
    columns = (none,) * 3 if halves is None else (halves.in_sample, halves.out_of_sample, halves.logits)
    names = ("is_metric", "oos_metric", "logit")
    return pl.DataFrame(
        [
            pl.Series("split", np.arange(len(chosen), dtype=np.int32)),
            pl.Series("set_id", chosen.astype(np.int32)),
            *(
                pl.Series(name, np.where(np.isfinite(values), values, np.nan), nan_to_null=True)
                for name, values in zip(names, columns, strict=True)
            ),
        ]
    )
