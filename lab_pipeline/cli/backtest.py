"""`lab backtest`: run a backtest now and wait for it."""

import csv
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lab_pipeline.cli.app import RUN_FAILED, app, err, open_lab, out
from lab_pipeline.cli.progress import progress_bar
from lab_pipeline.cli.summary import luck_of_run, summary_table
from lab_pipeline.domain.backtest import MOST_CANDLES
from lab_pipeline.domain.errors import LabError
from lab_pipeline.domain.json_text import read_json
from lab_pipeline.domain.model import to_camel_keys
from lab_pipeline.runs.strategies import read_strategy

if TYPE_CHECKING:
    from lab_pipeline.operations.backtest_config import BacktestConfig
    from lab_pipeline.runs.artifacts import Manifest


@app.command("backtest")
def backtest(  # noqa: PLR0917 - one parameter an option
    strategy: Annotated[str, typer.Option(help="Id of a stored strategy, or a strategy file (it is stored first).")],
    timeframe: Annotated[
        str | None,
        typer.Option(help="Length of the candles: 1m, 5m, ... [default: what the lake has for most calls]"),
    ] = None,
    version: Annotated[str | None, typer.Option(help="Version of the strategy; the latest by default.")] = None,
    start: Annotated[
        str | None,
        typer.Option("--from", help="Simulate calls from this time on (ISO 8601, UTC); all by default."),
    ] = None,
    end: Annotated[
        str | None,
        typer.Option("--to", help="Simulate calls before this time (ISO 8601, UTC); all by default."),
    ] = None,
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
    all_calls: Annotated[bool, typer.Option("--all", help="Every call (the default).")] = False,
    param: Annotated[
        list[str] | None, typer.Option(metavar="PATH=VALUE", help="Override a strategy field: exit.stopLoss=0.25.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seeds what chance makes of the calls.")] = 0,
    as_of: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION|TIME",
            help="Read the lake as it was: v12.5 (see `lab lake history`), or the last version until a time.",
        ),
    ] = None,
    candles_per_part: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MOST_CANDLES,
            metavar="N",
            help="Simulate in parts of at least N candles, side by side; see --executor.",
        ),
    ] = None,
    executor: Annotated[
        str, typer.Option(help="Where ops run: in_process, multiprocess or dask (a cluster on this machine).")
    ] = "in_process",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    verbose: Annotated[bool, typer.Option(help="Show Dagster's log.")] = False,
) -> None:
    """Run a backtest through Dagster, in the foreground; the run is in the UI like any other."""
    if sum([mints is not None, callers is not None, all_calls]) > 1:
        raise LabError("give one of --mints, --callers and --all")
    from lab_pipeline.dagster_ext.executor import KINDS, require_installed
    from lab_pipeline.operations.backtest_config import BacktestConfig

    if executor not in KINDS:
        raise LabError(f"--executor {executor}: choose one of {', '.join(KINDS)}")
    require_installed(executor)
    strategy_id, version = _stored(strategy, version)
    timeframe, taken = _what_the_lake_has(timeframe, start, end, as_of)
    config = BacktestConfig(
        strategy=strategy_id,
        strategy_version=version,
        timeframe=timeframe,
        start=start,
        end=end,
        mints=names_of("--mints", mints),
        callers=names_of("--callers", callers),
        first_mention=first_mention,
        without_faults=names_of("--without-faults", without_faults),
        params=dict(map(_param, param or [])),
        seed=seed,
        as_of=as_of,
        candles_per_part=candles_per_part,
    )
    run_id, manifest = run_foreground(config, executor={executor: {}}, verbose=verbose, as_json=as_json, said=taken)
    if as_json:
        result = {
            "runId": run_id,
            "status": "completed",
            "fingerprint": manifest.fingerprint,
            "summary": to_camel_keys(manifest.summary.model_dump()),
            "tries": luck_of_run(manifest).as_json(),
            "artifactsDir": open_lab().artifacts.storage.at(run_id),
        }
        sys.stdout.write(json.dumps(result) + "\n")
        return
    print_result(manifest)


def run_foreground(
    config: "BacktestConfig",
    *,
    executor: Mapping[str, object] | None = None,
    verbose: bool = False,
    as_json: bool = False,
    said: Sequence[str] = (),
) -> "tuple[str, Manifest]":
    """Check the request, say something about it, run it with a progress bar, and return its run id and manifest.

    Raises:
        LabError: if the request cannot run; nothing was started then.
        typer.Exit: with status 1, if the run failed; the reason has been printed.
    """
    from lab_pipeline.cli.jobs import run_backtest_job
    from lab_pipeline.dagster_ext.foreground import alive
    from lab_pipeline.runs import backtest as steps
    from lab_pipeline.runs import progress

    lab = open_lab()
    steps.resolve(config.to_spec(lab.lake), lab.strategies, lab.lake)
    instance = lab.instance  # opened before anything is said: an error is the one thing that is told
    for line in () if as_json else said:  # on standard error, so that standard output holds results only
        err.print(line)
    with (
        lab,
        alive(lab.settings, instance) as tags,
        progress_bar("simulating", "calls") as bar,
        progress.listening(bar),
        nullcontext() if verbose else silenced(),
    ):
        run = run_backtest_job(instance, config, tags, executor)
    if run.error is not None:
        if as_json:
            sys.stdout.write(json.dumps({"runId": run.run_id, "status": "failed", "error": run.error}) + "\n")
        err.print(f"run {run.run_id} failed: {run.error}", style="red")
        raise typer.Exit(RUN_FAILED)
    return run.run_id, lab.artifacts.manifest(run.run_id)


def _what_the_lake_has(
    timeframe: str | None, start: str | None, end: str | None, as_of: str | None
) -> tuple[str, list[str]]:
    """Return the length of the candles, and what to say of that and of the calls where nobody named them."""
    from lab_pipeline.runs.backtest import full_range, usual_timeframe

    lake, said = open_lab().lake.at(as_of), list[str]()
    if timeframe is None:
        timeframe = usual_timeframe(lake)
        others = [length for length in lake.timeframes() if length != timeframe]
        why = f"which most calls have (--timeframe; there is {', '.join(others)}, too)" if others else "all there is"
        said.append(f"candles of {timeframe}, {why}")
    if start is None or end is None:
        whole = full_range(lake)
        first = start or f"{whole.start:%Y-%m-%d %H:%M}, the first"
        last = end or f"{whole.end:%Y-%m-%d %H:%M}, the last"
        said.append(f"calls from {first}, to {last} (UTC; --from, --to)")
    return timeframe, said


def print_result(manifest: "Manifest") -> None:
    """Print the headline numbers, of how many tries they are one, and where to look further."""
    from lab_pipeline.runs.artifacts import REPORT

    out.print(summary_table(manifest.summary))
    out.print(f"\n{luck_of_run(manifest).said}")
    out.print(f"\nrun {manifest.run_id}")
    report = next(file for file in manifest.files if file.name == REPORT)
    out.print(f"report {open_lab().artifacts.storage.where(manifest.run_id, report)}")


def _stored(strategy: str, version: str | None) -> tuple[str, str]:
    store = open_lab().strategies
    if strategy in store.ids():
        stored = store.get(strategy, version)
    elif Path(strategy).suffix == ".json" or Path(strategy).exists():
        if version is not None:
            raise LabError("--version goes with the id of a stored strategy, not with a file")
        stored = store.add(read_strategy(Path(strategy)))
    else:
        stored = store.get(strategy, version)  # raises, naming the strategies there are
    return stored.strategy.id, stored.version


def names_of(option: str, text: str | None) -> list[str]:
    """Return the names that an option lists, separated by commas; none if it is not given."""
    if text is None:
        return []
    names = [name.strip() for row in csv.reader([text], skipinitialspace=True) for name in row if name.strip()]
    if not names:
        raise LabError(f"{option} is empty: name at least one, or leave the option out for all")
    return names


def _param(text: str) -> tuple[str, Any]:
    path, equals, value = text.partition("=")
    if not equals:
        raise LabError(f"--param {text}: write PATH=VALUE, such as exit.stopLoss=0.25")
    try:
        return path, read_json(value)
    except ValueError:
        return path, value


@contextmanager
def silenced() -> Iterator[None]:
    """Keep Dagster's console log off the terminal; it is in the run's own logs."""
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
            os.dup2(nowhere.fileno(), 2)
            yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
