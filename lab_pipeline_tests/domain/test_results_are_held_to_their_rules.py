import polars as pl
import pytest

from lab_pipeline.domain import frames
from lab_pipeline.domain.results import RESULTS, WrongResultError, check

TRADE = {
    "call_id": "c1", "caller": "ann", "mint": "A", "trade_no": 1, "called_at": 0,
    "entry_time": 60_000, "entry_price": 1.0, "exit_time": 120_000, "exit_price": 2.0, "exit_reason": "target",
    "gross_return": 1.0, "net_return": 1.0, "mfe": 1.0, "mae": 0.0, "hold_minutes": 1.0,
    "quantity": 1.0, "invested": 1.0, "pnl": 1.0, "taken": True, "skip_reason": None,
}  # fmt: skip
FILL = {
    "call_id": "c1", "mint": "A", "trade_no": 1, "fill_no": 1, "timestamp": 0, "side": "buy", "price": 1.0,
    "fraction": 1.0, "quantity": 1.0, "fee": 0.0, "reason": "entry",
    "slippage": 0.0, "filled": 1.0,
}  # fmt: skip
PATH = {
    "call_id": "c1", "caller": "ann", "mint": "A", "ath_multiple": 2.0, "time_to_ath_minutes": 5.0,
    "time_to_2x_minutes": 5.0, "time_to_3x_minutes": None, "time_to_5x_minutes": None, "time_to_10x_minutes": None,
    "min_multiple_before_2x": 0.9, "final_multiple": 1.5, "pre_return_1h": None, "pre_volatility_1h": None,
    "pre_volume_1h": None, "hour_of_day": 13,
}  # fmt: skip
OUTCOME = {
    "call_id": "c1", "caller": "ann", "mint": "A", "called_at": 0, "outcome": "entered", "trades": 1,
    "ambiguous_candles": 0, "ambiguous_resolved": 0,
}  # fmt: skip
POINT = {"timestamp": 0, "equity": 1.0, "cash": 1.0, "exposure": 0.5, "drawdown": -0.5, "open_positions": 0}
LANE = {
    "kind": "run", "lane": "as run", "through": 0.5, "haircut": 0.0, "stake": 1.0, "delay_candles": 0, "fee_bps": 0.0,
    "slippage_bps": 0.0, "trades": 3, "expectancy": 0.1, "expectancy_low": -0.1, "expectancy_high": 0.3,
    "total_return": 0.1, "thin_share": 0.5,
}  # fmt: skip
NULL = {
    "caller": "ann", "calls": 3, "trades": 3, "expectancy": 0.1, "expectancy_low": -0.1, "expectancy_high": 0.3,
    "hold_expectancy": 0.0, "over_hold_low": -0.1, "over_hold_high": 0.1, "moved_calls": 3, "moved_trades": 3,
    "moved_expectancy": 0.1, "random_expectancy": 0.0, "random_low": -0.1, "random_high": 0.1, "p_random": 0.5,
    "q_random": 1.0, "shuffled_expectancy": 0.0, "p_shuffled": 0.5, "q_shuffled": 1.0,
}  # fmt: skip
ROWS = {
    "fills": FILL, "trades": TRADE, "paths": PATH, "outcomes": OUTCOME, "equity": POINT, "fill_certainty": LANE,
    "nulls": NULL,
}  # fmt: skip


def frame(name, *rows):
    return pl.DataFrame([list(row.values()) for row in rows], schema=RESULTS[name].columns, orient="row")


@pytest.mark.parametrize("name", RESULTS)
def test_an_empty_frame_is_right_and_one_of_other_columns_is_not(name):
    empty = pl.DataFrame(schema=RESULTS[name].columns)
    assert check(name, empty) is empty
    for wrong in (
        empty.drop(empty.columns[-1]),
        empty.with_columns(extra=pl.lit(1)),
        empty.select(reversed(empty.columns)),
        empty.cast({empty.columns[0]: pl.Int8}),
    ):
        with pytest.raises(WrongResultError, match=f"{name}: the columns are"):
            check(name, wrong)


@pytest.mark.parametrize("name", RESULTS)
def test_rows_are_unique_and_complete(name):
    row = ROWS[name]
    check(name, frame(name, row))
    with pytest.raises(WrongResultError, match=r"must be unique \(2 rows\)"):
        check(name, frame(name, row, row))
    for column in row.keys() - RESULTS[name].nullable:
        with pytest.raises(WrongResultError, match=f"{column} must not be null"):
            check(name, frame(name, row | {column: None}))
    for column in RESULTS[name].nullable:
        if column != "skip_reason":
            check(name, frame(name, row | {column: None}))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("trades", {"entry_time": -1}),
        ("trades", {"exit_time": 0}),
        ("trades", {"exit_reason": "entry"}),
        ("trades", {"exit_reason": "luck"}),
        ("trades", {"net_return": -1.5}),
        ("trades", {"net_return": float("nan")}),
        ("trades", {"pnl": float("inf")}),
        ("trades", {"mfe": -0.1}),
        ("trades", {"mae": 0.1}),
        ("trades", {"taken": False}),
        ("trades", {"skip_reason": "no_cash"}),
        ("trades", {"taken": False, "skip_reason": "luck"}),
        ("trades", {"trade_no": 0}),
        ("trades", {"hold_minutes": float("nan")}),
        ("fills", {"price": -0.1}),
        ("fills", {"slippage": 1.1}),
        ("fills", {"slippage": -0.1}),
        ("fills", {"filled": 0.0}),
        ("fills", {"filled": 1.1}),
        ("fills", {"fraction": 1.1}),
        ("fills", {"fraction": 0.0}),
        ("fills", {"fee": -0.1}),
        ("fills", {"side": "hold"}),
        ("fills", {"reason": "luck"}),
        ("fills", {"fill_no": 0}),
        ("paths", {"ath_multiple": 0.9}),
        ("paths", {"final_multiple": 0.0}),
        ("paths", {"hour_of_day": 24}),
        ("outcomes", {"outcome": "luck"}),
        ("outcomes", {"trades": -1}),
        ("outcomes", {"ambiguous_resolved": -1}),
        ("equity", {"equity": float("inf")}),
        ("equity", {"exposure": 1.1}),
        ("equity", {"drawdown": 0.1}),
        ("equity", {"drawdown": -1.1}),
        ("equity", {"open_positions": -1}),
        ("fill_certainty", {"kind": "luck"}),
        ("fill_certainty", {"expectancy": 0.4}),
        ("fill_certainty", {"total_return": -1.5}),
        ("fill_certainty", {"thin_share": 1.1}),
        ("nulls", {"p_random": 0.0}),
        ("nulls", {"q_shuffled": 1.1}),
        ("nulls", {"random_low": 0.2}),
    ],
)
def test_what_cannot_be_is_refused(name, change):
    with pytest.raises(WrongResultError, match=r"^\w+: .* \(1 rows\)"):
        check(name, frame(name, ROWS[name] | change))


def test_every_rule_that_is_broken_is_named():
    with pytest.raises(WrongResultError) as raised:
        check("equity", frame("equity", POINT | {"exposure": 2.0, "drawdown": 1.0}))
    assert str(raised.value) == "equity: exposure must be <= 1 (1 rows); drawdown must be <= 0 (1 rows)"


def test_the_frames_are_those_of_the_contract():
    assert {name: rules.columns for name, rules in RESULTS.items()} == {
        "fills": frames.FILLS,
        "trades": frames.TRADES,
        "paths": frames.PATHS,
        "outcomes": frames.OUTCOMES,
        "equity": frames.EQUITY,
        "fill_certainty": frames.FILL_CERTAINTY,
        "nulls": frames.NULLS,
    }
