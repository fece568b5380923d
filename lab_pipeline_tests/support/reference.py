"""Write the reference pages and the pictures of docs/ from the code: `make docs`."""

import enum
from importlib import import_module
from itertools import groupby
from pathlib import Path

import typer.main

from lab_pipeline.cli.app import app
from lab_pipeline.cli.commands import COMMANDS
from lab_pipeline.settings import PREFIX, Settings
from lab_pipeline_tests.support.pictures import PICTURES, draw

DOCS = Path(__file__).resolve().parents[2] / "docs"
GENERATED = "<!-- Written by `make docs`. Change the code, not this page. -->"
CLI = """\
# Command line

`lab --help` and `lab COMMAND --help` print the same in a terminal. `lab` is in `.venv/bin`;
`source .venv/bin/activate` puts it on the path.

Exit status: 0 for success, 1 if the run failed or a check found something, 2 for bad usage or bad input, with one line
that says what to do. `--json` prints one JSON object with camelCase keys on standard output, and nothing else there.
Run ids may be shortened to an unambiguous beginning.

Tables fit the terminal: no word is broken, and where there is no room the columns that matter least are left out and
named below. In a pipe or file they are as wide as they need to be, unless `COLUMNS` says otherwise; progress is then a
plain line every ten seconds on standard error.

`lab --install-completion` teaches the shell that you use (bash, zsh, fish, PowerShell) to complete commands and options
with the tab key, from its next start on; `lab --show-completion` prints what that would add.

| to | run |
|---|---|
{tasks}
"""
SETTINGS = """\
# Settings

All settings are environment variables. An empty variable counts as unset. `lab settings` prints each with its value
and where the value comes from; `lab doctor` names variables that begin with `LAB_` and are no setting.
[Operations](operations.md#settings-in-practice) says what else to know about them. Cron expressions are minute, hour,
day of month, month and day of week.

| variable | default | meaning |
|---|---|---|
"""


def command_line_page():
    """Return docs/cli.md: what `--help` says of every command, argument and option."""
    sections = [f"## `{' '.join(words)}`\n\n{_described(command, words)}" for words, command in commands()]
    tasks = [
        f"| {task[:1].lower()}{task[1:]} | {', '.join(f'`lab {name}`' for name, _ in listed)} |"
        for task, listed in groupby(COMMANDS.items(), lambda one: one[1].task)
    ]
    return "\n".join([GENERATED, CLI.format(tasks="\n".join(tasks)), *sections])


def settings_page():
    """Return docs/settings.md: every setting with its default and its help."""
    rows = [
        f"| `{PREFIX}{name.upper()}` | {_default(field.default)} | {_cell(field.description or '')} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join([GENERATED, SETTINGS + "\n".join(rows), ""])


def commands(group=None, words=("lab",)):
    """Yield the words and the click command of every command that does something."""
    if group is None:
        for module in dict.fromkeys(module for listed in COMMANDS.values() for module in listed.modules):
            import_module(f"lab_pipeline.cli.{module}")  # adds its commands
        group = typer.main.get_command(app)
    known = group.commands
    for name in [name for name in COMMANDS if name in known] if words == ("lab",) else known:
        if hasattr(known[name], "commands"):
            yield from commands(known[name], (*words, name))
        else:
            yield (*words, name), known[name]


def _described(command, words):
    context = command.context_class(command, info_name=" ".join(words))
    usage = f"```console\n$ {' '.join([*words, *command.collect_usage_pieces(context)])}\n```\n"
    parameters = [parameter.get_help_record(context) for parameter in command.get_params(context)]
    rows = [f"| `{_cell(name)}` | {_cell(help_)} |" for name, help_ in filter(None, parameters) if name != "--help"]
    table = ["| argument or option | meaning |", "|---|---|", *rows, ""] if rows else []
    return "\n".join([" ".join(command.help.split()), "", usage, *table])


def _default(value):
    if isinstance(value, enum.Enum):
        value = value.value
    return f"`{value}`" if isinstance(value, str | int | float) else ""


def _cell(text):
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    (DOCS / "cli.md").write_text(command_line_page())
    (DOCS / "settings.md").write_text(settings_page())
    (DOCS / "pictures").mkdir(exist_ok=True)
    for picture in PICTURES:
        (DOCS / "pictures" / f"{picture}.svg").write_text(draw(picture))
