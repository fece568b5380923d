"""`lab`: the command line. Each module adds the commands of one noun."""

from lab_pipeline.cli.app import app, main

__all__ = ["app", "main"]
