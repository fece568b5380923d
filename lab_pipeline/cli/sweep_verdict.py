"""What the terminal shows of a sweep: its best sets, what the best has to pass, and the verdict in plain sentences."""

import math
import textwrap
from typing import TYPE_CHECKING

from lab_pipeline.cli.app import out, table
from lab_pipeline.cli.tables import TextTable

if TYPE_CHECKING:
    from lab_pipeline.runs.artifact_storage import Storage
    from lab_pipeline.sweeps.running import SelectedSweep
    from lab_pipeline.sweeps.store import SweepManifest

SHOWN_SETS = 5
WIDTH = 80
"""Columns of a sentence, or fewer where the terminal has no more."""


def print_sweep(selected: "SelectedSweep", manifest: "SweepManifest", storage: "Storage") -> None:
    """Print the result of a sweep and where its report is; what to make of it comes last."""
    from lab_pipeline.runs.artifacts import REPORT

    resolved, selection = selected.resolved, selected.selection
    report = next(file for file in manifest.files if file.name == REPORT)
    sets = resolved.sets
    if selection.choice.winner >= 0:
        out.print(_best(selected))
        out.print()
        out.print(_parameters(selected))
        out.print()
    _say(
        f"{len(sets):,} sets by {resolved.method} ({sets.duplicates:,} twice, {sets.excluded:,} excluded, "
        f"{sets.invalid_count:,} invalid) on {resolved.calls.height:,} calls; "
        f"days that select: {selection.days:,}, held out: {resolved.held_days:,}."
    )
    _say(
        f"Tried {selection.trials:,} sets of this strategy so far, {selected.earlier:,} of them earlier; they amount "
        f"to {selection.effective_trials:,.1f} independent ones."
    )
    out.print()
    if selection.verdict.findings:
        out.print(_parts(selected))
        out.print()
    out.print(f"sweep {manifest.sweep_id}")
    out.print(f"report {storage.where(manifest.sweep_id, report)}")
    out.print()
    style = "green" if selection.verdict.supported else "yellow"
    for sentence in _conclusion(selected):
        _say(sentence, style)


def _best(selected: "SelectedSweep") -> TextTable:
    from lab_pipeline.sweeps.artifacts import ranked

    columns = ("set", "trades", "days", "win rate", "mean net return", "objective")
    rows, sets, scores = table(*columns, right=columns), selected.sweep.sets, selected.selection.choice.scores
    for number in ranked(selected.selection)[:SHOWN_SETS]:
        row = sets.row(number, named=True)
        rows.add_row(
            str(number),
            f"{row['trades']:,}",
            f"{row['days']:,}",
            f"{row['win_rate']:.1%}",
            f"{row['expectancy']:+.2%}",
            _shown(selected, float(scores[number])),
        )
    return rows


def _parameters(selected: "SelectedSweep") -> TextTable:
    """Tabulate what the best set varies, beside the middle of the plateau where that is another."""
    from lab_pipeline.reports.dimensions import label_of

    winner, land = selected.selection.choice.winner, selected.selection.plateau
    columns = {f"best: set {winner}": winner}
    if land is not None and land.chosen not in {-1, winner}:
        columns[f"plateau: set {land.chosen}"] = land.chosen
    rows, sets = table("parameter", *columns), selected.sweep.sets
    chosen = [sets.row(number, named=True) for number in columns.values()]
    for dimension in selected.resolved.sets.space.dimensions:
        rows.add_row(dimension.path, *(label_of(sets, dimension.path, row, named=True) for row in chosen))
    return rows


def _parts(selected: "SelectedSweep") -> TextTable:
    from lab_pipeline.statistics.selection.verdict import RULES

    rows = table("what the best has to pass", "figure", "wanted", "passed", right=("figure", "wanted"),
                 prose=("what the best has to pass",))  # fmt: skip
    for one in selected.selection.verdict.findings:
        figure = "-" if math.isnan(one.value) else f"{one.value:.3g}"
        passed = "yes" if one.passed else "cannot be said" if one.unsaid else "no"
        rows.add_row(RULES[one.part].title, figure, RULES[one.part].wanted, passed)
    return rows


def _conclusion(selected: "SelectedSweep") -> list[str]:
    """Say which rule one would use, and why not."""
    selection = selected.selection
    verdict, winner = selection.verdict, selection.choice.winner
    if winner < 0:
        return [f"{_sentence(verdict.words)} Sweep more calls, or ask for less."]
    mean = selected.sweep.sets["expectancy"][winner]
    earned = f"the best of {selection.trials:,} tries, returned {mean:+.2%} a trade on {selection.days:,} days"
    if verdict.supported:
        return [f"Supported. Set {winner}, {earned}, and passed all of this: use it, and expect less."]
    doubts = [_sentence(one.words) for one in verdict.findings if not one.passed]
    if selected.resolved.spec.search.optimises:
        doubts.append("Its sets were proposed in view of all these days, which flatters halves and walk forward.")
    said = f"Not supported. Set {winner} is the rule one would use: {earned}. Do not use it yet:"
    return [said, *(f"- {doubt}" for doubt in doubts)]


def _shown(selected: "SelectedSweep", value: float) -> str:
    return f"{value:.2f}" if selected.selection.choice.objective == "sharpe" else f"{value:+.2%}"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _say(text: str, style: str | None = None) -> None:
    """Print a sentence in lines that break between words."""
    indent = "  " if text.startswith("- ") else ""
    lines = textwrap.wrap(
        text, min(WIDTH, out.width), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    for line in lines:
        out.print(line, style=style)
