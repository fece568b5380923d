"""What every page has around it, and what it may load."""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse
from jinja2 import PackageLoader
from pydantic import BeforeValidator

from lab_pipeline.domain.errors import MOST_NAMED
from lab_pipeline.reports import environment

ROOT = "/lab"
SECURITY = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
"""A page runs no script but ours, so a name that were taken for markup could still do nothing."""
ASSETS = files("lab_pipeline.api.pages") / "static"
MEDIA_TYPES = {"css": "text/css", "js": "text/javascript"}
SECTIONS = {"answer": "Answer", "runs": "Runs", "sweeps": "Sweeps", "lake": "Lake", "launch": "Launch"}
"""Path below `ROOT` and name of what the navigation leads to, in its order."""
DOCS = ("docs", "API")
"""The last of the navigation: the API's own page."""


def keys_of(names: Mapping[str, str]) -> dict[str, str]:
    """Give each page a key of its own: the first letter of its name that none before it has.

    >>> keys_of({"lake": "Lake", "launch": "Launch"})
    {'lake': 'l', 'launch': 'a'}
    """
    keys: dict[str, str] = {}
    for path, name in names.items():
        keys[path] = next(letter for letter in name.lower() if letter not in keys.values())
    return keys


KEYS = keys_of(SECTIONS | dict([DOCS]))
"""What is pressed after `g` to go to a page."""

ASSET_NAMES = (
    "pages.css",
    "pages.js",
    "trades.js",
    "candles.js",
    "call.js",
    "token.js",
    "run.js",
    "launch.js",
    "sweep.js",
    "lightweight-charts.js",
)
PARTS_OF_REPORTS = {"sheet.css": "report.css", "sweep-sheet.css": "sweep.css", "sweep-sheet.js": "sweep.js"}
"""What the pages share with the tear sheets, and what it is called there."""

OR_NONE = BeforeValidator(lambda text: text or None)
"""For parameters: a form sends its empty fields, too."""

router = APIRouter(include_in_schema=False)

_ENVIRONMENT = environment(PackageLoader("lab_pipeline.api.pages"))


def show(template: str, *, title: str, section: str, code: int = 200, **shown: Any) -> HTMLResponse:  # noqa: ANN401 - whatever the template takes
    """Render a page.

    Args:
        template: file in `templates`, which extends `frame.html`.
        title: of the window, before the name of the lab.
        section: key of `SECTIONS` that is marked in the navigation; empty for none.
        code: HTTP status of the answer.
        shown: what the template takes.
    """
    text = _ENVIRONMENT.get_template(template).render(
        title=title, section=section, sections=SECTIONS, keys=KEYS, root=ROOT, **shown
    )
    return HTMLResponse(text, code, SECURITY)


def wants_page(request: Request) -> bool:
    """Return whether a person opens one of the pages, so that an error is to be one, too."""
    path = request.url.path
    return (path == ROOT or path.startswith(f"{ROOT}/")) and "text/html" in request.headers.get("accept", "")


def error_page(status: int, error: dict[str, Any]) -> HTMLResponse:
    """Say on a page what the API would have answered."""
    return show("error.html", title="Error", section="", code=status, error=error, most=MOST_NAMED)


@router.get("/")
@router.get(ROOT)
async def get_root() -> RedirectResponse:
    """Lead to the first page."""
    return RedirectResponse(f"{ROOT}/{next(iter(SECTIONS))}", 307)


def _serve(name: str) -> None:
    async def get_asset() -> Response:
        media_type = MEDIA_TYPES[name.rpartition(".")[2]]
        return FileResponse(str(ASSETS / name), media_type=media_type, headers=SECURITY)

    router.get(f"{ROOT}/static/{name}")(get_asset)


for _asset in ASSET_NAMES:
    _serve(_asset)


def _serve_part(name: str, template: str) -> None:
    async def get_part() -> Response:
        text = (files("lab_pipeline.reports") / "templates" / template).read_text()
        return Response(text, media_type=MEDIA_TYPES[name.rpartition(".")[2]], headers=SECURITY)

    router.get(f"{ROOT}/static/{name}")(get_part)


for _name, _template in PARTS_OF_REPORTS.items():
    _serve_part(_name, _template)
