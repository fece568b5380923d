"""What can be wrong with files that are brought into the lake."""

from collections.abc import Sequence
from dataclasses import dataclass

from lab_pipeline.domain.errors import LabError

VIOLATIONS_SHOWN = 20


class LakeError(LabError):
    """The lake cannot do what was asked; nothing in it was changed."""


class LakeDamagedError(LakeError):
    """Rows that were ingested are lost, or cannot be read."""


class LakeUnwritableError(LakeError):
    """The disk does not take what is right with the rows; the same may succeed later."""


@dataclass(frozen=True)
class Violation:
    """One value that breaks a rule.

    Attributes:
        file: name of the file as it was given, or ``frame``.
        row: where in the file: ``line 7`` of a CSV (the header is line 1), ``row 6`` (from 0) of Parquet or a frame.
        column: column under its canonical name.
        value: the value as it stands in the file.
        rule: the rule that it breaks.
    """

    file: str
    row: str
    column: str
    value: str
    rule: str

    def __str__(self) -> str:
        return f"{self.file}, {self.row}, {self.column}: {self.rule}, found {self.value}"


class IngestError(LakeError):
    """Rows break the rules, so nothing was written.

    Attributes:
        violations: the first of them.
        total: how many there are.
    """

    def __init__(self, violations: Sequence[Violation], total: int, hint: str = "") -> None:
        self.violations = tuple(violations[:VIOLATIONS_SHOWN])
        self.total = total
        shown = f", the first {len(self.violations)} are" if total > len(self.violations) else ""
        problems = f"{total:,} problem{'s' if total > 1 else ''}"
        lines = "\n".join(f"  {violation}" for violation in self.violations)
        super().__init__(f"nothing was ingested: {problems}{shown}\n{lines}" + (f"\n{hint}" if hint else ""))
