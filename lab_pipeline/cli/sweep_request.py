"""What `lab sweep run` is asked to do, from a file and from options."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lab_pipeline.domain.errors import LabError
from lab_pipeline.domain.json_text import read_json
from lab_pipeline.sweeps.spec import read_request

RANGE = ".."
SCALES = ("linear", "log")


def request_of(
    file: Path | None,
    given: Mapping[str, Any],
    params: Sequence[str],
    search: Mapping[str, Any],
    validation: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the document of a sweep; what options say comes before what the file says.

    Args:
        file: that says the rest, if there is one.
        given: by field, null where an option was left out.
        params: paths and values, as `--param` has them.
        search: fields of `search`, null as above.
        validation: likewise.

    Raises:
        LabError: if the file cannot be read, or a path is given twice or its values cannot be read.
    """
    request = {} if file is None else read_request(file)
    said = {name: value for name, value in given.items() if value is not None}
    if {"mints", "callers"} & set(said):
        request = {name: value for name, value in request.items() if name not in {"mints", "callers"}}
    request |= said
    for name, fields in (("search", search), ("validation", validation)):
        told = {field: value for field, value in fields.items() if value is not None}
        if told and isinstance(request.setdefault(name, {}), dict):
            request[name] = request[name] | told
    varied: dict[str, Any] = {}
    for text in params:
        path, values = _param(text)
        if path in varied:
            raise LabError(f"--param {path} is given twice: give its values once, such as {path}=0.1,0.2")
        varied[path] = values
    if isinstance(request.setdefault("space", {}), dict):
        request["space"] = request["space"] | varied
    return request


def mention_rule(text: str) -> dict[str, Any]:
    """Read `token:7`; what is no rule is left to the document to refuse, but for its form.

    Raises:
        LabError: if it has none.
    """
    by, _, days = text.partition(":")
    window = _number(days)
    if window is None:
        raise LabError(f"--first-mention {text}: write token:DAYS or caller_token:DAYS")
    return {"by": by, "window_days": window}


def _param(text: str) -> tuple[str, Any]:
    """Read `PATH=VALUES`: values as in a file, `FROM..TO:N:log`, or a list separated by commas."""
    path, equals, values = text.partition("=")
    if not equals or not values.strip():
        raise LabError(
            f"--param {text}: write PATH=VALUES, such as exit.stopLoss=0.05..0.5:10 or exit.stopLoss=0.1,0.2"
        )
    low, dots, rest = values.partition(RANGE)
    if dots and (begin := _number(low)) is not None:
        return path, _range(text, begin, rest)
    try:
        whole = read_json(values)
    except ValueError:
        whole = None
    if isinstance(whole, dict | list):
        return path, whole
    try:
        return path, read_json(f"[{values}]")  # numbers, null, text in quotes, objects
    except ValueError:
        return path, [_value(one.strip()) for one in values.split(",")]


def _range(text: str, begin: float, rest: str) -> dict[str, Any]:
    end, *more = rest.split(":")
    found: dict[str, Any] = {"from": begin, "to": _number(end)}
    for part in more:
        if part in SCALES and "scale" not in found:
            found["scale"] = part
        elif "n" not in found and "scale" not in found:
            found["n"] = _number(part)
        else:
            found["to"] = None
    if None in found.values():
        raise LabError(f"--param {text}: write a range as FROM..TO:N, or FROM..TO:N:log, with numbers")
    return found


def _number(text: str) -> float | None:
    value = _value(text)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _value(text: str) -> Any:  # noqa: ANN401 - JSON has no narrower type
    try:
        return json.loads(text)
    except ValueError:
        return text
