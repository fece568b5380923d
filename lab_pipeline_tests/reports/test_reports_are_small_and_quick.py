import time
import xml.etree.ElementTree as ET

import numpy as np
import polars as pl
import pytest

from lab_pipeline.reports import equity_picture, render_report
from lab_pipeline_tests.reports.synthetic import IDENTITY, SPEC, made_up_run


@pytest.fixture(scope="module")
def large():
    return made_up_run(10_000, 43_000, 60)


def test_a_large_run_makes_a_page_under_200_kb(large):
    assert len(render_report(large, SPEC, **IDENTITY).encode()) < 200_000


def test_the_inline_picture_is_under_8_kb_and_as_wide_as_asked_for(large):
    picture = equity_picture(large.equity, initial_capital=10_000.0)
    assert len(picture) < 8_000
    for wanted in ({"width": 900, "height": 400}, {"width": 640, "height": 300}):
        seen = ET.fromstring(equity_picture(large.equity, initial_capital=10_000.0, **wanted))  # noqa: S314 - ours
        assert {name: int(seen.get(name)) for name in wanted} == wanted


def test_time_is_bounded_for_a_hundred_thousand_trades():
    huge = made_up_run(100_000, 43_000, 300)
    started = time.process_time()
    page = render_report(huge, SPEC, **IDENTITY)
    assert time.process_time() - started < 1, "a tenth of it is the aim; a busy machine is given slack"
    assert len(page.encode()) < 200_000


def test_the_picture_of_pure_noise_is_small_too(large):
    noise = np.random.default_rng(0).random(len(large.equity))
    rough = large.equity.with_columns(equity=pl.Series(20_000 * noise), drawdown=pl.Series(-noise))
    assert len(equity_picture(rough, initial_capital=10_000.0)) < 8_000
