import pytest

from lab_pipeline.domain.space import Space
from lab_pipeline.domain.strategy import StrategyConfig
from lab_pipeline.runs.strategies import example_strategies
from lab_pipeline.sweeps.draft import draft
from lab_pipeline.sweeps.spec import SweepSpec, parse_request


@pytest.mark.parametrize("strategy", example_strategies(), ids=lambda one: one.id)
def test_every_strategy_has_a_sweep_all_of_whose_values_it_can_have(strategy):
    spec = SweepSpec.parse(parse_request(draft(strategy.id, strategy.config, "5m"), subject="the draft"))
    assert (spec.strategy, spec.timeframe) == (strategy.id, "5m")
    assert spec == SweepSpec(strategy=spec.strategy, timeframe="5m", space=spec.space), "the rest is as by default"
    base = strategy.config.to_json_dict()
    for path, values in spec.space.items():
        space = Space.parse({path: values})
        for point in space.grid():
            StrategyConfig.parse(space.document(base, point))
    assert Space.parse(spec.space).size > 1


def test_a_name_that_yaml_takes_for_something_else_stays_a_name():
    config = example_strategies()[0].config
    assert parse_request(draft("1e5", config, "1m"), subject="the draft")["strategy"] == "1e5"
