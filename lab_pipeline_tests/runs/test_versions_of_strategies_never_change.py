from concurrent.futures import ThreadPoolExecutor

import pytest

from lab_pipeline.domain.strategy import Strategy
from lab_pipeline.runs.strategies import StrategyStore, UnknownStrategyError, example_strategies


def strategy(stop, **names):
    return Strategy.parse({"id": "mine", "exit": {"stopLoss": stop}, **names})


def test_an_identical_configuration_keeps_its_version_and_a_changed_one_gets_the_next(tmp_path):
    store = StrategyStore(tmp_path)
    versions = [store.add(strategy(stop)).version for stop in (0.2, 0.3, 0.2, 0.4)]
    assert versions == ["1", "2", "1", "3"]
    assert store.get("mine").strategy.exit.stop_loss == 0.4
    assert store.get("mine", "1").strategy.exit.stop_loss == 0.2


def test_a_missing_version_is_never_replaced_by_another(tmp_path):
    store = StrategyStore(tmp_path)
    store.add_examples()
    shipped = example_strategies()[0]
    mine = Strategy.parse({"id": shipped.id, "exit": {"stopLoss": 0.123}})
    assert store.add(mine).version == "2"
    (tmp_path / shipped.id / "1.json").unlink()
    store.add_examples()
    assert store.get(shipped.id, "2").strategy.exit.stop_loss == 0.123
    assert store.add(shipped).version == "3"


def test_many_adding_at_once_lose_nothing(tmp_path):
    stops = [round(0.1 + number / 100, 2) for number in range(16)]
    with ThreadPoolExecutor(8) as pool:
        versions = list(pool.map(lambda stop: StrategyStore(tmp_path).add(strategy(stop)).version, stops))
    assert sorted(versions, key=int) == [str(number) for number in range(1, 17)]
    store = StrategyStore(tmp_path)
    assert {store.get("mine", version).strategy.exit.stop_loss for version in versions} == set(stops)


def test_what_is_no_version_is_ignored(tmp_path):
    store = StrategyStore(tmp_path)
    store.add(strategy(0.2))
    (tmp_path / "empty").mkdir()
    (tmp_path / "mine" / "notes.json").write_text("x")
    (tmp_path / ".new").write_text("half")
    assert store.ids() == ["mine"]
    assert store.add(strategy(0.3)).version == "2"
    with pytest.raises(UnknownStrategyError, match="this lab has mine"):
        store.get("empty")
