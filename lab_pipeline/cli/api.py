"""`lab api`: the HTTP API."""

from lab_pipeline.cli.app import app, settings


@app.command("api")
def api() -> None:
    """Serve the HTTP API alone; `lab up` serves it beside Dagster."""
    from lab_pipeline.api.server import serve
    from lab_pipeline.storage.catalog_file import open_catalog

    open_catalog(settings().catalog_path)  # one of a later version is refused in one line, before there is a server
    serve(settings())
