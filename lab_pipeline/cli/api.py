"""`lab api`: the HTTP API."""

from typing import Annotated

import typer

from lab_pipeline.cli.app import app, settings


@app.command("api")
def api(
    ship_logs: Annotated[
        bool, typer.Option("--ship-logs", help="Do what `lab clickhouse ship` does, in the same process.")
    ] = False,
) -> None:
    """Serve the HTTP API alone; `lab up` serves it beside Dagster."""
    from lab_pipeline.api.server import serve
    from lab_pipeline.storage.catalog_file import open_catalog

    open_catalog(settings().catalog_path)  # one of a later version is refused in one line, before there is a server
    serve(settings(), ship_logs=ship_logs)
