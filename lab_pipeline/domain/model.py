"""The base of every document: frozen, strict, camelCase in JSON, errors that name the path."""

import json
from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from lab_pipeline.domain.errors import FieldError, InvalidConfigError
from lab_pipeline.domain.json_text import odd_values, read_json
from lab_pipeline.domain.text import shortened, shown

TAGGED_UNIONS = ("sizing", "universe", "impact", "stopLoss", "distance")
TAGGED_LISTS = ("all", "any", "in")
"""Fields whose value, or whose items, are one of several variants."""
LONGEST_TEXT = 10_000
"""Characters of any text in a document."""


class Document(BaseModel):
    """A frozen, strictly typed document; unknown keys are errors.

    Python names are snake_case, JSON names camelCase. Numbers must be finite numbers, never numeric text.
    """

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        allow_inf_nan=False,
        str_max_length=LONGEST_TEXT,
        use_attribute_docstrings=True,
    )

    @classmethod
    def parse(cls, data: Mapping[str, Any] | str | bytes, *, subject: str | None = None) -> Self:
        """Read a document from JSON text or from what `json.loads` made of it.

        Raises:
            InvalidConfigError: naming `subject` and, for every offending field, its path and what is wrong.
        """
        name = subject or cls.__name__.lower()
        try:
            value = read_json(data) if isinstance(data, str | bytes) else data
        except ValueError as error:
            raise InvalidConfigError(name, [FieldError("", f"not valid JSON: {error}")]) from None
        if problems := odd_values(value):
            raise InvalidConfigError(name, problems)
        return cls.of_plain(value, subject=name)

    @classmethod
    def of_plain(cls, value: Mapping[str, Any], *, subject: str | None = None) -> Self:
        """Read a document of values in which `odd_values` finds nothing; errors as of `parse`."""
        try:
            return cls.model_validate_json(json.dumps(value), by_alias=True, by_name=False)
        except ValidationError as error:
            raise InvalidConfigError(subject or cls.__name__.lower(), field_errors(error)) from None

    def to_json_dict(self) -> dict[str, Any]:
        """Return the document as JSON types under its JSON (camelCase) names."""
        return self.model_dump(mode="json", by_alias=True)


class Record(BaseModel):
    """A frozen, strictly typed entry of a file that sits beside Parquet columns: its JSON names are snake_case."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        validate_by_name=True,
        validate_by_alias=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


def problem_at(path: str, message: str) -> PydanticCustomError:
    """Make the error that a validator over several fields raises: `path` (JSON names) is relative to its model."""
    return PydanticCustomError("problem_at", "{message}", {"path": path, "message": message})


def canonical_json(value: object) -> bytes:
    """Serialise to the one byte string that equal values share: sorted keys, no spaces, no NaN, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def to_camel_keys(record: Mapping[str, Any]) -> dict[str, Any]:
    """Give the fields of a record their JSON (camelCase) names."""
    return {to_camel(key): value for key, value in record.items()}


def field_errors(error: ValidationError) -> list[FieldError]:
    """Translate a pydantic error: one `FieldError` a problem, with the path as it is written in JSON."""
    return [FieldError(_path(item), _message(item)) for item in error.errors()]


def _path(item: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails leaves ctx open
    path = ""
    for list_name, before, part in zip(("", "", *item["loc"]), ("", *item["loc"]), item["loc"], strict=False):
        if before in TAGGED_UNIONS or (isinstance(before, int) and list_name in TAGGED_LISTS):
            continue  # pydantic puts the tag of the chosen variant here, which no document has as a key
        path += f"[{part}]" if isinstance(part, int) else f".{shortened(part)}"
    if item["type"] == "problem_at":
        path += f".{item['ctx']['path']}" if item["ctx"]["path"] else ""
    return path.removeprefix(".")


def _message(item: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails leaves ctx open
    match item["type"]:
        case "extra_forbidden":
            return "unknown field"
        case "missing":
            return "missing"
        case "value_error":
            return str(item["ctx"]["error"])
        case "problem_at":
            return str(item["ctx"]["message"])
        case "union_tag_invalid":
            return f"unknown {item['ctx']['discriminator'].strip(chr(39))} '{shortened(str(item['ctx']['tag']))}'"
        case "union_tag_not_found":
            return f"missing {item['ctx']['discriminator'].strip(chr(39))}"
        case _:
            message: str = item["msg"]
            value = item["input"]
            got = f" (got {shown(value)})" if isinstance(value, str | int | float | None) else ""
            return message[0].lower() + message[1:] + got
