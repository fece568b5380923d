import polars as pl
import pytest

from lab_pipeline.domain.backtest import CallersUniverse
from lab_pipeline.reports import render_report
from lab_pipeline_tests.reports.page import Page
from lab_pipeline_tests.reports.synthetic import IDENTITY, SPEC, made_up_run

HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7*7 }}&amp;'</td>"


@pytest.fixture(scope="module")
def attacked():
    run = made_up_run(25, 40, 3)
    for name in ("trades", "paths", "outcomes"):
        hostile = getattr(run, name).with_columns(pl.col("call_id", "caller", "mint") + HOSTILE)
        object.__setattr__(run, name, hostile)
    changes = {"strategy_id": HOSTILE, "universe": CallersUniverse(callers=(HOSTILE,)), "params": {HOSTILE: HOSTILE}}
    spec = SPEC.model_copy(update=changes)
    return Page(render_report(run, spec, **(IDENTITY | {"snapshot": HOSTILE})))


def test_hostile_text_makes_no_element(attacked):
    assert attacked.problems == []
    assert not {tag for tag, _ in attacked.elements} & {"script", "img"}
    assert not [name for _, attributes in attacked.elements for name in attributes if name.startswith("on")]


def test_hostile_text_is_shown_as_it_is(attacked):
    titles = [attributes.get("title") or "" for _, attributes in attacked.elements]
    for number in range(3):
        caller = f"caller_{number:02d}{HOSTILE}"
        assert caller in titles
        assert caller in attacked.said
    assert any(f"pump{HOSTILE}, call call-0000" in title and title.endswith(HOSTILE) for title in titles)
