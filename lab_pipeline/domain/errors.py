"""Errors that a user can cause; every command line and op prints their text and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass

MOST_NAMED = 10
"""Wrong fields that an error names; it says how many there are."""
LONGEST_NAMED = 300
"""Characters that it says about one."""


class LabError(Exception):
    """Say what was wrong, where, and what to do; shown to the user without a traceback."""


class ConflictError(LabError):
    """What is asked for does not fit the state that the thing is in."""


@dataclass(frozen=True)
class FieldError:
    """One wrong field of a document.

    Attributes:
        path: where in the JSON document, such as ``exit.targets[1].multiple``.
        message: what is wrong with it.
    """

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


def shortened(text: str, most: int = LONGEST_NAMED) -> str:
    """Return a text, or its beginning and how long it is.

    >>> shortened("x" * 1000)[-31:]
    'xxxxxxxxx... (1,000 characters)'
    """
    return text if len(text) <= most else f"{text[:most]}... ({len(text):,} characters)"


def listed(errors: Sequence[FieldError]) -> str:
    """Write wrong fields one after another: the first ones, and how many there are where there are more.

    >>> listed([FieldError("seed", "missing"), FieldError("range", "missing")])
    'seed: missing; range: missing'
    >>> listed([FieldError("seed", "missing")] * 1000)[-35:]
    'seed: missing; ... (1,000 in total)'
    """
    named = [shortened(str(error)) for error in errors[:MOST_NAMED]]
    if len(errors) > MOST_NAMED:
        named.append(f"... ({len(errors):,} in total)")
    return "; ".join(named)


class InvalidConfigError(LabError):
    """A strategy or backtest document breaks its rules; `errors` has every field that does, its text the first ones."""

    def __init__(self, subject: str, errors: Sequence[FieldError]) -> None:
        self.subject = subject
        self.errors = tuple(errors)
        super().__init__(f"{subject} is not valid: {listed(self.errors)}")


def later_layout(what: str, layout: int, known: int) -> str:
    """Say that a store was written by a later version of the lab, and what to do.

    >>> later_layout("the lake", 3, 1)
    'the lake was written in layout 3 by a later version, this one knows them up to 1: update it'
    """
    return f"{what} was written in layout {layout} by a later version, this one knows them up to {known}: update it"
