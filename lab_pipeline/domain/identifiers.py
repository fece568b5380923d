"""What may name a token, a caller or a call: one rule for files, requests and terminals."""

import unicodedata

LONGEST_IDENTIFIER = 256
"""Characters; an address of any chain and a link to a message fit."""
IDENTIFIER_RULE = f"must be 1 to {LONGEST_IDENTIFIER} visible characters, spaces only between them"
UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
"""Unicode's control, format (bidirectional overrides, zero widths), surrogate and private characters, line breaks."""
JOINERS = "\u200c\u200d"
"""Format characters without which some scripts and emoji cannot be written; only between letters that are not ASCII."""


def is_identifier(text: str) -> bool:
    r"""Return whether a text may name something: it is seen as it is, and two that look alike by tricks are kept out.

    >>> is_identifier("Björn 🚀"), is_identifier("a\x1b[31m"), is_identifier(" a"), is_identifier("")
    (True, False, False, False)
    """
    if not 1 <= len(text) <= LONGEST_IDENTIFIER or text != text.strip():
        return False
    if text.isascii():
        return text.isprintable()
    return all(_is_seen(text, place) for place in range(len(text)))


def _is_seen(text: str, place: int) -> bool:
    character = text[place]
    if character in JOINERS:
        before, after = text[place - 1 : place], text[place + 1 : place + 2]
        return all(one and not one.isascii() and one not in JOINERS for one in (before, after))
    return unicodedata.category(character) not in UNSEEN
