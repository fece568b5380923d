import json
import re
from pathlib import Path

import nbformat
import pytest

from lab_pipeline_tests.support.notebook import executed

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "notebook.ipynb"


@pytest.mark.slow
def test_every_cell_runs_and_displays_what_it_promises(lab, run, tmp_path):
    settings, _ = lab
    displayed = executed(NOTEBOOK, tmp_path, LAB_HOME=str(settings.home))
    pages = [one.get("text/html", "") for one in displayed]
    assert pages[0] == ""
    assert re.search(r"Conclude nothing yet|It (gains|loses) whatever", pages[1])
    assert "Marta Lindqvist" in pages[2]
    assert "data:image/svg+xml;base64," in pages[3]
    assert "a sweep of 30 sets" in pages[4]
    assert "Objective along exit.stopLoss" in pages[5]
    assert "1 published run" in pages[6]
    assert run.run_id[:8] in pages[6]
    assert f"run {run.run_id[:8]}" in pages[7]
    assert "<iframe" in pages[8]
    assert len(pages) == 9


def test_it_is_small_and_holds_no_output():
    nbformat.validate(nbformat.read(NOTEBOOK, as_version=4))
    document = json.loads(NOTEBOOK.read_text())
    code = [cell for cell in document["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert len(NOTEBOOK.read_bytes()) < 10_000
