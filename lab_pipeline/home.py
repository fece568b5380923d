"""Where the lab is on disk, for who cannot wait until `settings` is loaded."""

import os
from pathlib import Path


def project_root() -> Path:
    """Return the directory that holds dagster.yaml and workspace.yaml: the checkout, or else the installed package."""
    package = Path(__file__).resolve().parent
    return package.parent if (package.parent / "dagster.yaml").is_file() else package


def default_home() -> Path:
    """Return `.lab` beside the nearest dagster.yaml from here upwards, or in this directory where there is none."""
    here = Path.cwd()
    for directory in (here, *here.parents):
        if (directory / "dagster.yaml").is_file():
            return directory / ".lab"
    return here / ".lab"


def dagster_home() -> Path:
    """Return Dagster's directory in LAB_HOME, as `Settings.dagster_home` does of a value that can be used."""
    home = Path(os.environ.get("LAB_HOME") or default_home())
    return home.expanduser().absolute() / "dagster"
