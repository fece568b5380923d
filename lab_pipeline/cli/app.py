"""The root of the command line: what is common to every command."""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from inspect import cleandoc
from itertools import groupby
from typing import TYPE_CHECKING, Any

import typer
import typer.main
from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.text import Text
from typer.core import TyperCommand, TyperGroup

from lab_pipeline import __version__
from lab_pipeline.cli.commands import COMMANDS
from lab_pipeline.cli.tables import TextTable
from lab_pipeline.domain.errors import LabError
from lab_pipeline.domain.text import visible, visible_json

if TYPE_CHECKING:
    from lab_pipeline.operations.lab import Lab
    from lab_pipeline.settings import Settings

RUN_FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130


class WholeHelpGroup(TyperGroup):
    """Commands whose help says of each what it does in whole sentences, where typer cuts them."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401, ARG002 - typer's own copy of click
        """Write what each command does: the first paragraph of its help."""
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, cleandoc(command.help or "").partition("\n\n")[0]) for name, command in self.commands.items()]
            )


class LazyGroup(TyperGroup):
    """Commands whose modules are imported when one of them is called; listing them imports none."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401 - typer's own
        listed = {name: TyperCommand(name, help=known.help) for name, known in COMMANDS.items()}
        super().__init__(**{**attributes, "commands": listed | dict(attributes.get("commands") or {})})

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401, ARG002 - typer's own copy of click
        """Write the commands task by task, in the order in which people come to them."""
        for task, listed in groupby(COMMANDS.items(), lambda one: one[1].task):
            with formatter.section(task):
                formatter.write_dl([(name, known.help) for name, known in listed])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 - typer's own copy of click
        """Import the command that is called, and find it."""
        if args and args[0] in COMMANDS:
            _make_ready()
            for module in COMMANDS[args[0]].modules:
                import_module(f"lab_pipeline.cli.{module}")
            self.commands.update(typer.main.get_group(app).commands)
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="lab",
    cls=LazyGroup,
    help="Trading backtests as data pipelines.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def group(name: str, said: str) -> typer.Typer:
    """Return a new group of commands of `lab`; `said` is its help."""
    made = typer.Typer(cls=WholeHelpGroup, help=said, no_args_is_help=True)
    app.add_typer(made, name=name)
    return made


PIPE_WIDTH = 10_000
"""Columns of a table that goes into a file or another program, where COLUMNS does not say: all that it takes."""


class TextConsole(Console):
    """Prints text literally: no name can move the cursor, clear the screen or reverse a line."""

    def render_str(self, text: str, **options: Any) -> Text:  # noqa: ANN401 - rich's own
        """Lay out whatever is printed as a string, in a sentence or in a table."""
        return super().render_str(visible(text, keep="\n\t"), **options)

    def show_json(self, value: object) -> None:
        """Print a value as JSON that people can read."""
        self.print(JSONHighlighter()(visible_json(value, indent=2)))


# No markup and no emoji codes: names of callers, strategies and paths are text, whatever is in them.
out = TextConsole(
    highlight=False,
    markup=False,
    emoji=False,
    soft_wrap=True,
    width=None if sys.stdout.isatty() or os.environ.get("COLUMNS") else PIPE_WIDTH,
)
err = TextConsole(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)


def carry_out() -> None:
    """Run a command here; a mistake of the user gives one message, no traceback, and exit status 2."""
    try:
        app()
    except LabError as error:
        err.print(f"error: {error}", style="red")
        sys.exit(BAD_INPUT)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader, such as `head`, has enough; nothing more to flush
        sys.exit(0)
    except Exception as error:
        from lab_pipeline.files.disk_errors import system_trouble

        reason = system_trouble(error, settings().home)
        if reason is None:
            raise  # a mistake of ours
        err.print(f"error: {reason}", style="red")
        sys.exit(BAD_INPUT)


def _make_ready() -> None:
    """Make new files private to the user, and set the libraries' directories before anything imports them."""
    from lab_pipeline.settings import PRIVATE, load_settings, places_of_libraries

    os.umask(PRIVATE)
    with suppress(LabError):  # of a wrong setting the command tells
        os.environ |= places_of_libraries(load_settings().home)


def settings() -> "Settings":
    """Return the settings of this process; a home that is open to others is closed."""
    from lab_pipeline.settings import keep_private, load_settings

    found = load_settings()
    keep_private(found.home)
    return found


def open_lab() -> "Lab":
    """Return the lab of this process; a `with` closes what is opened of it."""
    from lab_pipeline.operations.lab import Lab

    return Lab(settings())


def table(*columns: str, right: Sequence[str] = (), prose: Sequence[str] = (), drop: Sequence[str] = ()) -> TextTable:
    """Start a table.

    Args:
        columns: their headings.
        right: those of numbers.
        prose: those whose cells may be broken between words.
        drop: those that go where there is no room, the least important first.
    """
    return TextTable(columns, right=right, prose=prose, drop=drop)


def _version(show: bool) -> None:
    if show:
        out.print(f"lab_pipeline {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None: ...
