"""`lab backup` and `lab restore`: everything that the lab keeps, elsewhere, and back."""

from pathlib import Path
from typing import Annotated

import typer

from lab_pipeline.cli.app import BAD_INPUT, RUN_FAILED, app, err, open_lab, out, settings, table
from lab_pipeline.cli.progress import progress_bar
from lab_pipeline.domain.backtest import iso
from lab_pipeline.domain.errors import LabError

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="The directory of the backup, on another disk.")]
SHOWN = 5


@app.command("backup")
def backup(
    directory: Directory,
    keep: Annotated[
        int | None, typer.Option(min=1, help="Keep only this many of the newest snapshots; all by default.")
    ] = None,
    list_only: Annotated[bool, typer.Option("--list", help="Only list the snapshots.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Only read everything and compare it with its hashes.")
    ] = False,
) -> None:
    """Add a snapshot of the home to a backup while everything runs; only new contents are written."""
    if (keep is not None) + list_only + verify > 1:
        err.print("error: give one of --keep, --list and --verify", style="red")
        raise typer.Exit(BAD_INPUT)
    if list_only:
        _list(directory)
    elif verify:
        _verify(directory)
    else:
        _take(directory, keep)


@app.command("restore")
def restore(
    directory: Directory,
    snapshot: Annotated[
        str | None, typer.Option(help="A snapshot, or the start of its name; the newest by default.")
    ] = None,
) -> None:
    """Restore a snapshot as LAB_HOME, which must be new or empty, with its rows and logs in ClickHouse."""
    from lab_pipeline.operations.rebuild_clickhouse import rebuild_rows
    from lab_pipeline.operations.restore import restore_home

    lab = open_lab()
    with progress_bar("restoring", "files") as bar:
        done = restore_home(lab.settings, directory, snapshot=snapshot, on_progress=bar)
    files, runs = len(done.snapshot.files), done.snapshot.runs
    out.print(f"{lab.settings.home} is what it was at {iso(done.snapshot.created_at)}: {runs:,} runs, {files:,} files")
    if done.interrupted:
        out.print(f"{_listed(done.interrupted)} under way: `lab up` treats them like runs whose process was killed")
    if done.waiting:
        out.print(f"{_listed(done.waiting)} waiting in the queue: `lab up` starts them")
    for line in done.artifacts:
        err.print(line)
    try:
        with lab, progress_bar("rebuilding rows", "runs") as bar:
            out.print(f"in ClickHouse: {rebuild_rows(lab, on_progress=bar)}")
    except LabError as error:
        err.print(f"error: the home is restored, but ClickHouse has not got its rows: {error}", style="red")
        err.print("`lab clickhouse rebuild` writes them once that is fixed")
        raise typer.Exit(RUN_FAILED) from None


def _take(directory: Path, keep: int | None) -> None:
    from lab_pipeline.operations.backup import take_backup

    with progress_bar("backing up", "files") as bar:
        taken = take_backup(settings(), directory, keep=keep, on_progress=bar)
    snapshot = taken.snapshot
    out.print(
        f"snapshot {taken.name}: {snapshot.runs:,} runs, {len(snapshot.files):,} files, {snapshot.bytes:,} bytes, "
        f"of which {taken.written:,} were new"
    )
    if snapshot.artifacts:
        out.print(f"artifacts are in {snapshot.artifacts}, which keeps them and is not copied")
    if taken.freed:
        out.print(f"{taken.freed:,} bytes of older snapshots deleted")
    if taken.without_artifacts:
        out.print(f"{_listed(taken.without_artifacts)} without artifacts in the lab itself, so in the backup, too")


def _list(directory: Path) -> None:
    from lab_pipeline.backup import Repository

    repository = Repository(directory)
    rows = table("snapshot", "taken", "runs", "files", "bytes", right=("runs", "files", "bytes"))
    names = repository.snapshots()
    for name in names:
        one = repository.read(name)
        rows.add_row(name, iso(one.created_at), f"{one.runs:,}", f"{len(one.files):,}", f"{one.bytes:,}")
    out.print(rows if names else "no snapshot yet")


def _verify(directory: Path) -> None:
    from lab_pipeline.backup import Repository

    repository = Repository(directory)
    with progress_bar("verifying", "contents") as bar:
        damage = repository.damage(bar)
    for problem in damage:
        out.print(problem)
    if damage:
        out.print("delete the files that are changed: the next `lab backup` writes what it still finds in the home")
        raise typer.Exit(RUN_FAILED)
    out.print(f"{len(repository.snapshots()):,} snapshots: every content is as it was written")


def _listed(runs: list[str]) -> str:
    more = f" and {len(runs) - SHOWN:,} more" if len(runs) > SHOWN else ""
    verb = "was" if len(runs) == 1 else "were"
    return f"{len(runs):,} {'run' if len(runs) == 1 else 'runs'} ({', '.join(runs[:SHOWN])}{more}) {verb}"
