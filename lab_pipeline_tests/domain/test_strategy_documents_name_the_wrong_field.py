import copy

import pytest

from lab_pipeline.domain.errors import InvalidConfigError
from lab_pipeline.domain.strategy import Strategy

LADDER = {
    "id": "ladder",
    "name": "Ladder with trail",
    "description": "",
    "tags": [],
    "entry": {"kind": "market", "fraction": None, "delayMinutes": 0, "maxWaitMinutes": 60},
    "exit": {
        "targets": [{"multiple": 2.0, "fraction": 0.5}, {"multiple": 3.0, "fraction": 0.3}],
        "stopLoss": 0.3,
        "trailing": {"activation": 1.5, "distance": 0.25},
        "breakEvenAfter": 1,
        "maxHoldMinutes": 1440,
    },
    "reentry": {"retrace": 0.3, "maxCount": 1},
    "costs": {"feeBps": 30, "slippageBps": 10},
    "intrabar": "stop_first",
    "horizonMinutes": 1440,
    "portfolio": {"initialCapital": 10000, "sizing": {"kind": "fixed", "amount": 100}, "maxOpenPositions": 25},
}


def changed(path, value):
    document = copy.deepcopy(LADDER)
    node = document
    *parents, last = path
    for part in parents:
        node = node[part]
    node[last] = value
    return document


def test_the_documented_strategy_is_valid_and_survives_a_round_trip():
    strategy = Strategy.parse(LADDER)
    assert Strategy.parse(strategy.to_json_dict()) == strategy
    assert strategy.to_json_dict() == LADDER


@pytest.mark.parametrize(
    ("path", "value", "where", "what"),
    [
        (("exit", "foo"), 1, "exit.foo", "unknown field"),
        (("exit", "stop_loss"), 0.3, "exit.stop_loss", "unknown field"),
        (("exit",), {}, "exit", "no exit rule"),
        (("exit",), {"breakEvenAfter": 1}, "exit", "no exit rule"),
        (("exit", "targets", 1, "multiple"), 2.0, "exit.targets[1].multiple", "must ascend"),
        (("exit", "targets", 0, "multiple"), 1.0, "exit.targets[0].multiple", "greater than 1"),
        (("exit", "targets", 0, "fraction"), 0.9, "exit.targets", "sum to 1.2"),
        (("exit", "stopLoss"), 1.0, "exit.stopLoss", "less than 1"),
        (("exit", "stopLoss"), "0.3", "exit.stopLoss", "valid number (got '0.3')"),
        (("exit", "stopLoss"), float("nan"), "exit.stopLoss", "finite"),
        (("exit", "trailing", "distance"), 0, "exit.trailing.distance", "greater than 0"),
        (("entry", "kind"), "limit", "entry.kind", "'market', 'dip' or 'rebound'"),
        (("entry", "kind"), "dip", "entry.fraction", "missing"),
        (("entry", "fraction"), 0.2, "entry.fraction", "no meaning for a market entry"),
        (("reentry", "retrace"), 1.5, "reentry.retrace", "less than 1"),
        (("costs", "feeBps"), -1, "costs.feeBps", "greater than or equal to 0"),
        (("intrabar",), "worst", "intrabar", "'stop_first'"),
        (("horizonMinutes",), 0, "horizonMinutes", "greater than 0"),
        (("entry", "delayMinutes"), 1440, "horizonMinutes", "must exceed entry.delayMinutes"),
        (("portfolio", "sizing"), {"kind": "all_in"}, "portfolio.sizing", "unknown kind 'all_in'"),
        (("portfolio", "sizing", "amount"), -5, "portfolio.sizing.amount", "greater than 0"),
        (("id",), "../evil", "id", "match pattern"),
    ],
)
def test_a_wrong_field_is_named_with_its_path(path, value, where, what):
    with pytest.raises(InvalidConfigError) as raised:
        Strategy.parse(changed(path, value))
    (error,) = raised.value.errors
    assert error.path == where
    assert what in error.message


def test_every_wrong_field_is_named_at_once():
    document = changed(("exit", "stopLoss"), 3)
    document["costs"]["slippageBps"] = "much"
    with pytest.raises(InvalidConfigError) as raised:
        Strategy.parse(document)
    assert {error.path for error in raised.value.errors} == {"exit.stopLoss", "costs.slippageBps"}


def test_risk_sizing_needs_the_stop_it_divides_by():
    document = changed(("portfolio", "sizing"), {"kind": "risk", "fraction": 0.01, "maxFraction": 0.2})
    assert Strategy.parse(document).portfolio.sizing.fraction == 0.01
    document["exit"]["stopLoss"] = None
    with pytest.raises(InvalidConfigError, match=r"portfolio\.sizing: risk sizing"):
        Strategy.parse(document)


def test_text_that_is_not_json_is_a_clear_error():
    with pytest.raises(InvalidConfigError, match=r"ladder\.json is not valid: not valid JSON"):
        Strategy.parse("{", subject="ladder.json")


def test_every_block_but_exit_has_a_default():
    strategy = Strategy.parse({"id": "plain", "exit": {"stopLoss": 0.2}})
    assert strategy.entry.kind == "market"
    assert strategy.costs.fee_bps == 0
    assert strategy.reentry is None


def test_the_config_hash_ignores_names_and_key_order_but_nothing_else():
    base = Strategy.parse(LADDER).config_hash()
    renamed = {**dict(reversed(LADDER.items())), "name": "other", "tags": ["x"], "description": "d"}
    assert Strategy.parse(renamed).config_hash() == base
    assert Strategy.parse(LADDER).config.config_hash() == base
    assert Strategy.parse(changed(("costs", "feeBps"), 31)).config_hash() != base
