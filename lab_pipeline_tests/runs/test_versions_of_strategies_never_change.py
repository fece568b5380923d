import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace

import pytest

from lab_pipeline.domain.strategy import Strategy
from lab_pipeline.runs.strategies import StrategyStore, UnknownStrategyError, example_strategies
from lab_pipeline.storage.catalog_file import open_catalog


def strategy(stop, **names):
    return Strategy.parse({"id": "mine", "exit": {"stopLoss": stop}, **names})


@pytest.fixture
def store(tmp_path):
    return StrategyStore(tmp_path / "catalog.duckdb")


def add_in_a_process(catalog, stop):
    return StrategyStore(catalog).add(strategy(stop)).version


def test_an_identical_configuration_keeps_its_version_and_a_changed_one_gets_the_next(store):
    versions = [store.add(strategy(stop)).version for stop in (0.2, 0.3, 0.2, 0.4)]
    assert versions == ["1", "2", "1", "3"]
    assert store.get("mine").strategy.exit.stop_loss == 0.4
    assert store.get("mine", "1").strategy.exit.stop_loss == 0.2


def test_examples_take_no_name_from_a_user(store):
    shipped = example_strategies()[0]
    store.add(Strategy.parse({"id": shipped.id, "exit": {"stopLoss": 0.123}}))
    store = replace(store, examples=True)
    assert store.get(shipped.id).strategy.exit.stop_loss == 0.123
    assert store.add(shipped).version == "2"
    assert set(store.ids()) == {one.id for one in example_strategies()}


def test_many_threads_adding_at_once_lose_nothing(store):
    stops = [round(0.1 + number / 100, 2) for number in range(16)]
    with ThreadPoolExecutor(8) as pool:
        versions = list(pool.map(lambda stop: StrategyStore(store.catalog).add(strategy(stop)).version, stops))
    assert sorted(versions, key=int) == [str(number) for number in range(1, 17)]
    assert {store.get("mine", version).strategy.exit.stop_loss for version in versions} == set(stops)


def test_processes_adding_at_once_lose_nothing(store):
    stops = [round(0.1 + number / 100, 2) for number in range(6)]
    with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("spawn")) as pool:
        versions = list(pool.map(add_in_a_process, [store.catalog] * 12, stops * 2))
    assert versions[:6] == versions[6:]
    assert {store.get("mine", version).strategy.exit.stop_loss for version in versions} == set(stops)
    assert [stored.version for stored in store.versions("mine")] == ["1", "2", "3", "4", "5", "6"]


def test_what_is_said_of_a_strategy_changes_and_its_configurations_do_not(store):
    store.add(strategy(0.2, name="First", tags=["a"]))
    store.add(strategy(0.3, name="Second"))
    before = [(stored.version, stored.config_hash, stored.created_at) for stored in store.versions("mine")]
    changed = store.describe("mine", description="better", is_active=False)
    assert (changed.strategy.name, changed.strategy.description, changed.strategy.tags) == ("Second", "better", ())
    assert not changed.is_active
    versions = store.versions("mine")
    assert {stored.strategy.description for stored in versions} == {"better"}
    assert [(stored.version, stored.config_hash, stored.created_at) for stored in versions] == before
    assert not store.add(strategy(0.4, name="Third")).is_active
    assert store.get("mine", "1").strategy.name == "Third"


def test_what_is_not_there_is_named_with_what_is(store):
    store.add(strategy(0.2))
    with pytest.raises(UnknownStrategyError, match="unknown strategy 'other': this lab has mine"):
        store.get("other")
    with pytest.raises(UnknownStrategyError, match="has no version 7: it has 1 to 1"):
        store.get("mine", "7")
    with pytest.raises(UnknownStrategyError, match="unknown strategy 'other'"):
        store.describe("other", name="x")


def test_pages_hold_the_latest_version_of_each_in_order(store):
    for name in ("b", "a", "c"):
        for stop in (0.2, 0.3):
            store.add(Strategy.parse({"id": name, "exit": {"stopLoss": stop}}))
    first = store.list_latest(limit=2)
    rest = store.list_latest(after="b")
    assert [(one.strategy.id, one.version) for one in first + rest] == [("a", "2"), ("b", "2"), ("c", "2")]


def test_a_version_from_before_stops_fell_through_their_levels_keeps_them_there(tmp_path):
    store = StrategyStore(tmp_path / "catalog.duckdb")
    store.add(Strategy.parse({"id": "old", "exit": {"stopLoss": 0.3, "stopFill": {"through": 0}}}))
    with open_catalog(tmp_path / "catalog.duckdb").transaction(write=True) as connection:
        connection.execute('UPDATE strategies SET config = json_merge_patch(config, \'{"exit": {"stopFill": null}}\')')
    old = store.get("old")
    assert old.strategy.exit.stop_fill.through == 0
    assert old.strategy.config_hash() == old.config_hash
