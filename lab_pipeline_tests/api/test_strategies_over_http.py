import uuid

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab_pipeline.runs.strategies import StrategyStore, example_strategies


def config(stop):
    return {"exit": {"stopLoss": stop}}


def test_an_identical_configuration_answers_with_its_version(api):
    first = api.post("/strategies", json={"id": "mine", "name": "Mine", "config": config(0.2)})
    again = api.post("/strategies", json={"id": "mine", "name": "Other", "config": config(0.2)})
    other = api.post("/strategies", json={"id": "mine", "config": config(0.3), "tags": ["a"]})
    assert [one.status_code for one in (first, again, other)] == [201, 200, 201]
    assert [one.json()["version"] for one in (first, again, other)] == ["1", "1", "2"]
    assert again.json()["name"] == "Mine"
    assert [version["version"] for version in other.json()["versions"]] == ["1", "2"]
    assert api.get(first.headers["location"]).json()["config"]["exit"]["stopLoss"] == 0.2
    assert api.get("/strategies/mine").json()["version"] == "2"
    assert api.get("/strategies/mine?version=3").status_code == 404


def test_the_description_changes_and_the_configuration_does_not(api):
    api.post("/strategies", json={"id": "mine", "config": config(0.2)})
    before = api.get("/strategies/mine").json()
    after = api.patch("/strategies/mine", json={"name": "New", "isActive": False}).json()
    assert after == before | {"name": "New", "isActive": False}
    assert api.patch("/strategies/mine", json={"config": config(0.3)}).status_code == 422
    assert api.patch("/strategies/nope", json={"name": "x"}).status_code == 404


def test_validation_names_fields_and_stores_nothing(api, home):
    checked = api.post("/strategies/new/validate", json={"config": {"exit": {"stopLoss": 2}, "x": 1}}).json()
    assert not checked["valid"]
    assert {problem["path"] for problem in checked["errors"]} == {"exit.stopLoss", "x"}
    assert api.post("/strategies/new/validate", json={"config": config(0.2)}).json() == {"valid": True, "errors": []}
    named = api.post("/strategies/n!/validate", json={"config": config(0.2)}).json()
    assert [problem["path"] for problem in named["errors"]] == ["id"]
    assert "new" not in StrategyStore(home / "catalog.duckdb").ids()


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_walking_the_pages_gives_each_strategy_once(api, prefix):
    ids = sorted([f"s{number}" for number in range(5)] + [one.id for one in example_strategies()])
    for number in range(5):
        api.post("/strategies", json={"id": f"s{number}", "config": config(0.2)})
    seen, cursor = [], ""
    while cursor is not None:
        page = api.get(f"{prefix}/strategies?limit=3" + (f"&cursor={cursor}" if cursor else "")).json()
        assert len(page["strategies"]) <= 3
        seen += [one["id"] for one in page["strategies"]]
        cursor = page["nextCursor"]
    assert seen == ids


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.sampled_from(["add", "revise", "page"]), max_size=8), limit=st.integers(1, 4))
def test_a_walk_while_strategies_are_added_gives_each_that_was_there_exactly_once(api, steps, limit):
    there = [one["id"] for one in api.get("/strategies?limit=100").json()["strategies"]]
    seen, cursor = [], None
    for number, step in enumerate([*steps, *["page"] * 200]):
        if step == "add":  # before, between and behind those that are there
            name = f"{'amz'[number % 3]}{uuid.uuid4().hex[:8]}"
            assert api.post("/strategies", json={"id": name, "config": config(0.2)}).status_code == 201
        elif step == "revise":
            api.post("/strategies", json={"id": "ladder", "config": config(0.3 + len(there) / 1000)})
        else:
            page = api.get("/strategies", params={"limit": limit, **({"cursor": cursor} if cursor else {})}).json()
            seen += [one["id"] for one in page["strategies"]]
            cursor = page["nextCursor"]
            if cursor is None:
                break
    assert len(seen) == len(set(seen))
    assert set(there) <= set(seen)
