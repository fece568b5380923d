"""`lab sweep`: many sets of parameters on the same calls, and how far the best of them can be believed."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lab_pipeline.cli.app import INTERRUPTED, err, group, open_lab, out, table
from lab_pipeline.cli.backtest import names_of
from lab_pipeline.cli.progress import progress_bar
from lab_pipeline.cli.sweep_verdict import print_sweep

if TYPE_CHECKING:
    from lab_pipeline.sweeps.outlook import Outlook
    from lab_pipeline.sweeps.spec import SweepSpec

sweep_app = group("sweep", "Many sets of parameters on the same calls, and how far the best can be believed.")

SweepId = Annotated[str, typer.Argument(help="The id of a sweep, or the start of one.", metavar="SWEEP")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


@sweep_app.command("run")
def run(  # noqa: PLR0917 - one parameter an option
    file: Annotated[
        Path | None,
        typer.Argument(help="What to sweep, in YAML or JSON; what options say comes before it.", metavar="[FILE]"),
    ] = None,
    strategy: Annotated[str | None, typer.Option(help="Id of a stored strategy.")] = None,
    timeframe: Annotated[str | None, typer.Option(help="Length of the candles: 1m, 5m, ...")] = None,
    version: Annotated[str | None, typer.Option(help="Version of the strategy; the latest by default.")] = None,
    start: Annotated[str | None, typer.Option("--from", help="Sweep calls from this time on (ISO 8601, UTC).")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Sweep calls before this time (ISO 8601, UTC).")] = None,
    mints: Annotated[str | None, typer.Option(help="Only calls on these tokens, separated by commas.")] = None,
    callers: Annotated[
        str | None, typer.Option(help="Only calls of these callers, separated by commas; quote one: '\"A, B\",C'.")
    ] = None,
    first_mention: Annotated[
        str | None,
        typer.Option(
            metavar="BY:DAYS",
            help="Leave out repeats: token:7 those of anybody in 7 days, caller_token:7 those of the caller.",
        ),
    ] = None,
    without_faults: Annotated[
        str | None,
        typer.Option(
            metavar="FAULTS", help="Leave out calls whose candles have these: spike,unit,copy,flat,no_volume,restated."
        ),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH=VALUES",
            help="Vary a path: exit.stopLoss=0.05..0.5:10 (ten values, with :log of equal ratios; without a number "
            "any between), exit.maxHoldMinutes=null,60,240, or values as in a file, in JSON.",
        ),
    ] = None,
    method: Annotated[
        str | None, typer.Option("--search", help="grid, random, sobol, tpe, cmaes or nsga2.", metavar="METHOD")
    ] = None,
    sets: Annotated[int | None, typer.Option(help="How many sets to draw.", metavar="N")] = None,
    placebos: Annotated[
        int | None, typer.Option("--placebos", help="How often to search calls at other moments.", metavar="N")
    ] = None,
    holdout: Annotated[
        float | None, typer.Option(help="Share of the days, the last ones, to keep apart.", metavar="SHARE")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seeds the search and all that is drawn.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be swept, what it takes, and what cannot be said.")
    ] = False,
    as_json: AsJson = False,
    queue: Annotated[bool, typer.Option("--queue", help="Put it into the queue of `lab up` and print its id.")] = False,
) -> None:
    """Run a sweep here, without Dagster, and print its best sets and the verdict."""
    from lab_pipeline.cli.sweep_request import mention_rule, request_of
    from lab_pipeline.sweeps.outlook import Outlook
    from lab_pipeline.sweeps.running import resolve, run_resolved
    from lab_pipeline.sweeps.spec import SweepSpec

    given = {
        "strategy": strategy,
        "strategy_version": version,
        "timeframe": timeframe,
        "start": start,
        "end": end,
        "mints": names_of("--mints", mints) or None,
        "callers": names_of("--callers", callers) or None,
        "first_mention": None if first_mention is None else mention_rule(first_mention),
        "without_faults": names_of("--without-faults", without_faults) or None,
        "seed": seed,
    }
    validation = {"placebo": placebos, "holdout": holdout}
    request = request_of(file, given, param or [], {"method": method, "sets": sets}, validation)
    spec = SweepSpec.parse(request, subject="sweep" if file is None else str(file))
    with open_lab() as lab, _interruptible(spec):
        resolved = resolve(spec, lab.strategies, lab.lake, memory=lab.settings.sweep_memory)
        outlook = Outlook.of(resolved)
        if dry_run:
            _print_outlook(outlook, as_json=as_json)
            return
        for part, why in outlook.unsaid.items():
            err.print(f"{part} will not be said: {why}", style="yellow")
        if queue:
            checked = spec.model_copy(update={"strategy_version": resolved.strategy_version})
            sweep_id = lab.launcher.sweep(checked)
            if as_json:
                out.show_json({"sweepId": sweep_id})
            else:
                out.print(f"queued sweep {sweep_id}")
            return
        with progress_bar("sweeping", "sets, calls or placebos") as bar:
            manifest, selected = run_resolved(
                resolved,
                lake=lab.lake,
                strategies=lab.strategies,
                store=lab.sweeps,
                threads=lab.settings.threads,
                on_progress=bar,
                on_placebos=bar,
            )
    place = lab.sweeps.storage.at(manifest.sweep_id)
    if as_json:
        selection = lab.sweeps.document(manifest.sweep_id, "selection")
        result = {"sweepId": manifest.sweep_id, "fingerprint": manifest.fingerprint, "artifactsDir": place}
        sys.stdout.write(json.dumps(result | {"selection": selection}) + "\n")
        return
    print_sweep(selected, manifest, lab.sweeps.storage)


@sweep_app.command("cancel")
def cancel(sweep: SweepId) -> None:
    """Cancel a sweep that is queued or running in `lab up`; what it has of its parts is kept for a week."""
    from lab_pipeline.operations.run_actions import stop
    from lab_pipeline.operations.sweep_runs import find_sweep_run

    with open_lab() as lab:
        found = find_sweep_run(lab.instance, sweep)
        stop(lab.instance, found.run_id)
    out.print(f"canceling sweep {found.run_id}")


@sweep_app.command("resume")
def resume(sweep: SweepId) -> None:
    """Queue a sweep again that has failed or was canceled; it goes on from the parts that it has."""
    from lab_pipeline.operations.sweep_runs import find_sweep_run

    with open_lab() as lab:
        again = lab.launcher.resume(find_sweep_run(lab.instance, sweep))
    out.print(f"queued sweep {again}")


@sweep_app.command("allocate")
def allocate(
    runs: Annotated[list[str], typer.Argument(help="Ids of backtests, or the start of each.", metavar="RUN...")],
    *,
    callers: Annotated[bool, typer.Option("--callers", help="Among the callers of the one run.")] = False,
    train_days: Annotated[int, typer.Option(min=2, help="Days that make the shares.")] = 30,
    test_days: Annotated[int, typer.Option(min=1, help="Days that they are followed through.")] = 10,
    fraction: Annotated[float, typer.Option(help="Of Kelly's shares, above 0 and at most 1.")] = 0.25,
    cap: Annotated[float, typer.Option(help="Largest of Kelly's shares, above 0 and at most 1.")] = 0.25,
    as_json: AsJson = False,
) -> None:
    """Share capital among the rules of backtests, or the callers of one, and judge it on later days."""
    from lab_pipeline.domain.errors import LabError
    from lab_pipeline.statistics.allocation import Terms
    from lab_pipeline.statistics.selection import Windows
    from lab_pipeline.sweeps.portfolio import allocate_runs, figures

    windows = Windows(train_days=train_days, test_days=test_days, step_days=test_days)
    try:
        terms = Terms(fraction, cap)
    except ValueError as error:
        raise LabError(str(error)) from None
    members, allotments = allocate_runs(open_lab().artifacts, runs, windows, terms, callers=callers)
    if as_json:
        told = [figures(one) | {"shares": dict(zip(members, one.now.tolist(), strict=True))} for one in allotments]
        out.show_json({"members": members, "methods": told})
        return
    methods = [str(one.method) for one in allotments]
    rows = table("member", *methods, right=tuple(methods))
    for number, member in enumerate(members):
        rows.add_row(member, *(f"{one.now[number]:.1%}" for one in allotments))
    out.print(rows)
    for one in allotments:
        became = figures(one)
        mean, lower, fell = (became[name] for name in ("mean_day_return", "mean_day_return_lower", "max_drawdown"))
        judged = "no day was tested" if mean is None else f"{mean:+.2%} a day"
        judged += "" if lower is None else f", at least {lower:+.2%}; largest fall {fell:.1%}"
        out.print(f"{one.method}: {judged}, over {became['test_days']:,} days that did not make the shares")


@sweep_app.command("list")
def list_sweeps(as_json: AsJson = False) -> None:
    """List the published sweeps, the oldest first."""
    from lab_pipeline.sweeps.walking import by_age

    manifests = list(by_age(open_lab().sweeps))
    if as_json:
        out.show_json({"sweeps": [one.model_dump(mode="json", exclude={"files"}) for one in manifests]})
        return
    rows = table("sweep", "strategy", "version", "sets", "at", "verdict", right=("sets",), prose=("verdict",),
                 drop=("version", "at"))  # fmt: skip
    for one in manifests:
        at = one.created_at.strftime("%Y-%m-%d %H:%M")
        rows.add_row(one.sweep_id, str(one.spec["strategy"]), one.strategy_version, f"{one.sets:,}", at, one.verdict)
    out.print(rows)


@contextmanager
def _interruptible(spec: "SweepSpec") -> Iterator[None]:
    """Say in one sentence what is left of a sweep that was interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        kept = "; the sets that were evaluated are kept, and the same command goes on from them"
        err.print(f"canceled, nothing was published{kept if spec.search.optimises else ''}", style="yellow")
        raise typer.Exit(INTERRUPTED) from None


def _print_outlook(outlook: "Outlook", *, as_json: bool) -> None:
    if as_json:
        out.show_json(outlook.to_json_dict())
        return
    counts = f"{outlook.duplicates:,} twice, {outlook.excluded:,} excluded, {outlook.invalid:,} invalid"
    rows = table("", " ", prose=(" ",))
    rows.show_header = False
    found = f"{outlook.sets:,} by {outlook.method}, of {outlook.asked:,} asked for ({counts})"
    if outlook.proposed:
        found = f"{outlook.proposed:,} to be proposed by {outlook.method}; of the first {outlook.asked:,}: {counts}"
    rows.add_row("strategy", f"{outlook.strategy}, version {outlook.strategy_version}")
    rows.add_row("sets", found)
    for problem in outlook.first_invalid:
        rows.add_row("invalid", problem)
    rows.add_row("entries", f"{outlook.entry_groups:,}, each of which reads its calls once more")
    rows.add_row("calls", f"{outlook.calls:,} by {outlook.callers:,} callers")
    left = [(outlook.repeats, "repeats"), (outlook.faulty, "calls on faulty candles")]
    if said := ", ".join(f"{count:,} {what}" for count, what in left if count):
        rows.add_row("left out", said)
    rows.add_row("days", f"{outlook.days:,} that select, {outlook.held_days:,} held out")
    rows.add_row("placebos", f"{outlook.placebos:,}, each the whole search")
    rows.add_row("memory", f"{outlook.memory:,} bytes for sums, of {outlook.memory_allowed:,} (LAB_SWEEP_MEMORY)")
    for part, why in outlook.unsaid.items():
        rows.add_row("not said", f"{part}: {why}")
    out.print(rows)
