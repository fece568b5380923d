"""`lab api`: the HTTP API."""

from lab_pipeline.cli.app import app, settings


@app.command("api")
def api() -> None:
    """Serve the HTTP API alone; `lab up` serves it beside Dagster."""
    from lab_pipeline.api.server import serve

    serve(settings())
