from collections import Counter

import pytest

from lab_pipeline.reports import render_report
from lab_pipeline_tests.reports.page import Page
from lab_pipeline_tests.reports.synthetic import EMPTY_RUN, IDENTITY, SPEC, made_up_run


@pytest.mark.parametrize(
    "result", [EMPTY_RUN, made_up_run(1, 1, 1), made_up_run(60, 90, 40)], ids=["none", "one", "many"]
)
def test_every_element_is_closed_where_it_was_opened(result):
    html = render_report(result, SPEC, **IDENTITY)
    assert html.startswith("<!DOCTYPE html>")
    assert html.rstrip().endswith("</html>")
    assert Page(html).problems == []


def test_ids_are_unique(page):
    ids = Counter(attributes["id"] for _, attributes in page.elements if "id" in attributes)
    assert [name for name, count in ids.items() if count > 1] == []


def test_charts_and_columns_have_names(page):
    charts = [attributes for tag, attributes in page.elements if tag == "svg"]
    assert len(charts) == 6
    assert {chart["role"] for chart in charts} == {"img"}
    assert all(page.text[chart["aria-labelledby"]] and page.text[chart["aria-describedby"]] for chart in charts)
    assert all(
        attributes.get("scope") in {"col", "row", "rowgroup"} for tag, attributes in page.elements if tag == "th"
    )


def test_the_only_styles_are_the_pages_own(page):
    assert sum(tag == "style" for tag, _ in page.elements) == 1
