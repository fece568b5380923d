"""Read JSON that somebody else wrote: whatever is in it, the answer is a value or a sentence that names the field."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from lab_pipeline.domain.errors import FieldError
from lab_pipeline.domain.text import shortened, shown

DEEPEST = 50
"""Objects and lists within one another."""
LARGEST_INTEGER = 2**63 - 1
LONGEST_INTEGER = 400
"""Digits that are read; a longer one is out of every bound."""

_TOO_DEEP = f"nested too deeply: at most {DEEPEST} objects and lists within one another"


def read_json(text: str | bytes) -> Any:  # noqa: ANN401 - JSON has no narrower type
    """Read a JSON text; `odd_values` says what is wrong with what it holds.

    Raises:
        ValueError: if it is none, or an object names a field twice, saying so.
    """
    try:
        return json.loads(text, object_pairs_hook=_object, parse_int=_integer)
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None


def odd_values(value: object) -> list[FieldError]:
    """Name every value that no document may hold: what is no finite number, no 64-bit integer, no text."""
    return list(_odd_values(value, "", 0))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in made if names.count(name) > 1)
        raise ValueError(f"{shown(twice)} comes more than once in one object")
    return made


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= LONGEST_INTEGER else math.inf


def _odd_values(value: object, path: str, depth: int) -> Iterator[FieldError]:
    if isinstance(value, Mapping | list | tuple):
        if depth == DEEPEST:
            yield FieldError("", _TOO_DEEP)
            return
        for place, part in _parts(value, path):
            yield from _odd_values(part, place, depth + 1)
    elif problem := _problem(value):
        yield FieldError(path, problem)


def _parts(value: Mapping[str, object] | list[object] | tuple[object, ...], path: str) -> Iterator[tuple[str, object]]:
    if not isinstance(value, Mapping):
        yield from ((f"{path}[{index}]", part) for index, part in enumerate(value))
        return
    for name, part in value.items():
        place = f"{path}.{shortened(name)}" if path else shortened(name)
        yield place, part
        if not _is_text(name):
            yield place, name


def _problem(value: object) -> str | None:
    match value:
        case int() if not -LARGEST_INTEGER <= value <= LARGEST_INTEGER:
            return f"must be an integer below 2^63 (got {shown(value)})"
        case float() if not math.isfinite(value):
            return "must be a finite number"
        case str() if not _is_text(value):
            return "holds half a character, a lone surrogate"
    return None


def _is_text(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)
