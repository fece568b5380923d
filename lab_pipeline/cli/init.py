"""`lab init`: a Dagster project of one's own on top of the lab."""

import re
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from lab_pipeline.cli.app import app, out
from lab_pipeline.domain.errors import LabError

TEMPLATES = Path(__file__).parent / "project"
TEMPLATE = ".in"
"""The suffix of templates, so that they are not taken for modules or projects of this one."""
BESIDE = {"pyproject.toml", "README.md", "strategies"}
"""What stands beside the package of a project; all else is in it."""
NAME = re.compile(r"[a-z][a-z0-9_]*")


@app.command("init")
def init(
    directory: Annotated[Path, typer.Argument(help="Of the project; its name is that of the package.", metavar="DIR")],
) -> None:
    """Write a small Dagster project that adds assets, schedules and strategies of your own to the lab."""
    root = directory.absolute()
    name = root.name.replace("-", "_")
    if not NAME.fullmatch(name) or name == "lab_pipeline":
        raise LabError(f"{root.name!r} cannot name a package: write small letters, digits and _, such as my_lab")
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise LabError(f"{root} is not empty: name a directory that is new")
    for template in sorted(TEMPLATES.rglob(f"*{TEMPLATE}")):
        inside = template.relative_to(TEMPLATES)
        target = root / ("" if inside.parts[0].removesuffix(TEMPLATE) in BESIDE else name) / inside.with_suffix("")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(Template(template.read_text()).substitute(name=name, directory=root.name))
    for package in (root / name, root / name / "defs"):
        (package / "__init__.py").touch()
    out.print(
        f"{root} is a Dagster project on top of the lab. In it:\n"
        f"  pip install -e .                                  its own code, where Dagster finds it\n"
        f"  dg check defs                                     whether its definitions load\n"
        f"  lab strategies add strategies/first.json          a strategy of your own\n"
        f"  LAB_DEFINITIONS={name}.definitions lab up",
        markup=False,
    )
