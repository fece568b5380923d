"""Links, anchors, pictures and paths in README, CONTRIBUTING, CHANGELOG and docs/ lead somewhere."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md")])
OURS = r"`((?:lab_pipeline|lab_pipeline_tests|deploy|benchmarks|docs)/[\w./-]+)`"


def prose(path):
    """Return a page without its blocks of code."""
    return re.sub(r"(?ms)^ *```.*?^ *```", "", path.read_text())


def anchors(path):
    """Return what GitHub makes of the headings of a page."""
    headings = re.findall(r"(?m)^#+ (.+)$", prose(path))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_relative_link_and_anchor_exists(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        there = (path.parent / name).resolve() if name else path
        assert there.exists(), f"{path.name}: {target}"
        assert not anchor or anchor in anchors(there), f"{path.name}: {target}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_file_that_is_named_exists(path):
    for name in re.findall(OURS, prose(path)):
        assert (REPOSITORY / name).exists(), f"{path.name}: {name}"


def test_the_index_leads_to_every_page():
    index = REPOSITORY / "docs" / "index.md"
    left_out = {page.name for page in index.parent.glob("*.md") if f"({page.name})" not in index.read_text()}
    assert left_out == {index.name}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_block_is_closed(path):
    assert len(re.findall(r"(?m)^ *```", path.read_text())) % 2 == 0


def test_the_license_is_the_one_the_package_names():
    assert 'license = "Apache-2.0"' in (REPOSITORY / "pyproject.toml").read_text()
    text = (REPOSITORY / "LICENSE").read_text()
    assert "Apache License\n" in text
    assert "lab_pipeline authors" in text
