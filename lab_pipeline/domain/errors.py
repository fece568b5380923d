"""Errors that a user can cause; every command line and op prints their text and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass


class LabError(Exception):
    """Say what was wrong, where, and what to do; shown to the user without a traceback."""


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


class InvalidConfigError(LabError):
    """A strategy or backtest document breaks its rules; `errors` names every field that does."""

    def __init__(self, subject: str, errors: Sequence[FieldError]) -> None:
        self.subject = subject
        self.errors = tuple(errors)
        super().__init__(f"{subject} is not valid: " + "; ".join(map(str, self.errors)))


def later_layout(what: str, layout: int, known: int) -> str:
    """Say that a store was written by a later version of the lab, and what to do.

    >>> later_layout("the lake", 3, 1)
    'the lake was written in layout 3 by a later version, this one knows them up to 1: update it'
    """
    return f"{what} was written in layout {layout} by a later version, this one knows them up to {known}: update it"
