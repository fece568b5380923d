"""A page holds no character that a browser, an editor or a terminal would act on."""

import polars as pl

from lab_pipeline.domain.backtest import CallersUniverse
from lab_pipeline.reports import render_report
from lab_pipeline_tests.reports.page import Page
from lab_pipeline_tests.reports.synthetic import IDENTITY, SPEC, made_up_run

ODD = "\x00\x1b[2J\x9b31m\u202e\u200bend"


def test_of_names_and_of_the_request():
    run = made_up_run(25, 40, 3)
    for name in ("trades", "paths", "outcomes"):
        odd = getattr(run, name).with_columns(pl.col("call_id", "caller", "mint") + ODD)
        object.__setattr__(run, name, odd)
    changes = {"strategy_id": ODD, "universe": CallersUniverse(callers=(ODD,)), "params": {ODD: ODD}}
    page = render_report(run, SPEC.model_copy(update=changes), **IDENTITY)
    assert page.replace("\n", "").replace("\t", "").isprintable()
    assert Page(page).problems == []
    assert "caller_00\\x00\\x1b[2J\\x9b31m\\u202e\\u200bend" in page
    assert "\\u0000\\u001b[2J\\u009b31m\\u202e\\u200bend" in page
