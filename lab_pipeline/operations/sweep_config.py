"""The launchpad's form of a sweep: that of its document, field by field, so that it stays the same."""

import types
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import dagster as dg
from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from lab_pipeline.sweeps.spec import SweepSpec

PLAIN = {int: dg.Int, float: dg.Float, bool: dg.Bool, str: dg.String, datetime: dg.String}


def sweep_form() -> dict[str, dg.Field]:
    """Return the fields that the launchpad asks for; what it cannot say of a value, `to_spec` checks."""
    return _fields(SweepSpec)


def to_spec(fields: Mapping[str, Any]) -> SweepSpec:
    """Read what was typed.

    Raises:
        InvalidConfigError: naming every field that is wrong by its path.
    """
    return SweepSpec.parse(fields, subject="sweep")


def fields_of(spec: SweepSpec) -> dict[str, Any]:
    """Return what the launchpad would hold: the fields that differ from their defaults."""
    return spec.model_dump(mode="json", exclude_defaults=True)


def _fields(model: type[BaseModel]) -> dict[str, dg.Field]:
    return {name: _field(f"{model.__name__}_{name}", field) for name, field in model.model_fields.items()}


def _field(name: str, field: FieldInfo) -> dg.Field:
    kind = _kind(name, field.annotation)
    text = None if field.description is None else " ".join(field.description.split())
    if field.is_required():
        return dg.Field(kind, description=text)
    default = TypeAdapter(Any).dump_python(field.get_default(call_default_factory=True), mode="json")
    return dg.Field(kind, is_required=False, default_value=default, description=text)


def _kind(name: str, annotation: Any) -> Any:  # noqa: ANN401 - a type, or what typing makes of some; a type of Dagster's
    """Return the type of configuration that values of an annotation have, `Any` where Dagster has none of its own."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(name, inner[0])
    if origin in {Union, types.UnionType}:
        others = [one for one in inner if one is not type(None)]
        kind = _kind(name, others[0]) if len(others) == 1 else dg.Any
        return dg.Noneable(kind) if len(others) < len(inner) else kind
    if origin is Literal:
        return dg.Enum(name, [dg.EnumValue(value) for value in inner])
    if origin in {tuple, list}:
        return dg.Array(_kind(name, inner[0]))
    if origin is dict:
        return dg.Permissive()  # type: ignore[no-untyped-call]  # Dagster's, as the next
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return dg.Shape(_fields(annotation))  # type: ignore[no-untyped-call]
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return dg.Enum(name, [dg.EnumValue(one.value) for one in annotation])
    return PLAIN.get(annotation, dg.Any)
