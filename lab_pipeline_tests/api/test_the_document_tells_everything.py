"""The OpenAPI document: a change shows in review, and nothing is left unexplained."""

import json
from pathlib import Path

import pytest

DOCS = (Path(__file__).parents[2] / "docs" / "api.md").read_text()


def snapshot(name, text):
    """Compare with the text that is kept beside the tests; an absent one is written, and the test fails once."""
    path = Path(__file__).parent / "snapshots" / name
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        pytest.fail(f"{path.name} was written: look at it and run again")
    assert text == path.read_text(), f"{name} has changed: delete it to rewrite it, and review the difference"


def pretty(document):
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def test_the_document_is_as_reviewed(openapi):
    snapshot("openapi.json", pretty(openapi))


def test_every_route_and_parameter_explains_itself(openapi):
    assert openapi["openapi"].startswith("3.1")
    for path, operations in openapi["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], (path, method)
            assert operation["description"], (path, method)
            for parameter in operation.get("parameters", []):
                assert parameter.get("description"), (path, parameter["name"])


def test_every_field_explains_itself(openapi):
    missing = [
        f"{name}.{field}"
        for name, schema in openapi["components"]["schemas"].items()
        for field, described in schema.get("properties", {}).items()
        if not described.get("description") and field not in {"type", "kind"}
    ]
    assert missing == []


def test_every_route_is_in_the_documentation(openapi):
    for path, operations in openapi["paths"].items():
        for method in operations:
            assert f"`{method.upper()} {path}`" in DOCS, f"{method} {path} is not in docs/api.md"
