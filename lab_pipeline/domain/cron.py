"""When something happens again and again: five fields, as crontab writes them."""

import re
from typing import Annotated

from pydantic import AfterValidator

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 7, _DAYS),
)


def check_cron(text: str) -> str:
    """Return the text if it is a schedule.

    Raises:
        ValueError: naming the field that is wrong.

    >>> check_cron("*/15 6-22 * * mon-fri")
    '*/15 6-22 * * mon-fri'
    """
    fields = text.split()
    if len(fields) != len(_FIELDS):
        raise ValueError(
            f"write five fields (minute, hour, day of month, month, day of week) such as '0 * * * *', not {text!r}"
        )
    for field, (name, low, high, names) in zip(fields, _FIELDS, strict=True):
        for part in field.split(","):
            if not _is_part(part, low, high, names):
                raise ValueError(f"{part!r} is no {name}: write *, a number from {low} to {high}, a range or a step")
    return text


def _is_part(part: str, low: int, high: int, names: tuple[str, ...]) -> bool:
    match = re.fullmatch(r"(\*|\w+)(?:-(\w+))?(?:/([1-9]\d?))?", part, re.ASCII)
    if not match or (match[1] == "*" and match[2]) or (match[3] and match[1] != "*" and not match[2]):
        return False
    if match[1] == "*":
        return True
    first, last = (_value(edge, names, low) for edge in (match[1], match[2] or match[1]))
    return first is not None and last is not None and low <= first <= last <= high


def _value(text: str, names: tuple[str, ...], low: int) -> int | None:
    if text.isdecimal():
        return int(text)
    return names.index(text.lower()) + low if text.lower() in names else None


Cron = Annotated[str, AfterValidator(check_cron)]
