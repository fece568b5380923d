import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab_pipeline.domain.backtest import BacktestSpec
from lab_pipeline.domain.errors import InvalidConfigError
from lab_pipeline.domain.identifiers import LONGEST_IDENTIFIER, is_identifier

VALID = [
    "So11111111111111111111111111111111111111112",
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "ibc/27394FB092D2ECCD56123C74F36E4C1F926001CEADA9CA97EA622B25F41E5EB2",
    "Marta Lindqvist",
    "Björn 🚀",
    "👩\u200d🚀",
    "\u0646\u06cc\u0645\u200c\u0641\u0627\u0635\u0644\u0647",
    "東京の人",
    "=1+1",
    "a" * LONGEST_IDENTIFIER,
]
INVALID = [
    "",
    " ",
    " a",
    "a ",
    "a\u00a0",
    "a" * (LONGEST_IDENTIFIER + 1),
    *(
        f"a{sign}b"
        for sign in "\x00\x07\t\n\r\x1b\x7f\x85\x9b\u00ad\u061c\u200b\u200e\u200f\u2028\u2029\u202e\u2066\ufeff\ue000"
    ),
    "a\ud800b",
    "a\U000e0041b",
    "an\u200dn",
    "\u200dü",
    "ü\u200d",
    "ü\u200d\u200dü",
]


@pytest.mark.parametrize("text", VALID)
def test_names_that_people_and_chains_give(text):
    assert is_identifier(text)


@pytest.mark.parametrize("text", INVALID)
def test_what_is_not_seen_or_not_alone_is_refused(text):
    assert not is_identifier(text)


@given(st.text(max_size=20))
def test_an_identifier_has_nothing_that_a_terminal_obeys(text):
    if is_identifier(text):
        assert text == text.strip()
        assert not set(text) & {chr(code) for code in (*range(32), *range(127, 160))}


@pytest.mark.parametrize(("kind", "field"), [("tokens", "mints"), ("callers", "callers")])
def test_requests_name_tokens_and_callers_by_the_same_rule(kind, field):
    spec = {"strategyId": "s", "timeframe": "5m", "range": {"start": "2025-01-01", "end": "2025-01-02"}}
    BacktestSpec.parse(spec | {"universe": {"type": kind, field: VALID}})
    with pytest.raises(InvalidConfigError, match=rf"universe\.{field}\[1\]: must be 1 to 256 visible characters"):
        BacktestSpec.parse(spec | {"universe": {"type": kind, field: ["AAA", "B\x1bB"]}})
