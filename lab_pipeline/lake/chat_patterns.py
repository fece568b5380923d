"""What is a call in a message, as data: the patterns that ship, extended by a file of the user's."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field

from lab_pipeline.domain.model import Document
from lab_pipeline.lake.people import read_yaml
from lab_pipeline.lake.sniffing import plain

OURS = Path(__file__).with_name("chat_patterns.yaml")
MOST_PATTERNS = 1_000
MOST_ADDRESSES = 100_000
MOST_TOKENS = 1_000
MOST_MINUTES = 1_000_000
SOLANA = "[1-9A-HJ-NP-Za-km-z]{32,44}"
EVM = "0x[0-9a-fA-F]{40}"
NUMBER = (
    r"\$?[^\S\n]?(?:0\.0[₀-₉]+\d+|0\.0\{\d{1,2}\}\d+|\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d*\.?\d+(?:e-?\d+)?)(?!\.?\d)"
    r"(?:[^\S\n]?(?:[kmb]|x)(?![a-z0-9])|[^\S\n]?%)?"
)
"""A price as people write it: with digits in groups, the zeros after the point counted, a unit behind it."""
NUMBERS = rf"{NUMBER}(?:[^\S\n]*(?:[/|;\u2013\u2014-]|,|and|to)[^\S\n]*{NUMBER})*"
PLACEHOLDERS = {"{solana}": f"(?-i:{SOLANA})", "{evm}": EVM, "{numbers}": NUMBERS, "{number}": NUMBER}


def compiled(pattern: str) -> re.Pattern[str]:
    """Compile a pattern, its placeholders filled in."""
    for name, meaning in PLACEHOLDERS.items():
        pattern = pattern.replace(name, meaning)
    return re.compile(pattern, re.IGNORECASE | re.MULTILINE)


def _is_pattern(text: str) -> str:
    try:
        compiled(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"is no regular expression: {error}") from None
    return text


def not_a_zone(text: str) -> str | None:
    """Say that a text is no time zone; null if it is one."""
    try:
        ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        return f"'{plain(text)}' is no time zone: write one such as Europe/Berlin"
    return None


def _is_zone(text: str) -> str:
    if wrong := not_a_zone(text):
        raise ValueError(wrong)
    return text


Regex = Annotated[str, Field(min_length=1), AfterValidator(_is_pattern)]


class Pattern(Document):
    """One pattern."""

    pattern: Regex
    """Regular expression with the groups that its list asks for."""
    chain: Annotated[str, Field(max_length=100)] | None = None
    """Network of the addresses that it finds."""
    item: Regex | None = None
    """Pattern of one number within what the first found."""


Patterned = Annotated[tuple[Pattern, ...], Field(max_length=MOST_PATTERNS)]
ChatType = Annotated[str, Field(max_length=100)]


class Patterns(Document):
    """What the YAML says; a file of the user's has any of these fields."""

    caller: Annotated[tuple[Literal["author", "forwarded_from", "from"], ...], Field(min_length=1, max_length=3)]
    """Of these, the first that a message has is the caller."""
    chat_types: Annotated[tuple[ChatType, ...], Field(max_length=100)]
    """Which chats of an export of all are read."""
    most_tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)]
    """Tokens that a call may name."""
    edited_after_minutes: Annotated[float, Field(ge=0, le=MOST_MINUTES)]
    """Levels of messages that were changed later are left out."""
    zone: Annotated[str, AfterValidator(_is_zone)] | None
    """Of messages with their local time alone."""
    addresses: Patterned
    """Group `token`."""
    links: Patterned
    """Groups `token`, `pool`, `either`, `chain`."""
    chains: Annotated[dict[str, str], Field(max_length=MOST_PATTERNS)]
    """Names of networks as links have them, and ours."""
    not_tokens: Annotated[tuple[str, ...], Field(max_length=MOST_ADDRESSES)]
    """Addresses that are no calls."""
    entry: Patterned
    """Group `prices`, like the following."""
    targets: Patterned
    stop: Patterned
    price: Patterned
    market_cap: Patterned
    liquidity: Patterned
    long: Patterned
    """Words that say so."""
    short: Patterned


def read_patterns(path: Path | None = None) -> Patterns:
    """Read the patterns that ship, extended by a file: its lists come first, its single values replace ours.

    Raises:
        LakeError: if the file is no YAML; InvalidConfigError, naming the path of every field that is wrong.
    """
    ours = _ours()
    if path is None:
        return Patterns.parse(ours, subject=OURS.name)
    return Patterns.parse(extended(ours, read_yaml(path)), subject=str(path))


def extended(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Put the values of a user's file to those that ship."""
    merged = dict(ours)
    for name, value in theirs.items():
        known = ours.get(name)
        if isinstance(value, list) and isinstance(known, list) and name not in REPLACED:
            merged[name] = value + known
        elif isinstance(value, dict) and isinstance(known, dict):
            merged[name] = known | value
        else:
            merged[name] = value
    return merged


REPLACED = ("caller", "chatTypes")
"""Lists that are choices: those of a user take the place of ours."""


@cache
def _ours() -> dict[str, Any]:
    return read_yaml(OURS)
