"""The Dagster instance of a lab."""

import os
from pathlib import Path

import dagster as dg
from sqlalchemy.exc import SQLAlchemyError

from lab_pipeline.domain.errors import LabError
from lab_pipeline.settings import Settings, project_root

CONFIG = "dagster.yaml"


def prepare_environment(settings: Settings) -> dict[str, str]:
    """Make the home directory and return the variables that every Dagster process of this lab needs.

    LAB_HOME/dagster/dagster.yaml becomes a link to the project's own file; one that a user put there stays.

    Raises:
        LabError: if the home directory cannot be made or written.
    """
    dagster_home = settings.dagster_home
    try:
        dagster_home.mkdir(parents=True, exist_ok=True)
        _link(dagster_home / CONFIG, project_root() / CONFIG)
    except OSError as error:
        raise LabError(f"cannot use {settings.home} as LAB_HOME: {error.strerror}. Set LAB_HOME elsewhere.") from error
    return {"LAB_HOME": str(settings.home), "DAGSTER_HOME": str(dagster_home)}


def open_instance(settings: Settings) -> dg.DagsterInstance:
    """Open the lab's Dagster instance, for this process and those it starts."""
    os.environ.update(prepare_environment(settings))
    try:
        return dg.DagsterInstance.get()
    except (OSError, SQLAlchemyError) as error:
        reason = str(error).splitlines()[0]
        raise LabError(f"cannot open Dagster's storage in {settings.dagster_home}: {reason}") from error


def _link(link: Path, target: Path) -> None:
    if link.is_symlink() and link.readlink() != target:
        link.unlink()
    if not link.exists():
        try:
            link.symlink_to(target)
        except FileExistsError:
            return  # another process of the lab was faster
