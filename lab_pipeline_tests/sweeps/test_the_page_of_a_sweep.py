"""The page of a sweep shows what is in the files beside it, and nothing that anybody named can act on it."""

import base64
import hashlib
import re
from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from lab_pipeline.reports import SETS_BESIDE, render_sweep, render_sweep_sheet
from lab_pipeline.reports.dimensions import dimensions_of, heat_maps
from lab_pipeline.reports.formats import figure, percent, signed_percent
from lab_pipeline.reports.sweep_sheet import MOST_LINES, sharpe_ratios
from lab_pipeline.statistics.selection import DayCells, Objective
from lab_pipeline.statistics.selection.cells import score, whole
from lab_pipeline_tests.engine.generated import START_MS
from lab_pipeline_tests.reports.page import Page
from lab_pipeline_tests.sweeps.swept_walks import SPACE, data_of, once, world

__all__ = ["once", "world"]
HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7*7 }}&amp;'</td>\u202e"


def rendered(one, **changes):
    """Render a page with other frames, or with other entries of its documents."""
    frames = {**one.frames, **changes.pop("frames", {})}
    documents = [{**getattr(one, name), **changes.pop(name, {})} for name in ("selection", "space", "spec")]
    return render_sweep(frames, *documents, **{**one.identity, **changes})


@pytest.fixture(scope="module")
def page(once):
    return Page(once.html)


def rows_of(html, heading):
    """Return the texts of the cells of the first table after a heading, row by row."""
    table = html.partition(f"<h2>{heading}</h2>")[2].partition("</table>")[0].partition("<tbody>")[2]
    cells = (re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in table.split("</tr>") if "<t" in row)
    return [[re.sub(r"<[^>]+>", " ", cell).strip() for cell in row] for row in cells]


def test_the_page_is_made_from_the_published_files_alone(once):
    assert rendered(once) == once.html


def test_the_sheet_alone_is_what_stands_on_the_page_and_needs_less(once):
    best = once.frames["sets"].filter(pl.col("rank") <= SETS_BESIDE)["set_id"].to_list()
    less = {
        "days": once.frames["days"].select("set_id", "day", "net_sum"),
        "callers": once.frames["callers"].filter(pl.col("set_id").is_in(best)),
    }
    sheet = render_sweep_sheet(
        {**once.frames, **less}, once.selection, once.space, once.spec, files="", **once.identity
    )
    assert f"<main>\n{sheet}</main>" in once.html
    assert "<script>" not in sheet


def test_equal_sweeps_have_equal_pages(world, once, tmp_path):
    again = world(tmp_path)
    assert again.html == once.html


def test_every_figure_of_the_page_is_that_of_the_selection(once, page):
    told = {a["id"]: a["value"] for tag, a in page.elements if tag == "data"}
    for name, value in told.items():
        if not name.startswith("part-"):
            assert value == ("" if once.selection[name] is None else str(once.selection[name])), name
    parts = {f"part-{part['part']}": part for part in once.selection["parts"]}
    assert len(parts) == 7
    assert {name: told[name] for name in parts} == {name: str(part["value"]) for name, part in parts.items()}
    rows = rows_of(once.html, "Can the best of them be believed?")
    assert [row[:4] for row in rows] == [
        [part["title"], "yes" if part["passed"] else "no", figure(part["value"]), part["wanted"]]
        for part in parts.values()
    ]
    assert page.text["trials"] == "24"
    assert page.text["effective_trials"] == f"{once.selection['effective_trials']:.1f}"
    assert page.text["oos_expectancy"] == signed_percent(once.selection["oos_expectancy"], 2)
    assert page.text["pbo"] == percent(once.selection["pbo"])


def test_the_verdict_comes_first_and_names_what_failed(once, page):
    failed = [part["title"].removesuffix(", p") for part in once.selection["parts"] if not part["passed"]]
    conclusion = re.search(r'class="conclusion down">(.*?)<', once.html)[1]
    assert conclusion.startswith("Not supported: ")
    assert all(title in conclusion for title in failed)
    assert once.html.index(conclusion) < once.html.index("<svg")
    assert "best of 24 tries" in page.said
    assert f"the {once.space['holdout_days']} days that are held out were not looked at" in page.said


@pytest.mark.parametrize("reduce", ["best", "median"])
def test_every_cell_of_every_map_is_the_best_or_the_median_of_its_sets(once, reduce):
    data, sets = data_of(once.html), once.frames["sets"]
    told = {
        "exit.stopLoss": pl.col("p.exit.stopLoss").rank("dense") - 1,
        "exit.trailing": pl.col("p.exit.trailing.activation").is_not_null().cast(pl.UInt32),
        "exit.maxHoldMinutes": pl.col("p.exit.maxHoldMinutes").fill_null(0).rank("dense") - 1,
    }
    paths = [one["path"] for one in data["dimensions"]]
    assert sorted(paths) == sorted(told), "what does not vary has no axis"
    able = sets.with_columns(**{path: level.cast(pl.Int64) for path, level in told.items()}).filter("eligible")
    assert len(data["maps"]) == 3
    for pair, maps in data["maps"].items():
        row, column = (paths[int(place)] for place in pair.split())
        worth = pl.col("objective").max() if reduce == "best" else pl.col("objective").median()
        cells = {(one, other): value for one, other, value in able.group_by(row, column).agg(worth).iter_rows()}
        assert {
            (one, other): value
            for one, line in enumerate(maps[reduce])
            for other, value in enumerate(line)
            if value is not None
        } == {place: round(1000 * value) for place, value in cells.items()}


def test_the_first_map_is_drawn_without_a_script_and_marks_peak_and_plateau(once):
    data = data_of(once.html)
    rows = rows_of(once.html, "Where it is good")
    best = np.array(data["maps"]["0 1"]["best"], dtype=float).T
    assert [[float(cell.replace("\N{MINUS SIGN}", "-").rstrip("%")) for cell in row[1:]] for row in rows] == (
        best / 10
    ).tolist()
    table = re.search(r'<table class="heat" id="heat">(.*?)</table>', once.html)[1]
    kinds = [re.findall(r'<td class="([a-z ]+)"', row) for row in table.split("</tr>")[1:-1]]
    marked = {
        name: [
            (row, place) for row, line in enumerate(kinds) for place, kind in enumerate(line) if name in kind.split()
        ]
        for name in ("peak", "ring")
    }
    winner, ring = data["winner"], data["ring"]
    assert marked == {"peak": [(winner[1], winner[0])], "ring": [(ring[1], ring[0])]}


def test_winner_and_plateau_are_marked_at_their_own_values(once):
    data, sets = data_of(once.html), once.frames["sets"]
    for name, number in (("winner", once.selection["winner"]), ("ring", once.selection["plateau_set"])):
        row = sets.row(number, named=True)
        for place, one in enumerate(data["dimensions"]):
            label = one["labels"][data[name][place]]
            if one["path"] == "exit.trailing":
                assert label == ("none" if row["p.exit.trailing.activation"] is None else "1.1, 0.05")
            else:
                value = row[f"p.{one['path']}"]
                assert label == ("none" if value is None else f"{value:g}")


def test_the_best_sets_are_in_order_with_their_numbers(once):
    best = once.frames["sets"].filter(pl.col("rank").is_not_null()).sort("rank").head(20)
    assert [row[:10] for row in rows_of(once.html, "The best sets")] == [
        [
            str(row["rank"]),
            str(row["set_id"]),
            signed_percent(row["objective"]),
            signed_percent(row["plateau"]),
            signed_percent(row["expectancy"]),
            f"{row['trades']:,}",
            str(row["days"]),
            str(row["callers"]),
            percent(row["win_rate"]),
            f"{row['profit_factor']:.2f}",
        ]
        for row in best.iter_rows(named=True)
    ]


def test_folds_lanes_stops_and_callers_are_those_of_the_files(once):
    winner, frames = once.selection["winner"], once.frames
    folds = frames["folds"].select("set_id", "train_expectancy", "test_expectancy", "test_trades").rows()
    assert [row[3:] for row in rows_of(once.html, "On days that it had not seen")] == [
        [str(number), signed_percent(train), signed_percent(test), str(trades)] for number, train, test, trades in folds
    ]
    lanes = frames["lanes"].filter(pl.col("set_id") == winner).select("lane", "expectancy", "trades").rows()
    assert rows_of(once.html, "Under stress") == [
        [lane, signed_percent(mean, 2), f"{trades:,}"] for lane, mean, trades in lanes
    ]
    fills = once.selection["stop_fills"]
    assert [row[1:] for row in rows_of(once.html, "Where stops fill")] == [
        [signed_percent(fills["objectives"][name]), str(fills["ranks"][name]), str(fills["winners"][name])]
        for name in ("level", "as_run", "low")
    ]
    shown = frames["sets"].filter(pl.col("rank") <= 5).sort("rank")["set_id"].to_list()
    callers = {(one["set_id"], one["caller"]): one for one in frames["callers"].iter_rows(named=True)}
    for name, trades, *cells in rows_of(once.html, "Callers under the best sets"):
        assert trades == str(callers[winner, name]["trades"])
        for number, cell in zip(shown, cells, strict=True):
            one = callers[number, name]
            tested = "not tested" if one["q_value"] is None else f"q {one['q_value']:.2g}"
            assert " ".join(cell.split()) == f"{signed_percent(one['net_sum'] / one['trades'])} {tested}"


def test_the_sharpe_ratios_are_those_of_the_selection(once):
    sets, days = once.frames["sets"], once.frames["days"]
    net, trades = (
        days.pivot("day", index="set_id", values=name, sort_columns=True).sort("set_id").drop("set_id").fill_null(0)
        for name in ("net_sum", "trades")
    )
    wanted = score(whole(DayCells.of(np.arange(net.width) * 86_400_000, trades, net)), Objective.SHARPE)[0]
    assert sharpe_ratios(sets, days, net.width) == pytest.approx(wanted)


def test_a_page_of_a_sweep_is_whole(page):
    assert page.problems == []
    ids = Counter(attributes["id"] for _, attributes in page.elements if "id" in attributes)
    assert [name for name, count in ids.items() if count > 1] == []
    figures = [attributes for tag, attributes in page.elements if tag == "svg"]
    assert all(page.text[one["aria-labelledby"]] and page.text[one["aria-describedby"]] for one in figures)
    assert {one["id"].removesuffix("-title") for tag, one in page.elements if tag == "title" and "id" in one} >= {
        "objective", "sharpe", "lines", "along-0", "walk", "logits", "halves", "paths", "placebos", "lanes", "stops",
    }  # fmt: skip


def test_it_loads_nothing_and_allows_its_own_script_alone(once, page):
    assert not re.search(r"""https?:|["'(=]\s*//""", once.html)
    (policy,) = [a["content"] for tag, a in page.elements if tag == "meta" and "http-equiv" in a]
    (script,) = re.findall(r"<script>(.*?)</script>", once.html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"
    assert [a.get("type") for tag, a in page.elements if tag == "script"] == ["application/json", None]
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]


def test_hostile_names_stay_text(once):
    sets = once.frames["sets"].with_columns(pl.lit(HOSTILE).alias("p.exit.when.any[0].name"))
    sets = sets.with_columns(
        pl.when(pl.col("set_id") % 2 == 0).then("p.exit.when.any[0].name").alias("p.exit.when.any[0].name")
    )
    callers = once.frames["callers"].with_columns(pl.col("caller") + HOSTILE)
    html = rendered(
        once,
        frames={"sets": sets, "callers": callers},
        spec={"strategy": HOSTILE, "space": {**SPACE, "exit.when": [None]}, "callers": [HOSTILE]},
        space={"invalid": 1, "first_invalid": [{"number": 3, "values": {}, "problems": [HOSTILE]}]},
    )
    hostile = Page(html)
    assert hostile.problems == []
    assert Counter(tag for tag, _ in hostile.elements)["script"] == 2
    assert not {tag for tag, _ in hostile.elements} & {"img"}
    assert not [name for _, attributes in hostile.elements for name in attributes if name.startswith("on")]
    assert "\u202e" not in html
    shown = HOSTILE.replace("\u202e", "\\u202e")
    assert f"caller0{shown}" in [attributes.get("title") for _, attributes in hostile.elements]
    assert any(one["path"] == "exit.when" for one in data_of(html)["dimensions"])


def test_without_a_winner_it_says_so(world, tmp_path):
    one = world(tmp_path, objective={"min_trades": 10_000})
    page = Page(one.html)
    assert page.problems == []
    assert "Not supported: no set has enough trades, days and callers to win." in page.said
    assert "None has at least 10000 trades" in page.said
    assert one.frames["lanes"].is_empty()
    assert not [tag for tag, _ in page.elements if tag == "svg"]


def test_with_few_days_it_says_what_cannot_be_said_and_why(world, tmp_path):
    end = (datetime.fromtimestamp(START_MS / 1000, UTC) + timedelta(days=9)).isoformat()
    one = world(tmp_path, end=end, objective={"min_trades": 5, "min_days": 2}, validation={"placebo": 0})
    days = one.selection["days"]
    assert 0 < days < 10
    page = Page(one.html)
    assert page.problems == []
    for needed in (16, 20):
        assert f"Cannot be said: it needs {needed} days, there are {days}." in page.said
    assert "Cannot be said: no placebo was simulated." in page.said
    assert "probability of overfitting" in re.search(r'class="conclusion down">(.*?)<', one.html)[1]


@pytest.mark.parametrize(
    ("space", "maps"), [({"exit.stopLoss": [0.1, 0.2, 0.3]}, ["0 0"]), ({"exit.stopLoss": [0.1]}, [])]
)
def test_one_dimension_or_none_is_drawn_too(world, tmp_path, space, maps):
    one = world(tmp_path, space=space, validation={"placebo": 0})
    assert Page(one.html).problems == []
    assert list(data_of(one.html)["maps"]) == maps


def test_a_sharpe_ratio_is_shown_as_a_number(world, tmp_path):
    one = world(tmp_path, objective={"name": "sharpe", "min_trades": 20, "min_days": 5}, validation={"placebo": 0})
    data = data_of(one.html)
    assert not data["percent"]
    best = one.frames["sets"].filter(pl.col("rank") == 1)["objective"][0]
    assert data["lines"][-1] == [one.selection["winner"], round(100 * best)]
    assert rows_of(one.html, "The best sets")[0][2] == f"{best:.2f}".replace("-", "\N{MINUS SIGN}")


def test_many_sets_and_values_make_a_page_of_bounded_size(once):
    """20,000 sets, one parameter of which takes another value in each."""
    random = np.random.default_rng(0)
    few, count = once.frames["sets"], 20_000
    many = pl.concat([few] * (count // few.height + 1)).head(count)
    objective = random.normal(0, 0.05, count)
    rank = np.empty(count, np.int32)
    rank[np.argsort(-objective)] = np.arange(1, count + 1)
    many = many.with_columns(
        pl.Series("set_id", np.arange(count, dtype=np.int32)),
        pl.Series("p.exit.stopLoss", random.random(count)),
        pl.Series("objective", objective),
        pl.Series("rank", rank),
        pl.Series("eligible", np.ones(count, np.bool_)),
    )
    winner = int(objective.argmax())
    callers = once.frames["callers"].with_columns(pl.lit(winner, pl.Int32).alias("set_id")).unique("caller")
    html = rendered(
        once, frames={"sets": many, "callers": callers}, selection={"winner": winner, "plateau_set": winner}
    )
    data = data_of(html)
    assert len(html) < 1_500_000
    assert len(data["lines"]) == MOST_LINES
    assert data["lines"][-1][0] == winner
    assert {one["path"]: len(one["labels"]) for one in data["dimensions"]}["exit.stopLoss"] == 12


def test_every_set_is_in_one_cell_of_a_map():
    sets = pl.DataFrame(
        {
            "p.a": [float(number % 50) for number in range(300)],
            "p.b": [None if number % 3 else "x" for number in range(300)],
            "eligible": [number % 7 > 0 for number in range(300)],
            "objective": [float(number) for number in range(300)],
        }
    )
    first, second = sorted(dimensions_of(sets, ["a", "b"]), key=lambda one: one.path)
    assert second.labels == ("none", "x")
    assert len(first.labels) == 12
    assert np.bincount(first.levels).sum() == 300
    assert (np.diff(first.levels[np.argsort(sets["p.a"].to_numpy(), kind="stable")]) >= 0).all()
    (one,) = heat_maps(sets, [first, second]).values()
    assert np.nanmax(one.best) == 299.0
