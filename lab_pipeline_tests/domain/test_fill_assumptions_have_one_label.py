import pytest

from lab_pipeline.domain.fill_assumptions import fill_assumptions, labelled, note_on
from lab_pipeline.domain.strategy import NEUTRAL, StrategyConfig

EXIT = {"stopLoss": 0.3}


def label(**document):
    return fill_assumptions(StrategyConfig.parse({"exit": EXIT, **document}).to_json_dict())


def test_a_strategy_from_before_there_was_a_choice_has_the_label_of_what_it_did():
    old = {"exit": EXIT, "costs": {"feeBps": 30.0, "slippageBps": 10.0}, "intrabar": "stop_first"}
    assert fill_assumptions(old).text == "stops at their level, stop first, fee 30 bps, slippage 10 bps"
    assert fill_assumptions(old) == label(
        exit=EXIT | {"stopFill": {"through": 0}}, costs={"feeBps": 30, "slippageBps": 10}
    )
    assert fill_assumptions(old) != label(costs={"feeBps": 30, "slippageBps": 10})


DIFFERENT = {
    "stops 0.5 through, stop first, no costs": {},
    "stops at the low, stop first, no costs": {"exit": EXIT | {"stopFill": {"through": 1}}},
    "stops 0.25 through, stop first, no costs": {"exit": EXIT | {"stopFill": {"through": 0.25}}},
    "stops 0.5 through, target first, no costs": {"intrabar": "target_first"},
    "stops 0.5 through, finer 1m candles, then stop first, no costs": {"intrabar": "finer", "finerTimeframe": "1m"},
    "stops 0.5 through, finer 15s candles, then stop first, no costs": {"intrabar": "finer", "finerTimeframe": "15s"},
    "stops 0.5 through, stop first, fee 30 bps": {"costs": {"feeBps": 30}},
    "stops 0.5 through, stop first, slippage 30 bps": {"costs": {"slippageBps": 30}},
    "stops 0.5 through, stop first, fixed fee 0.2": {"costs": {"fixedFee": 0.2}},
    "stops 0.5 through, stop first, impact 0.1 x volume share ^ 0.5 up to 0.5": {
        "costs": {"impact": {"model": "volume_share"}}
    },
    "stops 0.5 through, stop first, impact 0.1 x volume share ^ 0.5 up to 0.5, buys of at most 0.1 of the volume": {
        "costs": {"impact": {"model": "volume_share", "maxShare": 0.1}}
    },
    "stops 0.5 through, stop first, impact of a pool up to 0.5": {"costs": {"impact": {"model": "amm"}}},
    "stops 0.5 through, stop first, impact of a pool of 5000 where unknown up to 0.2": {
        "costs": {"impact": {"model": "amm", "liquidity": 5000, "maxSlippage": 0.2}}
    },
    "stops 0.5 through, stop first, no costs, 0.25 lost where data end": {"endOfData": {"haircut": 0.25}},
}


@pytest.mark.parametrize(("text", "document"), DIFFERENT.items())
def test_every_assumption_is_named(text, document):
    assert label(**document).text == text


def test_different_assumptions_have_different_ids():
    assert len({label(**document).id for document in DIFFERENT.values()}) == len(DIFFERENT)


def test_what_a_strategy_chooses_is_no_assumption():
    chosen = label(
        exit={"targets": [{"multiple": 2.0, "fraction": 1.0}]},
        entry={"kind": "dip", "fraction": 0.2, "delayMinutes": 3},
        reentry={"retrace": 0.2},
        horizonMinutes=60,
        portfolio={"sizing": {"kind": "fixed", "amount": 7}, "maxOpenPositions": 2, "maxPerToken": 1},
        filters=[{"field": "hour_of_day", "max": 5}],
    )
    assert chosen == label()


def test_the_id_is_stable():
    """Stored beside runs, it must not change with a version of the lab that fills as before."""
    assert fill_assumptions({"exit": EXIT}).id == "5bd8ed8b6c94"


def test_every_later_rule_of_fills_is_in_the_label():
    rules = {"exit.stopFill", "costs.fixedFee", "costs.impact", "finerTimeframe", "endOfData"}
    chosen = {
        "entry.when", "exit.use", "exit.targetFractions", "exit.when", "filters", "portfolio.maxPerToken",
        "portfolio.cooldownMinutes", "portfolio.pauseAfterLosses", "portfolio.stopAtDrawdown",
    }  # fmt: skip
    assert rules | chosen == set(NEUTRAL)  # a new rule belongs to one of them


def test_only_a_mixture_is_called_one():
    one, other = label(), label(costs={"feeBps": 30})
    assert note_on([]) is None
    assert note_on(labelled([one, one])) is None
    assert [(each.fills, each.runs) for each in labelled([one, other, other])] == [(other.id, 2), (one.id, 1)]
    assert "2 different fill assumptions" in note_on(labelled([one, other]))
