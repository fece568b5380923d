"""Whatever somebody can write has a largest number, a longest list and a longest text: no document is endless."""

import importlib
import pkgutil
import typing
from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any

import annotated_types
import dagster as dg
import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

import lab_pipeline
from lab_pipeline.api.app import create_app
from lab_pipeline.domain.model import Document
from lab_pipeline.operations.backtest_config import BacktestConfig
from lab_pipeline.settings import Settings

BOUNDED_BY_THE_REQUEST = {BacktestConfig: {"seed", "mints", "callers", "without_faults", "params"}}
"""Of the launchpad's form, which is turned into a `BacktestSpec`."""


def models() -> list[type[BaseModel]]:
    """Return every class that somebody's words are read into."""
    for module in pkgutil.walk_packages(lab_pipeline.__path__, "lab_pipeline."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found, left = set(), [Document, dg.Config, BaseSettings]
    while left:
        for kind in left.pop().__subclasses__():
            left.append(kind)
            if kind.__module__.startswith("lab_pipeline."):
                found.add(kind)
    return sorted(found, key=lambda kind: kind.__qualname__)


def unbounded(kind: Any, limits: Collection[object] = ()) -> Iterator[str]:
    """Say what in a type has no end; `limits` are the annotations around it."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        inner, *more = parts
        flat = [limit for one in more for limit in (one.metadata if isinstance(one, FieldInfo) else [one])]
        yield from unbounded(inner, [*limits, *flat])
    elif origin is not None and isinstance(origin, type) and issubclass(origin, Mapping | Collection):
        if not any(isinstance(limit, annotated_types.MaxLen) for limit in limits):
            yield f"{kind} has no longest"
        for part in parts:
            yield from unbounded(part)
    elif parts:  # a union
        for part in parts:
            yield from unbounded(part, limits)
    elif kind in (int, float) and not any(
        isinstance(limit, annotated_types.Le | annotated_types.Lt) for limit in limits
    ):
        yield f"{kind.__name__} has no largest"


def test_of_every_model():
    found = [
        f"{model.__qualname__}.{name}: {problem}"
        for model in models()
        for name, field in model.model_fields.items()
        if name not in BOUNDED_BY_THE_REQUEST.get(model, ())
        for problem in unbounded(field.annotation, field.metadata)
    ]
    assert found == []


def test_every_text_of_a_document_ends():
    assert all(model.model_config.get("str_max_length") for model in models() if issubclass(model, Document))


def test_of_every_parameter_of_the_api(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    paths = create_app(Settings(home=tmp_path)).openapi()["paths"]
    parameters = [
        (path, parameter) for path, operations in paths.items() for one in operations.values()
        for parameter in one.get("parameters", [])
    ]  # fmt: skip
    assert len(parameters) > 30
    endless = [
        f"{path} {parameter['name']}"
        for path, parameter in parameters
        for schema in parameter["schema"].get("anyOf", [parameter["schema"]])
        if schema.get("type") in {"integer", "number"} and not {"maximum", "exclusiveMaximum"} & schema.keys()
    ]
    assert endless == []


@pytest.mark.parametrize("kind", [int, list[int], dict[str, int], int | None, Annotated[tuple[int, ...], "x"]])
def test_what_has_no_end_is_found(kind):
    assert list(unbounded(kind))
