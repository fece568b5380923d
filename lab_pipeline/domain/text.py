"""What somebody named, as text: nothing in it acts on a terminal, a line of a log, a page or a spreadsheet."""

import json
import unicodedata
from typing import Any

ACTING = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode's categories of what is no text: controls, formats (bidirectional, invisible), surrogates, separators."""
LONGEST_SHOWN = 80
"""Characters of a wrong value that a message repeats."""
FORMULA = r"^'*[=+\-@\t\r\n\x{ff1d}\x{ff0b}\x{ff0d}\x{ff20}]"
"""How a cell begins that spreadsheets may calculate (polars' notation): with what a formula begins with, in full width,
too. Apostrophes before it count, so that taking one away gives every text back."""


def visible(text: str, *, keep: str = "") -> str:
    r"""Write every character that is no text as its escape; letters of all alphabets stay.

    Args:
        text: whatever somebody named.
        keep: what may stay all the same, such as the newline in a stack.

    >>> visible("Zoë\x1b[2J\u202e\n")
    'Zoë\\x1b[2J\\u202e\\n'
    """
    if text.isprintable():
        return text
    return "".join(
        _escaped(character) if unicodedata.category(character) in ACTING and character not in keep else character
        for character in text
    )


def visible_json(value: object, *, indent: int | None = None) -> str:
    """Write JSON that holds the value exactly, in which what is no text is escaped."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    if text.isprintable():
        return text
    return "".join(
        json.dumps(character)[1:-1] if unicodedata.category(character) in ACTING and character != "\n" else character
        for character in text
    )


def shown(value: Any) -> str:  # noqa: ANN401 - whatever somebody wrote
    r"""Write a wrong value for a message: on one line, and not at any length.

    >>> shown("a\nb"), shown(10**40)
    ("'a\\nb'", '10000000000000000000000000000000000000000')
    """
    if isinstance(value, str):
        return visible(repr(shortened(value)))
    if isinstance(value, int) and value.bit_length() > 4 * LONGEST_SHOWN:  # Python refuses to write long ones
        return "a longer number"
    return visible(repr(value))


def shortened(text: str) -> str:
    """Cut off what no message needs."""
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode()
