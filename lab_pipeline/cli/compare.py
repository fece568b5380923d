"""`lab compare`: runs side by side, and call by call."""

from collections.abc import Sequence
from dataclasses import asdict
from string import ascii_uppercase
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lab_pipeline.cli.app import app, open_lab, out, table
from lab_pipeline.cli.runs import AsJson
from lab_pipeline.cli.summary import UNDEFINED, figure, percent
from lab_pipeline.domain.errors import ConflictError, LabError

if TYPE_CHECKING:
    from lab_pipeline.operations.lab import Lab
    from lab_pipeline.runs.artifacts import Manifest
    from lab_pipeline.statistics.pairs import Paired

SIDE_BY_SIDE = 5
"""Runs whose numbers fit into 80 columns; more of them come below."""


@app.command("compare")
def compare(
    runs: Annotated[list[str], typer.Argument(help="2 to 20 run ids, or the starts of them.", metavar="A B [...]")],
    as_json: AsJson = False,
) -> None:
    """Compare runs: what each made beyond the first, call by call, and what differs in what was asked."""
    from lab_pipeline.domain.fill_assumptions import labelled, note_on
    from lab_pipeline.domain.model import to_camel_keys
    from lab_pipeline.runs.compare import differing_fields
    from lab_pipeline.runs.published import PublishedRun
    from lab_pipeline.statistics.pairs import compare_calls

    with open_lab() as lab:
        manifests = _completed(lab, runs)
        published = [PublishedRun.of(lab.artifacts, one) for one in manifests]
    pairs = [compare_calls(published[0], other) for other in published[1:]]
    differing = differing_fields([one.spec for one in manifests])
    note = note_on(labelled(one.fill_assumptions for one in manifests))
    if as_json:
        out.show_json(
            {
                "runs": [_as_json(one) for one in manifests],
                "beyondFirst": [
                    {"runId": other.run_id, **to_camel_keys(asdict(pair))}
                    for other, pair in zip(manifests[1:], pairs, strict=True)
                ],
                "configDiff": differing,
                "fillsNote": note,
            }
        )
        return
    for letter, one in zip(ascii_uppercase, manifests, strict=False):
        out.print(f"{letter}  {one.spec.strategy_id} v{one.spec.strategy_version}, {one.spec.timeframe}, {one.run_id}")
    out.print()
    _print_pairs(pairs)
    for first in range(0, len(manifests), SIDE_BY_SIDE):
        out.print()
        _print_numbers(manifests, range(first, min(first + SIDE_BY_SIDE, len(manifests))))
    out.print()
    _print_differing(differing)
    if note:
        out.print(f"\n{note.partition(';')[0]}", style="yellow")


def _completed(lab: "Lab", starts: Sequence[str]) -> "list[Manifest]":
    """Return the manifests of the runs that are to be compared.

    Raises:
        LabError: if they are too few or too many, one is unknown or named twice, or has published nothing.
    """
    from lab_pipeline.runs.compare import FEWEST, MOST

    if not FEWEST <= len(starts) <= MOST:
        raise LabError(f"name {FEWEST} to {MOST} runs, not {len(starts)}: `lab runs list` shows them")
    found = [lab.runs.find(start) for start in starts]
    if len({run.run_id for run in found}) < len(found):
        raise LabError("a run is named more than once")
    if waiting := [run for run in found if not run.published]:
        without = ", ".join(f"{run.run_id} ({run.status})" for run in waiting)
        raise ConflictError(f"there is nothing to compare yet of {without}")
    return [run.published for run in found if run.published]


def _as_json(manifest: "Manifest") -> dict[str, Any]:
    from lab_pipeline.domain.model import to_camel_keys

    return {
        "runId": manifest.run_id,
        "strategyId": manifest.spec.strategy_id,
        "strategyVersion": manifest.spec.strategy_version,
        "timeframe": manifest.spec.timeframe,
        "fingerprint": manifest.fingerprint,
        "fillAssumptions": manifest.fill_assumptions.text,
        "summary": to_camel_keys(manifest.summary.model_dump()),
    }


def _print_pairs(pairs: "Sequence[Paired]") -> None:
    from lab_pipeline.reports.certainty import chance

    out.print("What each call made, all its trades together, beyond what it made under A:")
    columns = ("calls", "better", "worse", "mean", "95 % interval", "p")
    rows = table("", *columns, right=columns, drop=("worse", "better"))
    for letter, pair in zip(ascii_uppercase[1:], pairs, strict=False):
        interval = UNDEFINED if pair.low is None else f"{percent(pair.low)} to {percent(pair.high)}"
        p = UNDEFINED if pair.p_value is None else chance(pair.p_value)
        rows.add_row(letter, f"{pair.calls:,}", f"{pair.better:,}", f"{pair.worse:,}", percent(pair.mean), interval, p)
    out.print(rows)
    for letter, pair in zip(ascii_uppercase[1:], pairs, strict=False):
        if pair.only_first or pair.only_second:
            out.print(
                f"{letter}: {pair.only_first:,} calls of A alone and {pair.only_second:,} of {letter} are left out"
            )
    out.print("Interval and p are by days or by callers, whichever says less.")


def _print_numbers(manifests: "Sequence[Manifest]", shown: range) -> None:
    from lab_pipeline.runs.compare import NUMBERS

    letters = [ascii_uppercase[number] for number in shown]
    rows = table("", *letters, right=letters, prose=("",))
    for name, words, _ in NUMBERS:
        cells = (figure(name, getattr(manifests[number].summary, name)) for number in shown)
        rows.add_row(words[:1].lower() + words[1:], *cells)
    out.print(rows)


def _print_differing(differing: dict[str, list[Any]]) -> None:
    """Print every field that differs with the runs of each value."""
    from lab_pipeline.domain.text import visible_json

    if not differing:
        out.print("They were asked the same.")
        return
    rows = table("asked differently", "by", "value", prose=("by", "value"))
    for path, values in differing.items():
        letters: dict[str, list[str]] = {}
        for letter, value in zip(ascii_uppercase, values, strict=False):
            letters.setdefault(visible_json(value), []).append(letter)
        for number, (value, named) in enumerate(letters.items()):
            rows.add_row("" if number else path, ", ".join(named), value)
    out.print(rows)
