"""Names, wherever they are shown: no terminal, log or message does what they say."""

import json
import logging

import pytest

from lab_pipeline.domain.loglines import LineFormatter
from lab_pipeline.domain.text import shown, visible, visible_json

ACTING = {
    "escape": "\x1b[2J\x1b]0;title\x07",
    "C1": "\x9b31m",
    "line": "a\nERROR b\r\n",
    "separators": "a\u2028b\u2029c\x85d",
    "turned around": "\u202egpj.exe\u2066",
    "invisible": "le\u200bak\ufeff\u00ad\u2060",
    "half a character": "a\udcffb\ud800",
    "nothing": "a\x00b\x7f",
    "tags": "a\U000e0041",
}


@pytest.mark.parametrize("text", ACTING.values(), ids=ACTING)
def test_what_acts_is_written_out(text):
    written = visible(text)
    assert written.isprintable()
    assert written.encode()
    assert written.encode("latin-1", "backslashreplace").decode("unicode_escape") == text


@pytest.mark.parametrize(
    "text", ["Zoë Ångström", "Мария", "李雷", "مريم", "דנה", "นภา", "अनुष्का", "🚀🔥", "a\\b 'c'", "=1+1 [red]"]
)
def test_letters_of_every_alphabet_stay(text):
    assert visible(text) == text
    assert shown(text) == repr(text)


def test_lines_stay_where_they_are_wanted():
    assert visible("a\n\tb\x1b", keep="\n\t") == "a\n\tb\\x1b"


@pytest.mark.parametrize("text", ACTING.values(), ids=ACTING)
@pytest.mark.parametrize("indent", [None, 2])
def test_json_holds_the_exact_text_and_nothing_that_acts(text, indent):
    written = visible_json({text: [text, "Zoë"]}, indent=indent)
    assert written.replace("\n", "").isprintable()
    assert json.loads(written) == {text: [text, "Zoë"]}
    assert "Zoë" in written


@pytest.mark.parametrize(
    "value", ["x" * 10**6, 10**10_000, -(10**5_000), "\x1b" * 10**6, 1e300, None, True], ids=range(7)
)
def test_a_wrong_value_is_repeated_shortly(value):
    assert len(shown(value)) < 500
    assert shown(value).isprintable()


def test_a_log_has_a_line_a_record(capsys):
    logger, handler = logging.getLogger("lab_pipeline.forged"), logging.StreamHandler()
    handler.setFormatter(LineFormatter("%(levelname)s %(message)s"))
    logger.addHandler(handler)
    try:
        logger.warning("GET %s", "/runs\nERROR all is lost\x1b[2J")
        logger.error("broke", exc_info=ValueError("\x1b[2J"))
    finally:
        logger.removeHandler(handler)
    first, *stack = capsys.readouterr().err.splitlines()
    assert first == "WARNING GET /runs\\nERROR all is lost\\x1b[2J"
    assert stack[0] == "ERROR broke"
    assert stack[-1] == "ValueError: \\x1b[2J"
