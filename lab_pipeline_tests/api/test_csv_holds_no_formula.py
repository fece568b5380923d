"""CSV downloads: text that a spreadsheet would calculate gets an apostrophe; numbers stay numbers, JSON exact."""

import csv
import io
import json

import polars as pl
import pytest

from lab_pipeline.api.downloads import _convert
from lab_pipeline.api.schemas.artifacts import FileFormat
from lab_pipeline.domain.text import FORMULA

NAMES = [
    '=HYPERLINK("http://x")', "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1", "'=1", "''+1", "plain",
    "a=1", "'quoted'", "Zoë", "1-2", "", None,
]  # fmt: skip


@pytest.fixture
def rows(tmp_path):
    frame = pl.DataFrame({"caller": NAMES, "pnl": [-1.5] * len(NAMES), "trades": [-3] * len(NAMES)})
    frame.write_parquet(tmp_path / "trades.parquet")
    return frame, tmp_path / "trades.parquet"


def converted(path, form):
    return b"".join(chunk for _, chunk in _convert(path, form))


def downloaded(path):
    text = converted(path, FileFormat.CSV).decode()
    return pl.DataFrame(list(csv.DictReader(io.StringIO(text, newline=""))))


def test_text_that_begins_like_a_formula_begins_with_an_apostrophe(rows):
    frame, path = rows
    back = downloaded(path)
    written = back["caller"].to_list()
    assert written[:10] == ["'" + name for name in NAMES[:10]]
    assert written[10:16] == NAMES[10:16]
    assert back.select(pl.col("pnl").cast(float), pl.col("trades").cast(int)).equals(frame.select("pnl", "trades"))


def test_taking_one_apostrophe_away_gives_every_text_back(rows):
    _, path = rows
    back = downloaded(path)
    name = pl.col("caller")
    plain = pl.when(name.str.contains(FORMULA)).then(name.str.strip_prefix("'")).otherwise(name)
    assert back.select(plain)["caller"].to_list()[:16] == NAMES[:16]


def test_json_is_exact(rows):
    _, path = rows
    assert [row["caller"] for row in json.loads(converted(path, FileFormat.JSON))] == NAMES
