"""The page to try the API on; everything that it loads is served here, so it works without the internet."""

from importlib.resources import files
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse, HTMLResponse

ASSETS = files("fastapi_offline") / "static"  # of Swagger UI 5, which knows OpenAPI 3.1
SECURITY = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>lab_pipeline</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
START = """SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#ui",
  deepLinking: true,
  validatorUrl: null,
});
"""

router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def get_page() -> HTMLResponse:
    """Return the page."""
    return HTMLResponse(PAGE, headers=SECURITY)


@router.get("/docs/start.js")
async def get_start() -> Response:
    """Return what starts it, which a page may not hold itself where its policy allows no script of its own."""
    return Response(START, media_type="text/javascript", headers=SECURITY)


def _serve(name: str, media_type: str) -> Any:  # noqa: ANN401 - a route
    async def get_asset() -> FileResponse:
        return FileResponse(str(ASSETS / name), media_type=media_type, headers=SECURITY)

    return router.get(f"/docs/{name}")(get_asset)


for _name, _media_type in (("swagger-ui-bundle.js", "text/javascript"), ("swagger-ui.css", "text/css")):
    _serve(_name, _media_type)
