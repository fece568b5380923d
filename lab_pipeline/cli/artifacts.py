"""`lab artifacts`: the files of a run."""

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from lab_pipeline.cli.app import RUN_FAILED, group, open_lab, out, table
from lab_pipeline.cli.runs import AsJson, RunId
from lab_pipeline.files.atomic import drafted

artifacts_app = group("artifacts", "Files published by runs.")


@artifacts_app.command("list")
def list_artifacts(run: RunId, as_json: AsJson = False) -> None:
    """List the artifacts of a run."""
    store = open_lab().artifacts
    manifest = store.manifest(store.find(run))
    if as_json:
        files = [file.model_dump(mode="json", by_alias=True) for file in manifest.files]
        out.show_json({"artifacts": files})
        return
    rows = table("name", "rows", "bytes", "sha256", right=("rows", "bytes"), drop=("sha256",))
    for file in manifest.files:
        rows.add_row(file.name, "-" if file.rows is None else f"{file.rows:,}", f"{file.bytes:,}", file.sha256[:16])
    out.print(rows)


@artifacts_app.command("get")
def get(
    run: RunId,
    name: Annotated[str, typer.Argument(help="Name as listed, with or without its suffix.")],
    to: Annotated[Path | None, typer.Option(help="Copy it to this path instead of standard output.")] = None,
) -> None:
    """Copy an artifact to a file, or to standard output."""
    store = open_lab().artifacts
    run_id = store.find(run)
    file, source = store.file(run_id, name), store.path(run_id, name, verify=True)
    if to is None:
        with source.open("rb") as opened:
            shutil.copyfileobj(opened, sys.stdout.buffer)
        return
    target = to / file.name if to.is_dir() else to
    with drafted(target) as draft:
        shutil.copyfile(source, draft)
    out.print(str(target))


@artifacts_app.command("verify")
def verify(
    run: Annotated[str | None, typer.Argument(help="A run id, or the start of one; all runs by default.")] = None,
) -> None:
    """Read every artifact and compare it with the hash in its manifest; exit status 1 if one differs."""
    from lab_pipeline.runs.artifacts import REMEDY

    store = open_lab().artifacts
    run_ids = sorted(store.run_ids()) if run is None else [store.find(run)]
    damage = [problem for run_id in run_ids for problem in store.damage(run_id)]
    for problem in damage:
        out.print(problem)
    if damage:
        out.print(f"-> {REMEDY}")
        raise typer.Exit(RUN_FAILED)
    out.print(f"{len(run_ids):,} runs: every file is as it was published")
