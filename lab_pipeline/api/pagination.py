"""Pages: limits, cursors, and query parameters in general."""

import base64
import binascii
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Query, Request
from fastapi.routing import APIRoute
from pydantic import BaseModel

from lab_pipeline.domain.errors import FieldError, InvalidConfigError
from lab_pipeline.domain.json_text import odd_values, read_json

if TYPE_CHECKING:
    from fastapi.dependencies.models import Dependant

PAGE = 50
LONGEST_PAGE = 100

Limit = Annotated[int, Query(ge=1, le=LONGEST_PAGE, description="Rows at most.")]
Cursor = Annotated[
    str | None,
    Query(
        max_length=1024,
        description="`nextCursor` of the page before, as it was; the other parameters stay as they were.",
    ),
]


def encode_cursor(kind: str, *position: str | int) -> str:
    """Write the place after a row so that clients take it for what it is: opaque.

    Args:
        kind: of the list; a cursor of one list is none of another.
        position: what the list is ordered by, unique together.
    """
    text = json.dumps([kind, *position], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_cursor(kind: str, cursor: str, *types: type[str] | type[int]) -> list[Any]:
    """Read what `encode_cursor` wrote.

    Raises:
        InvalidConfigError: if it is none of this list's cursors.
    """
    try:
        found = read_json(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError):
        found = None
    if (
        not isinstance(found, list)
        or [type(part) for part in found] != [str, *types]
        or found[0] != kind
        or odd_values(found)
    ):
        raise InvalidConfigError("the request", [FieldError("cursor", "is no cursor of this list")])
    return found[1:]


async def refuse_unknown_parameters(request: Request) -> None:
    """Refuse query parameters that the route does not have, and a second value where it takes one.

    Raises:
        InvalidConfigError: naming each.
    """
    known = _parameters(request.scope["route"])
    problems = [
        FieldError(name, "is given more than once" if name in known else f"unknown parameter: {_has(known)}")
        for name in dict.fromkeys(request.query_params)
        if name not in known or (not known[name] and len(request.query_params.getlist(name)) > 1)
    ]
    if problems:
        raise InvalidConfigError("the request", problems)


def _has(known: dict[str, bool]) -> str:
    return f"there are {', '.join(sorted(known))}" if known else "there are none"


def _parameters(route: APIRoute) -> dict[str, bool]:
    """Return the names of a route's query parameters, and whether each may be repeated."""
    if route.endpoint in _known_parameters:
        return _known_parameters[route.endpoint]
    found = _known_parameters.setdefault(route.endpoint, {})
    left: list[Dependant] = [route.dependant]
    while left:
        dependant = left.pop()
        left += dependant.dependencies
        for field in dependant.query_params:
            kind = field.field_info.annotation
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                found |= {
                    part.alias or name: "list" in str(part.annotation) for name, part in kind.model_fields.items()
                }
            else:
                found[field.alias] = "list" in str(kind)
    return found


_known_parameters: dict[Callable[..., Any], dict[str, bool]] = {}
"""By the function of a route."""
