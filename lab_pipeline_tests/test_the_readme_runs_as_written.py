import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
README = (REPOSITORY / "README.md").read_text()
(NOTEBOOK,) = re.findall(r"(?m)^```python\n(.*?)^```", README, re.DOTALL)


def test_the_notebook_of_the_readme_is_three_lines_and_works():
    imports, *lines = NOTEBOOK.splitlines()
    assert imports.startswith("from lab_pipeline import ")
    assert len(lines) == 3
    names = {}
    exec("\n".join([imports, lines[0], f"result = {lines[1]}", f"rules = {lines[2]}"]), names)  # noqa: S102 - our own page
    result, rules = names["result"], names["rules"]
    assert result.summary.trades > 1_000
    assert "data:image/svg+xml" in result._repr_html_()
    assert rules.sets.height == 30
    assert rules.sets["trades"].min() > 1_000
    assert rules.best()["expectancy_lower"].is_sorted(descending=True)


def test_the_readme_tells_of_the_worlds_what_selection_tells():
    selection = (REPOSITORY / "docs" / "selection.md").read_text()
    for found in re.findall(r"\*\*(\d+ of 200)\*\*", README):
        assert f"| {found}" in selection
    assert re.findall(r"\*\*(\d+ of 200)\*\*", README) == ["0 of 200", "195 of 200"]
