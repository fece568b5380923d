from datetime import UTC, datetime, timedelta

import hypothesis.strategies as st
import polars as pl
import pytest
from hypothesis import given, settings

from lab_pipeline.domain import frames
from lab_pipeline.domain.backtest import AllUniverse, FirstMention, TokensUniverse
from lab_pipeline.reports.wording import universe_text
from lab_pipeline.runs.mentions import first_mentions

DAY0 = datetime(2025, 1, 1, tzinfo=UTC)


def calls(*rows):
    made = [
        (f"c{at:03d}{number}", caller, mint, DAY0 + timedelta(days=at))
        for number, (at, caller, mint) in enumerate(rows)
    ]
    return pl.DataFrame(made, schema=frames.CALLS, orient="row").sort("called_at", "call_id")


def kept(found):
    return [(int(call_id[1:4]), caller) for call_id, caller in found.select("call_id", "caller").iter_rows()]


ROWS = calls(
    (0, "ann", "0xAb"), (1, "bob", "0xaB"), (1, "ann", "0xAb"), (7, "bob", "0xAb"), (8, "ann", "0xAb"), (9, "ann", "B")
)


@pytest.mark.parametrize(
    ("by", "days", "found"),
    [
        ("token", 7, [(0, "ann"), (8, "ann"), (9, "ann")]),
        ("token", 0.5, [(0, "ann"), (1, "bob"), (7, "bob"), (8, "ann"), (9, "ann")]),
        ("caller_token", 7, [(0, "ann"), (1, "bob"), (8, "ann"), (9, "ann")]),
        ("caller_token", 5, [(0, "ann"), (1, "bob"), (7, "bob"), (8, "ann"), (9, "ann")]),
    ],
)
def test_repeats_within_the_window_are_left_out(by, days, found):
    assert kept(first_mentions(ROWS, ROWS, FirstMention(by=by, window_days=days))) == found


def test_a_mention_outside_of_the_selection_counts():
    bob = ROWS.filter(caller="bob")
    assert kept(first_mentions(bob, ROWS, FirstMention(by="token", window_days=100))) == []


MENTIONS = st.lists(st.tuples(st.integers(0, 30), st.sampled_from("ab"), st.sampled_from("XY")), max_size=30)


@settings(deadline=None)
@given(MENTIONS, st.integers(0, 30), st.floats(0.1, 20), st.sampled_from(["token", "caller_token"]))
def test_ranges_that_adjoin_add_up(rows, cut, days, by):
    among, rule = calls(*rows), FirstMention(by=by, window_days=days)
    early = pl.col("called_at") < DAY0 + timedelta(days=cut)
    parts = [first_mentions(among.filter(one), among, rule) for one in (early, ~early)]
    assert pl.concat(parts).equals(first_mentions(among, among, rule))


def test_the_report_says_how_many_were_left_out():
    rule = FirstMention(by="token", window_days=7)
    assert universe_text(AllUniverse(first_mention=rule), 39) == (
        "every call; the first mention of a token in 7 days, 39 repeats left out"
    )
    rule = FirstMention(by="caller_token", window_days=0.5)
    assert universe_text(TokensUniverse(mints=("A",), first_mention=rule), 1) == (
        "1 token: A; the first mention of a token by each caller in 0.5 days, 1 repeat left out"
    )


def test_without_the_rule_a_universe_is_written_as_it_always_was():
    assert AllUniverse().to_json_dict() == {"type": "all"}
