"""Numbers, times and names as people read them; null is a dash."""

from datetime import datetime

MISSING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"
MINUTES_PER_HOUR = 60
MINUTES_PER_DAY = 1440
HEAD, TAIL = 6, 4
"""Characters that stay of a long name, such as a token's address."""


def signed_percent(value: float | None, digits: int = 1) -> str:
    """Write a fraction as percent with its sign.

    >>> signed_percent(12.5), signed_percent(-0.00001)
    ('+1,250.0%', '0.0%')
    """
    if value is None:
        return MISSING
    text = percent(abs(value), digits)
    if not any(digit in text for digit in "123456789"):
        return text
    return ("+" if value > 0 else MINUS) + text


def percent(value: float | None, digits: int = 1) -> str:
    """Write a fraction that has no direction, such as a win rate, as percent."""
    return MISSING if value is None else f"{number(value * 100, digits)}%"


def number(value: float | None, digits: int = 2) -> str:
    """Write a number with its thousands separated."""
    return MISSING if value is None else f"{value:,.{digits}f}".replace("-", MINUS)


def signed_number(value: float | None, digits: int = 2) -> str:
    """Write an amount won or lost."""
    text = number(value, digits)
    return f"+{text}" if value is not None and value > 0 else text


def multiple(value: float | None) -> str:
    """Write a price relative to the entry price."""
    return MISSING if value is None else f"{number(value)}{TIMES}"


def duration(minutes: float | None) -> str:
    """Write a length of time in its two largest units.

    >>> duration(0.5), duration(45), duration(200), duration(1440), duration(4000)
    ('0.5 min', '45 min', '3 h 20 min', '24 h', '2 d 19 h')
    """
    if minutes is None:
        return MISSING
    if minutes < MINUTES_PER_HOUR:
        return f"{minutes:.1f}".removesuffix(".0") + " min"
    if minutes < 2 * MINUTES_PER_DAY:
        hours, rest = divmod(round(minutes), MINUTES_PER_HOUR)
        return f"{hours:,} h {rest} min" if rest else f"{hours:,} h"
    days, hours = divmod(round(minutes / MINUTES_PER_HOUR), 24)
    return f"{days:,} d {hours} h" if hours else f"{days:,} d"


def moment(value: datetime | None) -> str:
    """Write a UTC moment to the minute."""
    return MISSING if value is None else f"{value:%Y-%m-%d %H:%M}"


def day(value: datetime | str) -> str:
    """Write the UTC day of a moment, which may be written already."""
    return value[:10] if isinstance(value, str) else f"{value:%Y-%m-%d}"


def figure(value: float | None) -> str:
    """Write a figure of whatever size in three digits.

    >>> figure(0.95), figure(0.052678)
    ('0.95', '0.0527')
    """
    return MISSING if value is None else f"{value:.3g}".replace("-", MINUS)


def sentence(text: str) -> str:
    """Write words as a sentence; those that already are one have more capitals, which stay."""
    return f"{text[:1].upper()}{text[1:]}."


def shortened(text: str) -> str:
    """Leave out the middle of a long name."""
    return text if len(text) <= HEAD + TAIL + 4 else f"{text[:HEAD]}…{text[-TAIL:]}"


def words(name: str) -> str:
    """Write an enum's value as words: `stop_loss` becomes `stop loss`."""
    return name.replace("_", " ")


def tone(value: float | None) -> str:
    """Return the CSS class of a signed value."""
    if not value:
        return "flat"
    return "up" if value > 0 else "down"
