"""Callers by rules: what each cell says, by hand, and which of them are told apart from zero."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from scipy import stats

from lab_pipeline.domain import frames
from lab_pipeline.statistics.answer import FEWEST_DAYS, SURE, callers_of, cells_of

START = datetime(2025, 1, 1, tzinfo=UTC)


class Run:
    """Has the frames that it is given."""

    def __init__(self, run_id, **tables):
        self.manifest, self._tables = SimpleNamespace(run_id=run_id), tables

    def frame(self, name):
        return self._tables[name]


def trades(**returns_of):
    """Make a trade a return, on the day that is its place."""
    rows = [(caller, START + timedelta(days=day, hours=1), value)
            for caller, days in returns_of.items() for day, values in enumerate(days) for value in values]  # fmt: skip
    return pl.DataFrame(
        rows, {"caller": pl.String, "called_at": frames.TIMESTAMP, "net_return": pl.Float64}, orient="row"
    )


def test_a_cell_is_the_mean_of_trades_with_its_error_by_days():
    days = [[0.1, 0.3], [-0.2], [0.4, 0.0, 0.2], [0.1], [0.05]]
    (cell,) = cells_of([Run("a", trades=trades(ann=days))]).to_dicts()
    values = np.concatenate([np.array(one) for one in days])
    mean = values.mean()
    sums = np.array([(np.array(one) - mean).sum() for one in days])
    error = np.sqrt((sums**2).sum() * 5 / 4) / len(values)
    assert (cell["run_id"], cell["caller"], cell["trades"], cell["days"], cell["wins"]) == ("a", "ann", 8, 5, 6)
    assert cell["expectancy"] == pytest.approx(mean)
    assert cell["error"] == pytest.approx(error)
    assert cell["p_value"] == pytest.approx(2 * stats.t.sf(mean / error, 4))
    assert cell["q_value"] == cell["p_value"]  # one test only
    assert cell["high"] == pytest.approx(mean + stats.t.ppf(0.975, 4) * error)


def test_an_interval_excludes_zero_exactly_where_the_cell_is_sure():
    random = np.random.default_rng(7)
    for edge in (0.0, 0.02, 0.05, 0.2):
        runs = [
            Run(str(number), trades=trades(**{
                f"caller{one}": (edge * (one % 3) + 0.1 * random.standard_normal((12, 2))).tolist() for one in range(6)
            }))
            for number in range(4)
        ]  # fmt: skip
        cells = cells_of(runs)
        corrected = stats.false_discovery_control(cells["p_value"].to_numpy(), method="by")
        assert cells["q_value"].to_numpy() == pytest.approx(corrected)
        excludes = (cells["low"] > 0) | (cells["high"] < 0)
        assert excludes.to_list() == (cells["q_value"] <= SURE).to_list()


def test_a_handful_of_days_or_no_spread_is_not_tested():
    few = [[0.1], [0.2], [0.3], [0.4]]
    assert len(few) < FEWEST_DAYS
    cells = cells_of([Run("a", trades=trades(few=few, flat=[[0.5]] * 9))])
    assert cells["expectancy"].to_list() == pytest.approx([0.25, 0.5])
    assert cells.select("p_value", "q_value", "low", "high").null_count().row(0) == (2, 2, 2, 2)
    assert cells_of([]).is_empty()


def test_of_callers_is_known_what_a_tracker_would_say():
    outcomes = pl.DataFrame({"caller": ["ann", "ann", "bob"], "call_id": ["1", "2", "3"]})
    paths = pl.DataFrame({"caller": ["ann", "ann"], "time_to_2x_minutes": [5.0, None], "ath_multiple": [4.0, 1.0]})
    nulls = pl.DataFrame({"caller": [None, "ann"], "hold_expectancy": [0.0, -0.1], "random_expectancy": [0.0, 0.2]})
    ann, bob = callers_of(Run("a", outcomes=outcomes, paths=paths, nulls=nulls)).to_dicts()
    assert ann == {"caller": "ann", "calls": 2, "reached_2x": 0.5, "mean_ath": 2.5, "hold_expectancy": -0.1,
                   "random_expectancy": 0.2}  # fmt: skip
    assert (bob["calls"], bob["reached_2x"], bob["mean_ath"]) == (1, None, None)
