import copy

import pytest

from lab_pipeline.domain.errors import InvalidConfigError
from lab_pipeline.domain.strategy import NEUTRAL, Strategy, StrategyConfig

LADDER = {
    "id": "ladder",
    "name": "Ladder with trail",
    "description": "",
    "tags": [],
    "entry": {"kind": "market", "fraction": None, "when": None, "delayMinutes": 0, "maxWaitMinutes": 60},
    "exit": {
        "use": "rules",
        "targets": [{"multiple": 2.0, "fraction": 0.5}, {"multiple": 3.0, "fraction": 0.3}],
        "targetFractions": None,
        "stopLoss": 0.3,
        "stopFill": {"through": 0.5},
        "trailing": {"activation": 1.5, "distance": 0.25},
        "breakEvenAfter": 1,
        "maxHoldMinutes": 1440,
        "when": None,
    },
    "reentry": {"retrace": 0.3, "maxCount": 1},
    "costs": {"feeBps": 30, "slippageBps": 10, "fixedFee": 0, "impact": {"model": "none"}},
    "intrabar": "stop_first",
    "finerTimeframe": None,
    "horizonMinutes": 1440,
    "endOfData": {"haircut": 0},
    "filters": [],
    "portfolio": {
        "initialCapital": 10000,
        "sizing": {"kind": "fixed", "amount": 100},
        "maxOpenPositions": 25,
        "maxPerToken": None,
        "cooldownMinutes": None,
        "pauseAfterLosses": None,
        "stopAtDrawdown": None,
    },
}

RISES = {"all": [{"kind": "breakout", "n": 3}]}


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
        (("entry", "kind"), "limit", "entry.kind", "'market', 'dip', 'rebound' or 'signal'"),
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
        (("exit", "use"), "caller", "exit.use", "'rules' or 'signal'"),
        (("exit", "targetFractions"), [0.5], "exit.targetFractions", "set use to signal"),
        (("exit", "stopFill", "through"), 1.5, "exit.stopFill.through", "less than or equal to 1"),
        (("exit", "stopLoss"), {"atr": {"n": 0, "k": 1}}, "exit.stopLoss.atr.n", "greater than or equal to 1"),
        (("exit", "stopLoss"), {"atr": {"n": 5}}, "exit.stopLoss.atr.k", "missing"),
        (("exit", "trailing", "distance"), {"atr": {"n": 5, "k": 0}}, "exit.trailing.distance.atr.k", "greater than 0"),
        (("exit", "when"), {}, "exit.when", "one of all and any"),
        (("exit", "when"), {"all": []}, "exit.when.all", "at least one"),
        (("exit", "when"), {"any": [{"kind": "magic"}]}, "exit.when.any[0]", "unknown kind 'magic'"),
        (("exit", "when"), {"any": [{"kind": "rsi", "n": 2}]}, "exit.when.any[0]", "one of above and below"),
        (
            ("exit", "when"),
            {"all": [{"kind": "ema_cross", "fast": 9, "slow": 9}]},
            "exit.when.all[0].slow",
            "must exceed fast",
        ),
        (("entry",), {"kind": "dip", "fraction": 0.1, "when": RISES}, "entry.when", "must be market, not dip"),
        (("entry", "when"), {"all": [{"kind": "breakout", "n": 0}]}, "entry.when.all[0].n", "greater than or equal to"),
        (("entry",), {"kind": "signal", "fraction": 0.1}, "entry.fraction", "no meaning for a signal entry"),
        (("costs", "fixedFee"), -1, "costs.fixedFee", "greater than or equal to 0"),
        (("costs", "impact"), {"model": "square"}, "costs.impact", "unknown model 'square'"),
        (("costs", "impact"), {"model": "amm", "liquidity": -1}, "costs.impact.liquidity", "greater than 0"),
        (("costs", "impact"), {"model": "volume_share", "maxShare": 2}, "costs.impact.maxShare", "less than or equal"),
        (("costs", "impact"), {"model": "volume_share", "exponent": 0}, "costs.impact.exponent", "greater than 0"),
        (("intrabar",), "finer", "finerTimeframe", "missing"),
        (("finerTimeframe",), "1m", "finerTimeframe", "no meaning for intrabar stop_first"),
        (("finerTimeframe",), "7m", "finerTimeframe", "does not divide a day"),
        (("endOfData", "haircut"), 1.5, "endOfData.haircut", "less than or equal to 1"),
        (("filters",), [{"field": "luck", "min": 1}], "filters[0].field", "unknown"),
        (("filters",), [{"field": "hour_of_day"}], "filters[0]", "set min, max or in"),
        (("filters",), [{"field": "hour_of_day", "min": 3, "max": 2}], "filters[0].max", "at least min"),
        (("filters",), [{"field": "caller", "min": 3}], "filters[0].min", "is text"),
        (("filters",), [{"field": "caller", "in": ["ann", 3]}], "filters[0].in[1]", "is text"),
        (("filters",), [{"field": "hour_of_day", "in": ["noon"]}], "filters[0].in[0]", "is a number"),
        (("filters",), [{"field": "hour_of_day", "in": [None]}], "filters[0].in[0]", "valid number"),
        (("exit", "stopFill", "through"), -0.1, "exit.stopFill.through", "greater than or equal to 0"),
        (("exit", "stopLoss"), {"atr": {"n": 1001, "k": 1}}, "exit.stopLoss.atr.n", "less than or equal to 1000"),
        (("exit", "stopLoss"), {"atr": {"n": 5, "k": 2e6}}, "exit.stopLoss.atr.k", "less than or equal to 1000000"),
        (("exit", "when"), {"all": [{"kind": "rsi", "above": 101}]}, "exit.when.all[0].above", "less than or equal"),
        (("exit", "when"), {"all": [{"kind": "breakout", "n": 1001}]}, "exit.when.all[0].n", "less than or equal"),
        (
            ("exit", "when"),
            {"all": [{"kind": "volume_spike", "multiple": 0}]},
            "exit.when.all[0].multiple",
            "greater than 0",
        ),
        (
            ("exit", "when"),
            {"all": [{"kind": "ichimoku_cross", "tenkan": 26}]},
            "exit.when.all[0].kijun",
            "must exceed tenkan",
        ),
        (("exit", "when"), {"all": [{"kind": "registered", "name": "../x"}]}, "exit.when.all[0].name", "match pattern"),
        (
            ("exit", "when"),
            {"all": [{"kind": "registered", "name": "x", "warmUp": -1}]},
            "exit.when.all[0].warmUp",
            "greater than or equal to 0",
        ),
        (("exit", "when"), {"all": [{"kind": "rsi", "below": 30}] * 21}, "exit.when.all", "at most 20"),
        (("costs", "fixedFee"), float("nan"), "costs.fixedFee", "finite"),
        (("costs", "impact"), {"model": "volume_share", "coefficient": -1}, "costs.impact.coefficient", "greater than"),
        (("costs", "impact"), {"model": "volume_share", "maxShare": 0}, "costs.impact.maxShare", "greater than 0"),
        (("costs", "impact"), {"model": "amm", "maxSlippage": 0}, "costs.impact.maxSlippage", "greater than 0"),
        (("costs", "impact"), {"model": "amm", "maxSlippage": 1.1}, "costs.impact.maxSlippage", "less than or equal"),
        (("costs", "impact"), {"model": "none", "liquidity": 1}, "costs.impact.liquidity", "unknown field"),
        (("endOfData", "haircut"), -0.1, "endOfData.haircut", "greater than or equal to 0"),
        (("filters",), [{"field": "hour_of_day", "min": 1e101}], "filters[0].min", "less than or equal"),
        (("filters",), [{"field": "hour_of_day", "in": []}], "filters[0]", "set min, max or in"),
        (("portfolio", "pauseAfterLosses"), {"count": 0, "minutes": 5}, "portfolio.pauseAfterLosses.count", "greater"),
        (
            ("portfolio", "pauseAfterLosses"),
            {"count": 1, "minutes": 0},
            "portfolio.pauseAfterLosses.minutes",
            "greater",
        ),
        (("portfolio", "stopAtDrawdown"), 0, "portfolio.stopAtDrawdown", "greater than 0"),
        (("portfolio", "maxPerToken"), 0, "portfolio.maxPerToken", "greater than or equal to 1"),
        (("portfolio", "cooldownMinutes"), 0, "portfolio.cooldownMinutes", "greater than 0"),
        (("portfolio", "pauseAfterLosses"), {"count": 1}, "portfolio.pauseAfterLosses.minutes", "missing"),
        (("portfolio", "stopAtDrawdown"), 1.1, "portfolio.stopAtDrawdown", "less than or equal to 1"),
    ],
)
def test_a_wrong_field_is_named_with_its_path(path, value, where, what):
    with pytest.raises(InvalidConfigError) as raised:
        Strategy.parse(changed(path, value))
    (error,) = raised.value.errors
    assert error.path == where
    assert what in error.message


RICH = {
    "entry": {
        "kind": "market",
        "when": {"any": [{"kind": "rsi", "n": 3, "below": 20}, {"kind": "registered", "name": "a"}]},
    },
    "exit": {"use": "signal", "targetFractions": [0.5], "stopFill": {"through": 1}, "when": RISES}
    | {"stopLoss": {"atr": {"n": 14, "k": 2}}, "trailing": {"activation": 1, "distance": {"atr": {"n": 3, "k": 1}}}},
    "costs": {"fixedFee": 1, "impact": {"model": "amm", "liquidity": 1e4}},
    "intrabar": "finer",
    "finerTimeframe": "1s",
    "endOfData": {"haircut": 1},
    "filters": [{"field": "caller", "in": ["ann"]}, {"field": "hour_of_day", "min": 1, "in": [2, 3.5]}],
    "portfolio": {"maxPerToken": 1, "cooldownMinutes": 5, "stopAtDrawdown": 0.5}
    | {"pauseAfterLosses": {"count": 2, "minutes": 30}},
}


@pytest.mark.parametrize("fractions", [[0], [1.5], [], [0.1] * 101])
def test_parts_of_a_plan_are_named_where_they_cannot_be(fractions):
    with pytest.raises(InvalidConfigError) as raised:
        StrategyConfig.parse({"exit": {"use": "signal", "targetFractions": fractions}})
    assert {error.path for error in raised.value.errors} <= {"exit.targetFractions", "exit.targetFractions[0]"}


def test_a_strategy_with_every_rule_survives_a_round_trip():
    config = StrategyConfig.parse(RICH)
    assert StrategyConfig.parse(config.to_json_dict()) == config


def test_stops_fall_half_way_to_the_low_where_a_strategy_does_not_say_it():
    assert StrategyConfig.parse({"exit": {"stopLoss": 0.3}}).exit.stop_fill.through == 0.5


def test_a_strategy_without_rules_for_its_fills_keeps_the_hash_that_it_had_before_there_were_any():
    old = StrategyConfig.parse({"exit": {"stopLoss": 0.3, "stopFill": {"through": 0}}})
    assert old.config_hash() == "67b3b0c8ebb3d58f0c877d7e569e6328d0265386ab4593389f28c600f00ee52a"


@pytest.mark.parametrize("path", NEUTRAL)
def test_each_rule_of_fills_decides_the_hash(path):
    neutral = StrategyConfig.parse({"exit": {"stopLoss": 0.3, "stopFill": {"through": 0}}}).to_json_dict()
    *parents, last = path.split(".")
    rich = StrategyConfig.parse(RICH).to_json_dict()
    source, target = rich, copy.deepcopy(neutral)
    node = target
    for parent in parents:
        source, node = source[parent], node[parent]
    node[last] = source[last]
    if last == "targetFractions":
        neutral["exit"]["use"] = node["use"] = "signal"
    if last == "finerTimeframe":
        node["intrabar"] = "finer"
        neutral = target | {"finerTimeframe": "5s"}
    assert StrategyConfig.parse(target).config_hash() != StrategyConfig.parse(neutral).config_hash()


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
