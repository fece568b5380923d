"""The word on a winner: supported, or what failed and what could not be said."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Part(StrEnum):
    """What a winner has to pass, in the order in which it is told."""

    DSR = "dsr"
    PBO = "pbo"
    SPA = "spa"
    PLACEBO = "placebo"
    OUT_OF_SAMPLE = "oos"
    PLATEAU = "plateau"
    LANES = "lanes"


@dataclass(frozen=True)
class Rule:
    """What a part wants.

    Attributes:
        bound: that the figure is held against.
        sign: 1 where it must be at least the bound, -1 where at most, 0 where above it.
        title: of the figure, in words.
        doubt: what it means if it fails.
    """

    bound: float
    sign: int
    title: str
    doubt: str

    def admits(self, value: float) -> bool:
        """Say whether a figure passes; what is no number does not."""
        return value > self.bound if self.sign == 0 else (value - self.bound) * self.sign >= 0.0

    @property
    def wanted(self) -> str:
        """The bound in words."""
        return f"{('above', 'at least', 'at most')[self.sign]} {self.bound:g}"


RULES: Mapping[Part, Rule] = {
    Part.DSR: Rule(0.95, 1, "deflated Sharpe ratio", "not distinguishable from the luck of that many tries"),
    Part.PBO: Rule(0.2, -1, "probability of overfitting", "what wins on half of the days loses rank on the other half"),
    Part.SPA: Rule(
        0.05, -1, "superior ability, p", "the best of sets that are no better than cash would look like this"
    ),
    Part.PLACEBO: Rule(0.05, -1, "placebo, p", "the same search finds as much where nothing is to be found"),
    Part.OUT_OF_SAMPLE: Rule(0.0, 0, "mean net return out of sample", "no gain on days that the choice had not seen"),
    Part.PLATEAU: Rule(0.5, 1, "plateau by peak", "no neighbourhood of sets comes near the peak"),
    Part.LANES: Rule(0.0, 0, "mean net return in the worst lane", "no gain under worse costs or a later entry"),
}


@dataclass(frozen=True)
class Finding:
    """One part of the verdict.

    Attributes:
        part: which.
        value: its figure; no number where it could not be said.
        passed: whether it admits the winner; false where it could not be said.
        unsaid: why it could not be said, else empty.
    """

    part: Part
    value: float
    passed: bool
    unsaid: str = ""

    @property
    def words(self) -> str:
        """The part in a few words."""
        rule = RULES[self.part]
        if self.unsaid:
            return f"{rule.title}: not said, {self.unsaid}"
        if math.isnan(self.value):
            return f"{rule.title} does not exist: {rule.doubt}"
        told = f"{rule.title} {self.value:.3g}, wanted {rule.wanted}"
        return told if self.passed else f"{told}: {rule.doubt}"


@dataclass(frozen=True)
class Verdict:
    """All parts together.

    Attributes:
        findings: every part once, in the order of `Part`; empty where no set could win.
    """

    findings: tuple[Finding, ...] = ()

    @property
    def supported(self) -> bool:
        """Whether every part was said and admits the winner."""
        return bool(self.findings) and all(finding.passed for finding in self.findings)

    @property
    def failed(self) -> tuple[Part, ...]:
        """Parts that were said and do not admit the winner."""
        return tuple(finding.part for finding in self.findings if not finding.passed and not finding.unsaid)

    @property
    def unsaid(self) -> tuple[Part, ...]:
        """Parts that could not be said."""
        return tuple(finding.part for finding in self.findings if finding.unsaid)

    @property
    def words(self) -> str:
        """The verdict in words."""
        if not self.findings:
            return "not supported: no set has enough trades, days and callers to win"
        if self.supported:
            return "supported"
        doubts = [finding.words for finding in self.findings if not finding.passed]
        return "not supported: " + "; ".join(doubts)


def judge(parts: Mapping[Part, float | str]) -> Verdict:
    """Return the verdict on a winner.

    Args:
        parts: figure of each part, or why it could not be said.

    Raises:
        ValueError: a part is missing.
    """
    if parts.keys() != set(Part):
        raise ValueError("verdict: every part must have either a figure or a reason why it has none")
    return Verdict(tuple(_finding(part, parts[part]) for part in Part))


def _finding(part: Part, told: float | str) -> Finding:
    if isinstance(told, str):
        return Finding(part, math.nan, passed=False, unsaid=told)
    return Finding(part, told, passed=RULES[part].admits(told))
