from datetime import UTC, datetime

import pytest

from lab_pipeline.domain.backtest import BacktestSpec, ResolvedSpec, override
from lab_pipeline.domain.errors import InvalidConfigError
from lab_pipeline.domain.strategy import Exit, StrategyConfig, Target
from lab_pipeline.domain.timeframe import timeframe_ms

REQUEST = {
    "strategyId": "ladder",
    "strategyVersion": "1",
    "universe": {"type": "tokens", "mints": ["AAA"]},
    "timeframe": "5m",
    "range": {"start": "2018-01-10T00:00:00Z", "end": "2018-01-30T00:00:00Z"},
    "seed": 7,
    "params": {"exit.stopLoss": 0.3},
}
CONFIG = StrategyConfig(exit=Exit(stop_loss=0.2, targets=(Target(multiple=2.0, fraction=1.0),)))


def test_a_request_keeps_every_field():
    spec = BacktestSpec.parse(REQUEST)
    assert spec.universe.mints == ("AAA",)
    assert spec.range.start == datetime(2018, 1, 10, tzinfo=UTC)
    assert BacktestSpec.parse(spec.to_json_dict()) == spec


def test_offsets_become_utc_and_a_moment_without_one_is_utc():
    spec = BacktestSpec.parse(
        {**REQUEST, "range": {"start": "2018-01-10T01:00:00+01:00", "end": "2018-01-11T00:00:00"}}
    )
    assert spec.to_json_dict()["range"] == {"start": "2018-01-10T00:00:00.000Z", "end": "2018-01-11T00:00:00.000Z"}


@pytest.mark.parametrize(
    ("change", "where", "what"),
    [
        ({"timeframe": "7m"}, "timeframe", "divide a day"),
        ({"timeframe": "five"}, "timeframe", "not a timeframe"),
        ({"range": {"start": "2018-01-10", "end": "soon"}}, "range.end", "write a time as"),
        ({"range": {"start": "2018-01-10T00:00:00Z", "end": "2018-01-10T00:00:00Z"}}, "range.end", "after start"),
        ({"universe": {"type": "tokens", "mints": []}}, "universe.mints", "at least 1"),
        ({"universe": {"type": "some"}}, "universe", "unknown type 'some'"),
        ({"seed": 1.5}, "seed", "integer"),
        ({"speed": 1}, "speed", "unknown field"),
    ],
)
def test_a_wrong_field_is_named_with_its_path(change, where, what):
    with pytest.raises(InvalidConfigError) as raised:
        BacktestSpec.parse({**REQUEST, **change})
    (error,) = raised.value.errors
    assert error.path == where
    assert what in error.message


def test_overrides_reach_into_lists_and_are_validated_like_the_strategy():
    changed = override(CONFIG, {"exit.targets[0].multiple": 4, "costs.feeBps": 30})
    assert changed.exit.targets[0].multiple == 4
    assert changed.costs.fee_bps == 30
    with pytest.raises(InvalidConfigError, match=r"exit\.stopLoss: .* less than 1"):
        override(CONFIG, {"exit.stopLoss": 7})


@pytest.mark.parametrize("path", ["exit.stop_loss", "exit.targets[3].multiple", "foo", "exit.stopLoss.deep", ""])
def test_an_override_of_no_field_names_its_path(path):
    with pytest.raises(InvalidConfigError, match="no such field of a strategy"):
        override(CONFIG, {path: 1})


def test_every_part_of_a_resolved_spec_changes_the_fingerprint():
    fields = BacktestSpec.parse(REQUEST).model_dump() | {"strategy": CONFIG}
    spec = ResolvedSpec.model_validate(fields)
    variants = [
        {"strategy_id": "other"},
        {"strategy_version": "2"},
        {"strategy": override(CONFIG, {"exit.stopLoss": 0.25})},
        {"timeframe": "1m"},
        {"seed": 8},
        {"range": {"start": datetime(2018, 1, 9, tzinfo=UTC), "end": datetime(2018, 1, 30, tzinfo=UTC)}},
        {"universe": {"type": "all"}},
    ]
    prints = {ResolvedSpec.model_validate({**fields, **variant}).fingerprint("s", "1") for variant in variants}
    prints |= {spec.fingerprint("s", "1"), spec.fingerprint("t", "1"), spec.fingerprint("s", "2")}
    assert len(prints) == len(variants) + 3
    assert spec.fingerprint("s", "1") == ResolvedSpec.parse(spec.to_json_dict()).fingerprint("s", "1")


@pytest.mark.parametrize(("text", "length"), [("1s", 1_000), ("5m", 300_000), ("4h", 14_400_000), ("1d", 86_400_000)])
def test_timeframes_are_milliseconds_inside(text, length):
    assert timeframe_ms(text) == length
