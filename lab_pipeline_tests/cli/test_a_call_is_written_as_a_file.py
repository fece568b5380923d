"""`lab show`: one call on its candles."""

import re
from base64 import b64decode
from xml.etree import ElementTree as ET

import polars as pl
import pytest
from PIL import Image

from lab_pipeline.reports.call_sheet import HEIGHT, WIDTH
from lab_pipeline_tests.reports.page import Page

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def shown(backtested, tmp_path, monkeypatch):
    """The command line on a home with a run of `ladder`, whose id is `run`, in a directory of its own."""
    monkeypatch.chdir(tmp_path)
    backtested.run = backtested.runs["ladder"]["runId"]
    return backtested


def test_a_page_that_loads_nothing_says_what_the_run_says(shown, tmp_path):
    ended = shown("show", shown.run[:8], "c2")
    assert (ended.status, ended.out) == (0, "call-c2.html\n")
    html = (tmp_path / "call-c2.html").read_text()
    page = Page(html)
    assert page.problems == []
    assert "<script" not in html
    assert not [one for _, one in page.elements if (one.get("src") or one.get("href") or "data:").startswith("http")]
    fills = pl.read_parquet(shown.home / "artifacts" / shown.run / "fills.parquet").filter(call_id="c2")
    assert fills.height > 1
    for price, reason in fills.select("price", "reason").rows():
        assert f"{price:.6g}" in html
        assert reason.replace("_", " ") in html
    table = b64decode(re.search(r'base64,([^"]+)"', html)[1]).decode().splitlines()
    assert shown("show", shown.run, "c2", "--out", tmp_path / "c2.csv").status == 0
    assert (tmp_path / "c2.csv").read_text().splitlines() == table
    assert table[0].startswith("mint,timestamp,open")


def test_a_picture_alone_is_a_document_of_its_own(shown, tmp_path):
    assert shown("show", shown.run, "c1", "--out", tmp_path / "new" / "c1.svg").status == 0
    text = (tmp_path / "new" / "c1.svg").read_text()
    root = ET.fromstring(text)  # noqa: S314 - our own
    assert root.tag == f"{SVG}svg"
    said = [one.text for one in root.iter(f"{SVG}text")]
    assert any(line.startswith("ann called AAA") for line in said)
    assert "var(--" not in text


def test_a_picture_is_written_as_pixels_twice_its_size(shown, tmp_path):
    picture = tmp_path / "c1.png"
    assert shown("show", shown.run, "c1", "--out", picture).status == 0
    with Image.open(picture) as found:
        assert (found.format, found.size) == ("PNG", (2 * WIDTH, 2 * HEIGHT))


@pytest.mark.parametrize(
    ("call", "options", "said"),
    [
        ("c9", (), "has no call 'c9' (3 calls, such as c"),
        ("c", (), "'c' is the start of 3 call ids"),
        ("c1", ("--out", "c1.gif"), "end it in .html, .png, .svg or .csv"),
    ],
)
def test_what_cannot_be_shown_is_one_clear_message(shown, call, options, said):
    ended = shown("show", shown.run, call, *options)
    assert ended.status == 2
    assert said in ended.err
