import pytest

from lab_pipeline.reports import render_report
from lab_pipeline_tests.reports.page import Page
from lab_pipeline_tests.reports.synthetic import IDENTITY, SPEC, MadeUpRun, made_up_run


@pytest.fixture(scope="session")
def run() -> MadeUpRun:
    return made_up_run()


@pytest.fixture(scope="session")
def html(run) -> str:
    return render_report(run, SPEC, **IDENTITY)


@pytest.fixture(scope="session")
def page(html) -> Page:
    return Page(html)
