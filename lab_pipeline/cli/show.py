"""`lab show`: one call of a run on its candles, as a file that can be kept and sent."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lab_pipeline.cli.app import app, open_lab, out
from lab_pipeline.cli.lake import NOT_IN_NAMES
from lab_pipeline.cli.runs import RunId
from lab_pipeline.domain.errors import ConflictError, LabError
from lab_pipeline.files.atomic import drafted

if TYPE_CHECKING:
    from lab_pipeline.runs.artifacts import Manifest
    from lab_pipeline.runs.call_view import CallView

PAGE, PICTURE, PIXELS, NUMBERS = ".html", ".svg", ".png", ".csv"
LONGEST_NAME = 100
"""Characters of a call's id in the name of a file."""


@app.command("show")
def show(
    run: RunId,
    call: Annotated[str, typer.Argument(help="The id of one of its calls, or the start of one.", metavar="CALL")],
    to: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Ends in .html (a page that loads nothing), .png or .svg (the picture alone) or .csv (candles and "
            "levels). "
            "[default: call-CALL.html, here]",
        ),
    ] = None,
) -> None:
    """Write one call of a run on its candles, as a page of its own or as a picture."""
    from lab_pipeline.runs.call_view import find_call, view_call
    from lab_pipeline.runs.published import PublishedRun

    if to is not None and to.suffix.lower() not in {PAGE, PICTURE, PIXELS, NUMBERS}:
        raise LabError(f"--out {to}: end it in {PAGE}, {PIXELS}, {PICTURE} or {NUMBERS}")
    with open_lab() as lab:
        found = lab.runs.find(run)
        if found.published is None:
            raise ConflictError(f"run {found.run_id} ({found.status}) has published nothing to show")
        published = PublishedRun.of(lab.artifacts, found.published)
        call_id = find_call(published, call)
        view = view_call(published, call_id, lab.lake)
    if to is None:
        name = "".join("_" if sign in NOT_IN_NAMES or not sign.isprintable() else sign for sign in call_id)
        to = Path(f"call-{name[:LONGEST_NAME]}{PAGE}")
    content = _content(view, published.manifest, to.suffix.lower())
    to.parent.mkdir(parents=True, exist_ok=True)
    with drafted(to) as draft:
        draft.write_bytes(content)
    out.print(str(to))


def _content(view: "CallView", manifest: "Manifest", kind: str) -> bytes:
    from lab_pipeline.reports.call_sheet import call_picture, render_call

    if kind == PAGE:
        return render_call(
            view,
            manifest.spec,
            fingerprint=manifest.fingerprint,
            run_id=manifest.run_id,
            numbers=_numbers(view),
        ).encode()
    if view.candles.is_empty():
        raise LabError("the lake has no candles of this token in the call's window: there is nothing to draw")
    if kind == NUMBERS:
        return _numbers(view)
    picture = call_picture(view, manifest.spec)
    if kind == PIXELS:
        from lab_pipeline.reports.raster import to_png

        return to_png(picture)
    return picture.encode()


def _numbers(view: "CallView") -> bytes:
    from lab_pipeline.api.downloads import as_csv

    return as_csv(view.on_candles)
