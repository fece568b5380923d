"""The page of a sweep: how far the best of many sets can be believed, in words, numbers and pictures."""

import base64
import hashlib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

import numpy as np
import polars as pl
from markupsafe import Markup

from lab_pipeline.domain.text import visible_json
from lab_pipeline.reports import sweep_charts as charts
from lab_pipeline.reports.dimensions import (
    MOST_DIMENSIONS,
    Dimension,
    Floats,
    HeatMap,
    Ints,
    along,
    dimensions_of,
    heat_maps,
    label_of,
    worths,
)
from lab_pipeline.reports.formats import percent, signed_percent
from lab_pipeline.reports.pages import template
from lab_pipeline.reports.sweep_charts import Unit
from lab_pipeline.reports.ticks import percent_ticks
from lab_pipeline.reports.wording import left_out

OPTIMISERS = {"tpe", "cmaes", "nsga2"}
HOW = {"calls_per_part"}
"""Of a request, what changes nothing about the result: sweeps with the same result have the same page."""
MOST_LINES = 5_000
"""Sets that are drawn as lines: a fifth of them the best, the others evenly from the rest."""
SETS_SHOWN, SETS_BESIDE, CALLERS_SHOWN = 20, 5, 15
MOMENTS = "moments"
"""Kind of the placebos that move calls."""
STOPS = {"level": "at the level", "as_run": "as run", "low": "at the low"}
"""How stops are taken to fill, the best first."""
FAINTEST, DARKEST = 18, 85
"""Percent of colour in a cell of the heat map."""
OBJECTIVES = {
    "expectancy_lower": "Lower bound of the mean net return",
    "expectancy": "Mean net return of a trade",
    "sharpe": "Sharpe ratio of a day",
}
SCRIPT = files("lab_pipeline.reports").joinpath("templates/sweep.js").read_text(encoding="utf-8")
SCRIPT_HASH = "sha256-" + base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()


def render_sweep(
    frames: Mapping[str, pl.DataFrame],
    selection: Mapping[str, Any],
    space: Mapping[str, Any],
    spec: Mapping[str, Any],
    *,
    strategy_version: str,
    fingerprint: str,
    snapshot: str,
    engine_version: str,
) -> str:
    """Render the page of a sweep from what is published of it, and nothing else.

    The page loads nothing, from this host or another; its one script is its own, and its policy allows no other. It
    holds no date and no id: equal sweeps have byte-identical pages. Without scripts everything is there but the choice
    of other dimensions and of lines.

    Args:
        frames: tables of the sweep by the names of their files; any may be empty but `sets`.
        selection: `selection.json`; `space` is `space.json`.
        space: how the space was searched.
        spec: the request.
        strategy_version: that the sets vary.
        fingerprint: of the sweep, shown as it is; so are `snapshot` and `engine_version`.
        snapshot: hash of the rows that were read.
        engine_version: version of the simulation.

    Returns:
        A whole HTML document.
    """
    made_of = {
        "strategy_version": strategy_version,
        "fingerprint": fingerprint,
        "snapshot": snapshot,
        "engine_version": engine_version,
        "files": "",
    }
    script = Markup(SCRIPT)  # noqa: S704 - ours
    return _PAGE.render(_shown(frames, selection, space, spec, made_of), script=script, script_hash=SCRIPT_HASH)


def render_sweep_sheet(
    frames: Mapping[str, pl.DataFrame],
    selection: Mapping[str, Any],
    space: Mapping[str, Any],
    spec: Mapping[str, Any],
    *,
    files: str,
    **made_of: str,
) -> Markup:
    """Render what is on the page of a sweep, without the page around it and its script; arguments as of `render_sweep`.

    `files` is the address under which its tables can be had.
    Of `days` no columns are needed but `set_id`, `day` and `net_sum`, of `callers` no rows but those of the
    `SETS_BESIDE` best sets. Whoever shows it serves `templates/sweep.js` and loads it after the sheet.
    """
    return Markup(_SHEET.render(_shown(frames, selection, space, spec, {**made_of, "files": files})))  # noqa: S704 - escaped by the template


def _shown(
    frames: Mapping[str, pl.DataFrame],
    selection: Mapping[str, Any],
    space: Mapping[str, Any],
    spec: Mapping[str, Any],
    made_of: Mapping[str, str],
) -> dict[str, Any]:
    """Return what the templates take."""
    sets = frames["sets"].sort("set_id")
    unit, dimensions = Unit(selection["objective"]), dimensions_of(sets, spec["space"])
    ranked = sets.filter(pl.col("rank").is_not_null()).sort("rank")
    content = {
        "selection": selection,
        "space": space,
        "spec": spec,
        "minimum": spec["objective"],
        "universe": _universe(spec, space),
        "conclusion": conclude_sweep(selection),
        "sentences": list(_sentences(selection, space)),
        "able": int(sets["eligible"].sum()),
        "winner": None,
        "counts": _counts(space),
        "paths": [{"path": one.path, "count": _values(one), "matters": one.matters} for one in dimensions],
        "document": visible_json({name: said for name, said in spec.items() if name not in HOW}, indent=2),
        "objective_name": OBJECTIVES[selection["objective"]],
        **made_of,
    }
    data: dict[str, Any] = {"percent": unit.is_return, "dimensions": [], "maps": {}, "lines": []}
    if not ranked.is_empty():
        shown = dimensions[:MOST_DIMENSIONS]
        content |= _of_the_winner(frames, sets, ranked, selection, spec, unit, [one.path for one in dimensions])
        content |= _of_the_space(sets, ranked, shown, selection, unit, data)
        content["charts"] |= _of_the_validation(frames, sets, dimensions, selection, unit)
        if dimensions:
            content["charts"]["lines"] = content.pop("lines_chart")
    # an element of data ends at its closing tag alone
    text = visible_json(data).replace("<", "\\u003c")
    return content | {"data": data, "data_text": Markup(text)}  # noqa: S704 - no tag is left in it


def conclude_sweep(selection: Mapping[str, Any]) -> str:
    """Say in a sentence whether the winner of a sweep is supported, and what it fails; `selection` is the document."""
    if selection["supported"]:
        return f"Supported: the winner of {selection['trials']:,} tries passes every test."
    if selection["winner"] is None:
        return "Not supported: no set has enough trades, days and callers to win."
    parts = {part["part"]: part["title"] for part in selection["parts"]}
    failed = [parts[name] for name in selection["failed"]]
    unsaid = [parts[name] for name in selection["unsaid"]]
    said = [f"{_listed(failed)} {'fails' if len(failed) == 1 else 'fail'}"] if failed else []
    said += [f"{_listed(unsaid)} cannot be said"] if unsaid else []
    return f"Not supported: {'; '.join(said)}."


def _listed(names: list[str]) -> str:
    """Write names in a row; a figure's `, p` is left out."""
    short = [name.removesuffix(", p") for name in names]
    return short[0] if len(short) == 1 else f"{', '.join(short[:-1])} and {short[-1]}"


def _sentences(selection: Mapping[str, Any], space: Mapping[str, Any]) -> Iterator[str]:
    before = selection["trials_before"]
    earlier = f", {before:,} of them before this sweep" if before else ""
    yield (
        f"It is the best of {selection['trials']:,} tries{earlier}; they are as different from one another as "
        f"{selection['effective_trials']:,.1f} independent ones."
    )
    if selection["expectancy_low"] is not None:
        low, high = signed_percent(selection["expectancy_low"]), signed_percent(selection["expectancy_high"])
        yield f"The winner's mean net return of a trade has the 95% interval {low} to {high}, had it been the only try."
    held = space["holdout_days"]
    yield (
        f"Chosen on {selection['days']:,} days with calls; "
        + (f"the {held:,} days that are held out were not looked at." if held else "no days are held out.")
    )
    if space["method"] in OPTIMISERS:
        yield "Its sets were proposed in view of all these days, which flatters halves and walk forward."
    if not selection["supported"] and selection["winner"] is not None:
        yield "Trade it, if at all, as a guess: what it earned here is no reason to expect it to earn."


def _universe(spec: Mapping[str, Any], space: Mapping[str, Any]) -> str:
    rule, faults = spec.get("first_mention"), spec.get("without_faults", ())
    mention = None if rule is None else (rule["by"], rule["window_days"])
    return "; ".join([_selected(spec), *left_out(mention, faults, space.get("repeats"), space.get("faulty"))])


def _selected(spec: Mapping[str, Any]) -> str:
    for name, noun in (("mints", "token"), ("callers", "caller")):
        if (names := spec.get(name)) is not None:
            return f"{len(names):,} {noun}{'' if len(names) == 1 else 's'}"
    return "every call"


def _counts(space: Mapping[str, Any]) -> str:
    return (
        f"{space['asked']:,} asked for by {space['method']}: {space['evaluated']:,} evaluated, {space['duplicates']:,} "
        f"equal to others, {space['excluded']:,} excluded by constraints, {space['invalid']:,} invalid."
    )


def _values(dimension: Dimension) -> int:
    return len(np.unique(dimension.fine))


def _of_the_winner(  # noqa: PLR0917 - a page, part by part
    frames: Mapping[str, pl.DataFrame],
    sets: pl.DataFrame,
    ranked: pl.DataFrame,
    selection: Mapping[str, Any],
    spec: Mapping[str, Any],
    unit: Unit,
    varied: list[str],
) -> dict[str, Any]:
    """Return what is said of the best sets."""
    winner = ranked.row(0, named=True)
    chosen = selection["plateau_set"]
    ring = sets.row(chosen, named=True) if chosen is not None and chosen >= 0 else None
    placebos = _moments(frames)["best_metric"].drop_nulls().to_numpy()
    able = worths(sets)
    drawn = {
        "objective": charts.objective_chart(
            able[np.isfinite(able)], unit, winner=float(winner["objective"]), placebos=placebos
        )
    }
    if selection["luck_sharpe"] is not None:
        ratios = sharpe_ratios(sets, frames["days"], selection["days"])
        drawn["sharpe"] = charts.sharpe_chart(
            ratios[np.isfinite(able)], winner=float(ratios[winner["set_id"]]), luck=float(selection["luck_sharpe"])
        )
    best = ranked.head(SETS_SHOWN)
    callers, tested, more = _callers(frames["callers"], ranked.head(SETS_BESIDE)["set_id"].to_list())
    return {
        "winner": winner,
        "ring": ring,
        "beside": _beside(sets, spec, unit, [winner] if ring is None else [winner, ring]),
        "objective_note": f"{OBJECTIVES[selection['objective']]}, which ranks the sets.",
        "charts": _marked(drawn),
        "best_ids": ranked.head(SETS_BESIDE)["set_id"].to_list(),
        "best": [
            row
            | {
                "words": [(path, label_of(sets, path, row, named=True)) for path in varied],
                "objective": unit.show(row["objective"]),
                "plateau": unit.show(row["plateau"]),
            }
            for row in best.iter_rows(named=True)
        ],
        "callers": callers,
        "tested": tested,
        "callers_more": more,
        "pair": selection["caller_rule"],
        "folds": frames["folds"].to_dicts(),
        "lanes": _lanes_of(frames["lanes"], winner["set_id"]).to_dicts(),
        "stops": _stops(selection["stop_fills"], unit),
        "reasons": _reasons(selection),
        "path_means": selection["path_expectancies"] or [],
        "path_words": ", ".join(signed_percent(value) for value in sorted_known(selection["path_expectancies"])),
        "placebo_words": _placebo_words(_moments(frames), float(winner["objective"]), unit),
        "stops_words": _stops_words(selection["stop_fills"]),
    }


def sorted_known(values: list[float | None] | None) -> list[float]:
    """Return the values that are there, ascending."""
    return sorted(value for value in values or [] if value is not None)


def sharpe_ratios(sets: pl.DataFrame, days: pl.DataFrame, count: int) -> Floats:
    """Return the mean of each set's day returns by their standard deviation, (S,); zero where they do not vary.

    Args:
        sets: rows of `sets.parquet` in the order of `set_id`.
        days: rows of `days.parquet`: days without a trade are not among them, and count as zero.
        count: of all days.
    """
    sums = days.group_by("set_id").agg(net=pl.col("net_sum").sum(), squares=(pl.col("net_sum") ** 2).sum())
    joined = sets.select("set_id").join(sums, on="set_id", how="left", maintain_order="left").fill_null(0.0)
    net, squares = joined["net"].to_numpy(), joined["squares"].to_numpy()
    mean = net / count
    around = squares - count * mean * mean
    varies = around > 1e-12 * squares
    ratios = np.zeros(len(net))
    if count > 1:
        ratios[varies] = mean[varies] / np.sqrt(around[varies] / (count - 1))
    return ratios


def _beside(
    sets: pl.DataFrame, spec: Mapping[str, Any], unit: Unit, columns: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    rows: list[tuple[str, list[str]]] = [
        (path, [label_of(sets, path, column, named=True) for column in columns]) for path in spec["space"]
    ]
    rows += [
        (OBJECTIVES[spec["objective"]["name"]], [unit.show(column["objective"]) for column in columns]),
        ("Objective around it", [unit.show(column["plateau"]) for column in columns]),
        ("Mean net return of a trade", [signed_percent(column["expectancy"], 2) for column in columns]),
        ("Trades, days, callers", [f"{c['trades']:,}, {c['days']:,}, {c['callers']:,}" for c in columns]),
        ("Win rate", [percent(column["win_rate"]) for column in columns]),
    ]
    return [{"name": name, "cells": cells} for name, cells in rows]


def _callers(callers: pl.DataFrame, shown: list[int]) -> tuple[list[dict[str, Any]], bool, int]:
    """Return rows of callers, whether they were tested, and how many more there are."""
    mine = callers.filter(pl.col("set_id").is_in(shown))
    order = mine.filter(pl.col("set_id") == shown[0]).sort(["trades", "caller"], descending=[True, False])
    tested = bool(mine["q_value"].count())
    known = {(row["set_id"], row["caller"]): row for row in mine.iter_rows(named=True)}
    rows = []
    for name, trades in order.head(CALLERS_SHOWN).select("caller", "trades").iter_rows():
        cells = []
        for number in shown:
            row = known.get((number, name))
            mean = row["net_sum"] / row["trades"] if row else None
            cells.append({"mean": mean, "q": row["q_value"] if row and tested else None})
        rows.append({"caller": name, "trades": trades, "cells": cells})
    return rows, tested, max(0, order.height - CALLERS_SHOWN)


def _lanes_of(lanes: pl.DataFrame, number: int) -> pl.DataFrame:
    return lanes.filter(pl.col("set_id") == number).select("lane", "expectancy", "trades")


def _reasons(selection: Mapping[str, Any]) -> dict[str, str]:
    """Return why parts could not be said, by their names."""
    reasons = {
        part["part"]: f"Cannot be said: {part['unsaid']}." if part["unsaid"] else "Cannot be said."
        for part in selection["parts"]
    }
    return reasons | {"paths": f"Cannot be said: it needs 20 days, there are {selection['days']}."}


def _placebo_words(placebos: pl.DataFrame, observed: float, unit: Unit) -> str:
    best = placebos["best_metric"]
    if best.is_empty():
        return ""
    reached = int((best >= observed).sum())
    return (
        f"Every call moved to another candle of its token and the whole search done again, {len(best):,} times: the "
        f"best set reached {unit.show(observed)} or more in {reached:,} of them."
    )


def _moments(frames: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Return the placebos that move calls."""
    return frames["placebo"].filter(pl.col("kind") == MOMENTS)


def _stops(fills: Mapping[str, Any] | None, unit: Unit) -> list[dict[str, Any]]:
    """Return what the winner is worth, and which set would have won, by where stops are taken to fill."""
    if not fills:
        return []
    return [
        {
            "name": STOPS[name],
            "objective": unit.show(fills["objectives"][name]),
            "rank": fills["ranks"][name],
            "winner": fills["winners"][name],
        }
        for name in STOPS
    ]


def _stops_words(fills: Mapping[str, Any] | None) -> str:
    if not fills:
        return ""
    lives = "stays above zero" if fills["survives"] else "does not stay above zero"
    return f"Objective of the winner with every stop at its level, as run, and at the candle's low: it {lives}."


def _of_the_space(  # noqa: PLR0917 - a page, part by part
    sets: pl.DataFrame,
    ranked: pl.DataFrame,
    dimensions: list[Dimension],
    selection: Mapping[str, Any],
    unit: Unit,
    data: dict[str, Any],
) -> dict[str, Any]:
    """Return the pictures of the space; what the script needs of them goes to `data`."""
    if not dimensions:
        return {"heat": None}
    winner, chosen = int(ranked["set_id"][0]), selection["plateau_set"]
    ring = chosen if chosen is not None and chosen >= 0 else None
    maps = heat_maps(sets, dimensions)
    marks = {
        name: None if number is None else [int(one.levels[number]) for one in dimensions]
        for name, number in (("winner", winner), ("ring", ring))
    }
    worth = worths(sets)
    shown = _lines_shown(ranked["set_id"].to_numpy().astype(np.int64))
    data |= {
        "dimensions": [{"path": one.path, "labels": list(one.labels)} for one in dimensions],
        "maps": {
            f"{row} {column}": {"best": _counted(one.best, unit), "median": _counted(one.median, unit)}
            for (row, column), one in maps.items()
        },
        **marks,
        "lines": [[int(number), _count(float(worth[number]), unit)] for number in shown],
    }
    alongs = [
        charts.along_chart(
            f"along-{place}",
            one,
            along(sets, one),
            unit,
            winner=(int(one.levels[winner]), float(worth[winner])),
            ring=None if ring is None else int(one.levels[ring]),
        )
        for place, one in enumerate(dimensions)
    ]
    of = "" if len(shown) == len(ranked) else f" of {len(ranked):,}"
    return {
        "heat": _heat(maps, dimensions, marks, unit),
        "alongs": [Markup(chart) for chart in alongs],  # noqa: S704 - their text is escaped by the canvas
        "lines_chart": Markup(charts.lines_chart(dimensions, worth, unit, shown)),  # noqa: S704 - as above
        "lines_told": f"{len(shown):,}{of} sets that may win.",
    }


def _lines_shown(ranked: Ints) -> Ints:
    """Choose the sets to draw, the worst first."""
    if len(ranked) <= MOST_LINES:
        return ranked[::-1]
    best = MOST_LINES // 5
    rest = ranked[best:]
    evenly = rest[np.linspace(0, len(rest) - 1, MOST_LINES - best).astype(np.int64)]
    return np.concatenate([ranked[:best], evenly])[::-1]


def _heat(
    maps: dict[tuple[int, int], HeatMap],
    dimensions: list[Dimension],
    marks: Mapping[str, list[int] | None],
    unit: Unit,
) -> dict[str, Any]:
    """Return the first map as a table: the dimension that matters most across, the second down."""
    if len(dimensions) == 1:
        values, row_at, column_at = maps[0, 0].best, None, 0
    else:
        values, row_at, column_at = maps[0, 1].best.T, 1, 0
    cells = _counted(values, unit)
    told = [abs(value) for line in cells for value in line if value is not None and value > 0]
    lost = [abs(value) for line in cells for value in line if value is not None and value <= 0]
    ranges = {"up": (min(told, default=0), max(told, default=0)), "down": (min(lost, default=0), max(lost, default=0))}
    rows = []
    for at, line in enumerate(cells):
        row = []
        for place, value in enumerate(line):
            here = [
                name
                for name, mark in (("peak", marks["winner"]), ("ring", marks["ring"]))
                if mark is not None and mark[column_at] == place and (row_at is None or mark[row_at] == at)
            ]
            kind = "none" if value is None else "up" if value > 0 else "down"
            low, high = ranges.get(kind, (0, 0))
            share = (DARKEST - FAINTEST) * (abs(value or 0) - low) // (high - low) if high > low else 34
            text = "" if value is None else _as_counted(value, unit)
            row.append({"text": text, "kind": " ".join([kind, *here]), "strength": FAINTEST + share})
        rows.append({"label": "" if row_at is None else dimensions[row_at].labels[at], "cells": row})
    down = "" if row_at is None else f"{dimensions[row_at].path} ↓ "
    return {"corner": f"{down}{dimensions[column_at].path} →", "columns": dimensions[column_at].labels, "rows": rows}


def _count(value: float, unit: Unit) -> int:
    """Return a value in units of the last digit that is shown."""
    return round(value * unit.units)


def _counted(values: Floats, unit: Unit) -> list[list[int | None]]:
    return [[_count(value, unit) if np.isfinite(value) else None for value in line] for line in values.tolist()]


def _as_counted(value: int, unit: Unit) -> str:
    return unit.show(value / unit.units)


def _of_the_validation(
    frames: Mapping[str, pl.DataFrame],
    sets: pl.DataFrame,
    dimensions: list[Dimension],
    selection: Mapping[str, Any],
    unit: Unit,
) -> dict[str, Markup]:
    """Draw what was asked of the winner; a part that was not said is not there."""
    drawn: dict[str, str] = {}
    winner = selection["winner"]
    oos, folds, cscv = frames["oos"], frames["folds"], frames["cscv"]
    if oos["trades"].sum():
        own = frames["days"].filter(pl.col("set_id") == winner).select("day", "net_sum")
        inside = oos.select("day").join(own, on="day", how="left", maintain_order="left")["net_sum"].fill_null(0.0)
        strips = [(one.path, _chosen(one, sets, folds)) for one in dimensions[:MOST_DIMENSIONS]]
        drawn["walk"] = charts.walk_chart(oos, inside.to_numpy(), folds, strips)
    if not cscv.is_empty():
        drawn["logits"] = charts.logits_chart(cscv["logit"].to_numpy())
        told = cscv.drop_nulls(["is_metric", "oos_metric"])
        if not told.is_empty():
            drawn["halves"] = charts.halves_chart(told["is_metric"].to_numpy(), told["oos_metric"].to_numpy(), unit)
    paths = frames["paths"]
    if not paths.is_empty():
        nets = [part["net_sum"].to_numpy() for part in paths.sort("path", "day").partition_by("path")]
        drawn["paths"] = charts.paths_chart(paths["day"].unique().sort(), nets)
    placebos = _moments(frames)["best_metric"].drop_nulls().to_numpy()
    if len(placebos):
        drawn["placebo"] = charts.placebo_chart(placebos, unit, observed=float(worths(sets)[winner]))
    lanes = _lanes_of(frames["lanes"], winner)
    if lanes["expectancy"].count():
        labels = _short([str(lane) for lane in lanes["lane"]])
        named = list(zip(labels, lanes["expectancy"], strict=True))
        drawn["lanes"] = charts.lanes_chart("lanes", "Mean net return under stress", named, percent_ticks)
    if (fills := selection["stop_fills"]) is not None:
        named = [(label, fills["objectives"][name]) for name, label in STOPS.items()]
        drawn["stops"] = charts.lanes_chart("stops", "Objective by where stops fill", named, unit.ticks)
    return _marked(drawn)


def _chosen(dimension: Dimension, sets: pl.DataFrame, folds: pl.DataFrame) -> list[tuple[str, float]]:
    """Return what each fold's set has of a dimension, written and as a place from 0 to 1; empty where none won."""
    return [
        ("", 0.0)
        if number is None
        else (label_of(sets, dimension.path, sets.row(number, named=True)), float(dimension.fine[number]))
        for number in folds["set_id"].to_list()
    ]


def _short(lanes: list[str]) -> list[str]:
    """Shorten lanes to what fits under a bar: late ones to how late they are, the one that is dear as well to `all`.

    >>> _short(["50/100 bp", "75/150 bp", "50/100 bp, 1 candle later", "100/250 bp, 2 candles later"])
    ['50/100', '75/150', '+1', 'all']
    """
    labels = []
    for lane in lanes:
        costs, _, later = lane.partition(" bp")
        late = f"+{later.split()[1]}" if costs == lanes[0].partition(" bp")[0] and later else "all"
        labels.append(late if later else costs)
    return labels


def _marked(drawn: Mapping[str, str]) -> dict[str, Markup]:
    return {name: Markup(chart) for name, chart in drawn.items()}  # noqa: S704 - their text is escaped by the canvas


_PAGE, _SHEET = template("sweep.html"), template("sweep_sheet.html")
