import json

import pytest

from lab_pipeline.domain.backtest import AllUniverse, BacktestSpec, CallersUniverse, FirstMention, TokensUniverse
from lab_pipeline.domain.enums import Fault
from lab_pipeline.operations.backtest_config import Asked, BacktestConfig
from lab_pipeline.runs.tags import asked_fields, recorded, run_config, search_tags

UNIVERSES = [
    AllUniverse(),
    TokensUniverse(mints=("AAA", "BBB")),
    CallersUniverse(callers=("ann",)),
    CallersUniverse(callers=("ann",), first_mention=FirstMention(by="caller_token", window_days=0.1)),
    AllUniverse(without_faults=(Fault.SPIKE, Fault.UNIT)),
]


def request(universe):
    document = {
        "strategyId": "ladder",
        "strategyVersion": "3",
        "timeframe": "5m",
        "range": {"start": "2025-01-10T00:00:00Z", "end": "2025-01-30T00:00:00.001Z"},
        "seed": 7,
        "params": {"exit.stopLoss": None, "exit.targets[0].multiple": 4, "exit": {"stopLoss": None}},
    }
    return BacktestSpec.parse(document, subject="request").model_copy(update={"universe": universe})


@pytest.mark.parametrize("universe", UNIVERSES, ids=lambda universe: universe.type)
def test_a_request_goes_into_a_run_and_comes_back(universe):
    spec = request(universe)
    recorded = json.loads(json.dumps(run_config(BacktestConfig.of(spec, "3").fields())))
    assert BacktestConfig(**asked_fields(recorded, {})).to_spec(lake=None) == spec
    asked = Asked.of(asked_fields(recorded, {}))
    assert (asked.universe, asked.start, asked.end) == (universe, spec.range.start, spec.range.end)
    assert (asked.seed, asked.params) == (spec.seed, spec.params)


def test_a_run_is_searched_by_what_it_asks_for_until_it_has_resolved_it():
    asked = {"strategy": "ladder", "timeframe": "5m", "seed": 7}
    assert search_tags(asked) == {"lab/strategy": "ladder", "lab/timeframe": "5m"}
    assert recorded("strategy", {}, asked) == "ladder"
    assert recorded("strategy_version", {}, asked) is None
    assert recorded("strategy_version", {"lab/strategy_version": "2"}, asked) == "2"


def test_a_partition_says_what_its_run_is_asked_for_besides_what_was_typed():
    window = "2025-01-10/2025-02-09"
    partition = {"dagster/partition/strategy": "ladder", "dagster/partition/window": window}
    asked = asked_fields({"ops": {"night": {"config": {"timeframe": "5m"}}}}, partition)
    assert asked == {"strategy": "ladder", "timeframe": "5m", "start": "2025-01-10", "end": "2025-02-09"}
    found_by = {"lab/strategy": "ladder", "lab/timeframe": "5m", "lab/window": window}
    assert search_tags(asked, partition["dagster/partition/window"]) == found_by


@pytest.mark.parametrize(
    "fields",
    [
        {"mints": ["AAA"], "callers": ["ann"]},
        {"mints": "AAA", "seed": "x", "params": [], "start": "soon", "end": 7},
        {"callers": [7]},
        {"callers": [""]},
    ],
)
def test_what_makes_no_sense_is_none(fields):
    asked = Asked.of(fields)
    assert (asked.universe, asked.start, asked.end, asked.params) == (None, None, None, {})
