import re
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab_pipeline.reports import buckets_picture, equity_picture
from lab_pipeline.reports.canvas import PICTURE, Canvas, polyline
from lab_pipeline.reports.charts import equity_chart, excursions_chart
from lab_pipeline_tests.reports.page import Page
from lab_pipeline_tests.reports.synthetic import made_up_run

STEPS = st.lists(st.tuples(st.integers(0, 3), st.integers(-3, 3)), min_size=1, max_size=40)


def points(path: str) -> np.ndarray:
    """Return the points of a path of steps."""
    start, _, steps = path.removesuffix("z").partition("l")
    numbers = [int(one) for one in re.findall(r"-?\d+", steps)]
    first = np.array([int(one) for one in re.findall(r"-?\d+", start.partition("h")[0])])
    return first + np.concatenate([[[0, 0]], np.cumsum(np.array(numbers, np.int64).reshape(-1, 2), axis=0)])


def lines(svg: str, colour: str) -> list[np.ndarray]:
    paths = [attributes for tag, attributes in Page(svg).elements if tag == "path"]
    return [points(one["d"]) for one in paths if one.get("stroke") == colour and "l" in one["d"]]


@given(STEPS)
def test_a_line_passes_through_every_point_it_is_given(steps):
    x, y = np.cumsum(np.array([(0, 0), *steps], np.int64), axis=0).T
    kept = points(polyline(x, y))
    seen = set()
    for (x0, y0), (x1, y1) in pairwise(kept):
        length = int(np.gcd(x1 - x0, y1 - y0))
        seen |= {(x0 + (x1 - x0) * k // length, y0 + (y1 - y0) * k // length) for k in range(length + 1)}
    assert set(zip(x.tolist(), y.tolist(), strict=True)) <= seen | set(map(tuple, kept))
    assert tuple(kept[0]) == (x[0], y[0])
    assert tuple(kept[-1]) == (x[-1], y[-1])


def test_a_straight_line_is_two_points():
    assert polyline(np.arange(9) * 2, np.arange(9) * -3) == "M0 0l16-24"
    assert polyline(np.arange(3), np.zeros(3, np.int64), every=True) == "M0 0l1 0 1 0"
    assert polyline(np.array([5, 5]), np.array([7, 7])) == "M5 7h0"


@pytest.mark.parametrize("length", [5, 40_000])
def test_the_highest_and_lowest_equity_are_where_the_axis_says(length):
    equity = made_up_run(5, length, 1).equity
    svg = equity_chart(equity, initial_capital=10_000.0)
    (line,) = lines(svg, "var(--accent)")
    labels = {
        float(text.replace(",", "")): int(y)
        for y, text in re.findall(r'y="(\d+)">([\d,.]+)</text>', svg.partition("Drawdown</text>")[0])
    }
    (low, at_low), (high, at_high) = min(labels.items()), max(labels.items())
    a_unit = (at_high - at_low) / (high - low)
    for value, row in ((equity["equity"].max(), line[:, 1].min()), (equity["equity"].min(), line[:, 1].max())):
        assert row == pytest.approx(at_low + (value - low) * a_unit - 40, abs=3), "a label's line is 4 pixels below"


def test_an_account_that_multiplied_is_drawn_on_a_logarithmic_scale():
    rising = made_up_run(1, 7, 1).equity.with_columns(equity=10_000.0 * 10.0 ** pl.int_range(7))
    (line,) = lines(equity_picture(rising, initial_capital=10_000.0), PICTURE.accent)
    right, down = np.diff(line, axis=0).T
    assert np.ptp(down / right) < 0.01, "steps of ten times are equally high"


def test_every_trade_of_a_scatter_is_a_dot_in_its_colour():
    trades = made_up_run(250, 9, 3).trades
    paths = [attributes for tag, attributes in Page(excursions_chart(trades)).elements if tag == "path"]
    dots = [len(points(one["d"])) for one in paths if "marker-mid" in one]
    lost = int((trades["net_return"] <= 0).sum())
    assert dots == [lost, 250 - lost] * 2


def test_text_is_escaped_wherever_it_is_written():
    hostile = "<script>'\"&</text>"
    canvas = Canvas("odd", 100, 50, PICTURE)
    canvas.text(1, 1, hostile)
    for svg in (
        canvas.to_svg(hostile, hostile),
        canvas.to_document(hostile),
        buckets_picture([hostile, "b"], [1, 2], title=hostile),
    ):
        page = Page(svg)
        assert page.problems == []
        assert "script" not in {tag for tag, _ in page.elements}
        assert hostile in page.said


def test_a_chart_says_its_numbers_to_those_who_cannot_see_it():
    run = made_up_run(20, 50, 2)
    said = Page(equity_chart(run.equity, initial_capital=10_000.0)).text["equity-desc"]
    assert f"equity from 10,000.00 to {run.equity['equity'][-1]:,.2f}" in said
    assert said.startswith("2024-03-01 to 2024-05-2")
