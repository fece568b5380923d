"""`lab open`: the lab's pages in a browser."""

import webbrowser
from typing import TYPE_CHECKING, Annotated
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import ProxyHandler, Request, build_opener

import typer

from lab_pipeline.cli.app import app, open_lab, out
from lab_pipeline.domain.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab_pipeline.operations.lab import Lab

PAGES = "/lab"
ANSWER_SECONDS = 3.0


@app.command("open")
def open_pages(
    what: Annotated[
        str | None,
        typer.Argument(
            help="A run or sweep: its id, or the start of one. [default: the first page]", metavar="[RUN|SWEEP]"
        ),
    ] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address alone.")] = False,
) -> None:
    """Open the lab's pages in a browser: the first, or that of a run or sweep."""
    from lab_pipeline.doors import api_url
    from lab_pipeline.settings import load_settings

    settings = load_settings()
    if settings.api_url is None and not settings.api_port:
        raise LabError("LAB_API_PORT is 0, a free one each time: open the address that `lab up` prints")
    served = api_url(settings)
    address = f"{served}{PAGES}{'' if what is None else _page_of(what)}"
    if not _answers(f"{served}/api/health"):
        raise LabError(f"nothing answers at {served}: `lab up` serves {address}, and so does `lab api`")
    out.print(address)
    if not no_browser and not webbrowser.open(address):
        out.print("no browser was found here: open it yourself")


def _page_of(start: str) -> str:
    """Return the path of the page of the run or sweep whose id is, or begins with, a text.

    Raises:
        LabError: if nothing has such an id, or several things have.
    """
    from lab_pipeline.runs.artifacts import UnknownRunError
    from lab_pipeline.sweeps.store import UnknownSweepError

    found: list[str] = []
    reasons: list[LabError] = []
    with open_lab() as lab:
        finders: dict[str, Callable[[], str]] = {
            "runs": lambda: lab.runs.find(start).run_id,
            "sweeps": lambda: _sweep_id(lab, start),
        }
        for kind, find in finders.items():
            try:
                found.append(f"/{kind}/{quote(find(), safe='')}")
            except (UnknownRunError, UnknownSweepError) as error:
                reasons.append(error)
    match found:
        case [one]:
            return one
        case []:
            raise LabError("; ".join(map(str, reasons)))
        case _:
            raise LabError(f"'{start}' is the start of the id of a run and of a sweep: write more of it")


def _sweep_id(lab: "Lab", start: str) -> str:
    """Return the id of a sweep: one that is not done is known by its whole id alone."""
    from lab_pipeline.sweeps.store import UnknownSweepError

    try:
        return lab.sweeps.find(start)
    except UnknownSweepError as unpublished:
        try:
            return lab.sweep_runs.get(start).sweep_id
        except UnknownSweepError:
            raise unpublished from None


def _answers(address: str) -> bool:
    """Return whether a server is there, whatever it answers."""
    try:
        with build_opener(ProxyHandler({})).open(Request(address), timeout=ANSWER_SECONDS):  # noqa: S310 - our own
            return True
    except HTTPError:
        return True  # somebody who is not let in, or not well, answers
    except OSError:
        return False
