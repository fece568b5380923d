"""Just enough lexing of SQL to know what to do with a request; the engine does the parsing."""

import re
from collections.abc import Container, Iterator
from dataclasses import dataclass
from enum import Enum

QUOTED = rb"'(?:[^'\\]++|\\.|'')*+'|`(?:[^`\\]++|\\.|``)*+`|\"(?:[^\"\\]++|\\.|\"\")*+\""
COMMENT = rb"--[^\n]*+|\#[ !][^\n]*+|/\*.*?\*/"
TOKEN = re.compile(
    rb"(?P<blank>\s++|" + COMMENT + rb")|(?P<quoted>" + QUOTED + rb")|(?P<word>[A-Za-z_][A-Za-z0-9_]*+)|(?P<sign>.)",
    re.DOTALL,
)
LANDMARK = re.compile(COMMENT + rb"|" + QUOTED + rb"|(?P<end>;)|(?P<format>\bFORMAT\b)", re.DOTALL | re.IGNORECASE)
FORMAT_NAME = re.compile(rb"\s++([A-Za-z_][A-Za-z0-9_]*+)\s*+(?:;|\Z|SETTINGS\b|--|/\*)", re.IGNORECASE)
INSERT_FORMAT = re.compile(rb"\s++([A-Za-z_][A-Za-z0-9_]*+)[ \t\f]*+\r?+\n?+", re.DOTALL)
NOTHING_MORE = re.compile(rb"(?:\s++|;|" + COMMENT + rb")*+\Z", re.DOTALL)

OPENERS = (b"'", b"`", b'"')
NAMES_FOLLOW = (b"INTO", b"TABLE", b"FUNCTION", b".")
QUERY_FOLLOWS = (b"VALUES", b"SELECT", b"WITH", b"FROM")
READING = frozenset((b"SELECT", b"WITH", b"SHOW", b"DESCRIBE", b"DESC", b"EXPLAIN", b"EXISTS", b"CHECK", b"("))


class Undecided(Enum):
    """Why an INSERT cannot be split."""

    INCOMPLETE = "more of the text is needed"
    PLAIN = "a statement that the engine must see whole"


@dataclass(frozen=True)
class InsertHead:
    """An INSERT whose rows follow the statement, in a format.

    Attributes:
        clause: the statement without its FORMAT.
        format: name of the format.
        data_at: offset of the first byte of the rows.
    """

    clause: str
    format: str
    data_at: int


def split_insert(text: bytes, *, complete: bool) -> InsertHead | Undecided:
    """Find where the rows of `INSERT INTO ... FORMAT name <rows>` begin.

    `text` may be the first part of a longer one (`complete` false): then INCOMPLETE asks for more. INSERTs with
    VALUES or SELECT and every other statement are PLAIN.
    """
    more = Undecided.PLAIN if complete else Undecided.INCOMPLETE
    depth, previous = 0, b""
    for token in _significant(text):
        value = token.group().upper() if token.lastgroup == "word" else token.group()
        if token.end() == len(text) or _is_unclosed(text, token):
            return more  # it may go on, or be the first sign of a comment
        if not previous and value != b"INSERT":
            return Undecided.PLAIN
        if depth == 0 and previous not in NAMES_FOLLOW and value in QUERY_FOLLOWS:
            return Undecided.PLAIN
        if depth == 0 and previous not in NAMES_FOLLOW and value == b"FORMAT":
            return _insert_head(text, token.start(), token.end(), complete=complete)
        depth += (value == b"(") - (value == b")")
        previous = value
    return more


def _significant(text: bytes) -> Iterator[re.Match[bytes]]:
    return (token for token in TOKEN.finditer(text) if token.lastgroup != "blank")


def _is_unclosed(text: bytes, token: re.Match[bytes]) -> bool:
    """Return whether a quotation or comment begins here that does not end in `text`."""
    return token.lastgroup == "sign" and (token.group() in OPENERS or text.startswith(b"/*", token.start()))


def _insert_head(text: bytes, clause_end: int, name_at: int, *, complete: bool) -> InsertHead | Undecided:
    found = INSERT_FORMAT.match(text, name_at)
    if found is None:
        return Undecided.PLAIN if complete else Undecided.INCOMPLETE
    if found.end() == len(text) and not complete and not text.endswith(b"\n"):
        return Undecided.INCOMPLETE  # the name or the line end after it may go on
    return InsertHead(clause=text[:clause_end].decode(), format=found.group(1).decode(), data_at=found.end())


def first_word(text: bytes) -> bytes:
    """Return the statement's first word in upper case, or its first sign."""
    token = next(_significant(text), None)
    return token.group().upper() if token else b""


@dataclass(frozen=True)
class Shape:
    """What the outside of a statement says.

    Attributes:
        format: the output format that it names, if it names one.
        statements: 1, or 2 where something follows a semicolon.
    """

    format: str | None
    statements: int


def shape(text: bytes, formats: Container[str]) -> Shape:
    """Find the output format that a statement ends with, and whether a second statement follows it.

    Args:
        text: the statement.
        formats: names of formats in lower case: a column may be called `format`, too.
    """
    name = None
    for landmark in LANDMARK.finditer(text):
        if landmark.lastgroup == "format":
            found = FORMAT_NAME.match(text, landmark.end())
            if found is not None and found.group(1).decode().lower() in formats:
                name = found.group(1).decode()
        elif landmark.lastgroup == "end":
            return Shape(name, 1 if NOTHING_MORE.match(text, landmark.end()) else 2)
    return Shape(name, 1)
