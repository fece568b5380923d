"""`lab mcp`: the lab as tools for agents."""

import importlib.util
from typing import Annotated

import typer

from lab_pipeline.cli.app import app, settings
from lab_pipeline.domain.errors import LabError


@app.command("mcp")
def mcp(
    allow_changes: Annotated[
        bool,
        typer.Option("--allow-changes", help="Add tools that launch and cancel, promote sets, write notes and pin."),
    ] = False,
) -> None:
    """Serve the lab as tools for agents (MCP) on standard input and output; they change nothing by default."""
    if importlib.util.find_spec("mcp") is None:
        raise LabError("`lab mcp` needs the library: pip install 'lab-pipeline[mcp]'")
    from lab_pipeline.api.agents import serve
    from lab_pipeline.storage.catalog_file import open_catalog

    open_catalog(settings().catalog_path)  # one of a later version is refused in one line, before there is a server
    serve(settings(), allow_changes=allow_changes)
