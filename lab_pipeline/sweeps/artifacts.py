"""What is written of a sweep: frames and the document of its selection."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline.domain.candles import Floats
from lab_pipeline.statistics.selection import Selection

if TYPE_CHECKING:
    from lab_pipeline.engine.sweep import Sweep

FOLDS = pl.Schema(
    {
        "fold": pl.Int32(),
        "train_start": frames.TIMESTAMP,
        "train_end": frames.TIMESTAMP,
        "test_start": frames.TIMESTAMP,
        "test_end": frames.TIMESTAMP,
        "purged_trades": pl.Int32(),
        "set_id": pl.Int32(),
        "train_expectancy": pl.Float64(),
        "test_expectancy": pl.Float64(),
        "test_trades": pl.Int32(),
    }
)
LANES = pl.Schema({"set_id": pl.Int32(), "lane": pl.String(), "expectancy": pl.Float64(), "trades": pl.Int32()})


def frames_of(
    sweep: "Sweep", selection: Selection, lanes: pl.DataFrame, placebos: Floats | None
) -> dict[str, pl.DataFrame]:
    """Return the tables of a sweep by the names of their files; a part that was not said has no rows.

    Args:
        sweep: what the sets earned.
        selection: the winner, and how far it can be believed.
        lanes: the winner's rows of `frames.FILL_CERTAINTY`; none without a winner.
        placebos: best objective of each, if there are any.
    """
    fared = pl.DataFrame(schema=LANES)
    if selection.choice.winner >= 0:
        fared = lanes.select(pl.lit(selection.choice.winner, pl.Int32).alias("set_id"), *list(LANES)[1:])
    return {
        "sets": _sets(sweep, selection),
        "days": sweep.day_cells(),
        "callers": sweep.caller_cells(),
        "folds": _folds(selection),
        "oos": _out_of_sample(selection),
        "cscv": _halves(selection),
        "lanes": fared,
        "placebo": _placebos(np.empty(0) if placebos is None else placebos),
    }


def ranked(selection: Selection) -> list[int]:
    """Return the sets that could win, best first; of equals the first."""
    choice = selection.choice
    able = np.flatnonzero(choice.allowed & np.isfinite(choice.scores))
    best_first: list[int] = able[np.argsort(-choice.scores[able], kind="stable")].tolist()
    return best_first


def selection_document(selection: Selection, earlier: int) -> dict[str, Any]:
    """Return what `selection.json` says; null where a figure does not exist or was not said.

    Args:
        selection: the winner, and how far it can be believed.
        earlier: configurations that earlier sweeps have tried.
    """
    deflation, halves, superior = selection.deflation, selection.overfitting, selection.superiority
    walk, paths, land = selection.walk, selection.paths, selection.plateau
    stress, placebo, verdict = selection.stress, selection.placebo, selection.verdict
    low, high = selection.interval or (None, None)
    document = {
        "winner": selection.choice.winner if selection.choice.winner >= 0 else None,
        "objective": str(selection.choice.objective),
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
    }
    return {name: _number(value) for name, value in document.items()}


def _number(value: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Return a value as JSON can write it."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _sets(sweep: "Sweep", selection: Selection) -> pl.DataFrame:
    choice, count = selection.choice, sweep.sets.height
    place = np.full(count, -1, np.int32)
    best_first = ranked(selection)
    place[best_first] = np.arange(1, len(best_first) + 1)
    land = np.full(count, -np.inf) if selection.plateau is None else selection.plateau.scores
    return sweep.sets.with_columns(
        pl.Series("eligible", choice.allowed),
        pl.Series("objective", np.where(np.isfinite(choice.scores), choice.scores, np.nan), nan_to_null=True),
        pl.Series("plateau", np.where(np.isfinite(land), land, np.nan), nan_to_null=True),
        pl.Series("rank", [None if rank < 0 else rank for rank in place.tolist()], pl.Int32),
    )


def _folds(selection: Selection) -> pl.DataFrame:
    rows = [
        {
            "fold": number,
            "train_start": one.fold.train_start,
            "train_end": one.fold.train_end,
            "test_start": one.fold.test_start,
            "test_end": one.fold.test_end,
            "purged_trades": one.purged_trades,
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


def _placebos(objectives: Floats) -> pl.DataFrame:
    told = np.where(np.isfinite(objectives), objectives, np.nan)
    return pl.DataFrame(
        [
            pl.Series("number", np.arange(len(told), dtype=np.int32)),
            pl.Series("best_metric", told, nan_to_null=True),
        ]
    )


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
