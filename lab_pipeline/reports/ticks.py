"""Where an axis has its ticks, at round values, and what is written there."""

import math
from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from lab_pipeline.reports.formats import MINUS, number, percent

ROUND = (1.0, 2.0, 2.5, 5.0, 10.0)
DATES_AT_MOST = 9
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
"""Not from the locale: a page is the same wherever it is made."""
MINUTE_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720)
DAY_STEPS = (1, 2, 3, 7, 14)
MONTH_STEPS = (1, 2, 3, 4, 6)
YEAR_STEPS = (1, 2, 5, 10, 20, 50, 100)
MINUTES_PER_DAY = 1440
DAYS_PER_MONTH = 30.5
MILLION = 1e6
MILLIONS_FROM, POWERS_FROM = 1e7, 1e11
"""From these values on, numbers are written in millions and as powers of ten."""
LEAST_SPAN = timedelta(minutes=10)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Tick:
    """A place on an axis and its label."""

    at: float
    label: str


def round_step(raw: float) -> float:
    """Return the least of 1, 2, 2.5, 5 and 10 times a power of ten that is not below `raw`, which is positive."""
    power = 10.0 ** math.floor(math.log10(raw))
    return next(power * step for step in ROUND if power * step >= raw * (1 - 1e-9))


def percent_ticks(low: float, high: float, at_most: int) -> list[Tick]:
    """Put ticks on an axis of fractions, with at most so many steps between them."""
    step = round_step((high - low) / at_most)
    digits = _digits(100 * step)
    return [Tick(value, percent(value, digits)) for value in _multiples(step, low, high)]


def number_ticks(low: float, high: float, at_most: int) -> list[Tick]:
    """Put ticks on an axis of numbers, with at most so many steps between them."""
    step = round_step((high - low) / at_most)
    digits = _digits(step)
    return [Tick(value, _short(value, digits)) for value in _multiples(step, low, high)]


def count_ticks(highest: float, at_most: int) -> list[Tick]:
    """Put ticks at whole numbers from zero, with at most so many steps between them."""
    step = max(1.0, round_step(highest / at_most))
    step = math.ceil(step) if step < ROUND[-1] else step  # 2.5 is no count
    return [Tick(value, number(value, 0)) for value in _multiples(step, 0, highest)]


def log_ticks(low: float, high: float, at_most: int) -> list[Tick]:
    """Put ticks at round numbers on a logarithmic axis, whose places are the logarithms to base 10."""
    powers = range(math.floor(low), math.ceil(high) + 1)
    ticks: list[Tick] = []
    for mantissas in ((1, 2, 5), (1, 3), (1,)):
        values = [(mantissa * 10.0**power, max(0, -power)) for power in powers for mantissa in mantissas]
        places = [(math.log10(value), value, digits) for value, digits in values]
        ticks = [Tick(at, _short(value, digits)) for at, value, digits in places if low <= at <= high]
        if len(ticks) <= at_most:
            return ticks
    every = -(-len(ticks) // at_most)
    return ticks[::every]


def span(first: datetime, last: datetime) -> tuple[datetime, datetime]:
    """Return the ends of a time axis: these, or a little more if they are so close that no tick would lie between."""
    lacking = max(LEAST_SPAN - (last - first), timedelta(0)) / 2
    return first - lacking, last + lacking


def time_ticks(first: datetime, last: datetime) -> list[Tick]:
    """Put at most `DATES_AT_MOST` ticks at round times in UTC, their places in milliseconds since 1970."""
    minutes = (last - first) / timedelta(minutes=1)
    days = minutes / MINUTES_PER_DAY
    for step in MINUTE_STEPS:
        if minutes / step < DATES_AT_MOST:
            return [_time_tick(moment) for moment in _at_minutes(first, last, step)]
    for step in DAY_STEPS:
        if days / step < DATES_AT_MOST and len(moments := list(_at_days(first, last, step))) <= DATES_AT_MOST:
            return [Tick(_ms(moment), f"{MONTHS[moment.month - 1]} {moment.day}") for moment in moments]
    for step in MONTH_STEPS:
        if days / DAYS_PER_MONTH / step < DATES_AT_MOST - 1:
            return [_month_tick(moment) for moment in _at_months(first, last, step)]
    years = last.year - first.year
    step = next(step for step in YEAR_STEPS if years / step < DATES_AT_MOST)
    return [_month_tick(moment) for moment in _at_months(first, last, 12 * step)]


def _at_minutes(first: datetime, last: datetime, step: int) -> Iterator[datetime]:
    width = timedelta(minutes=step)
    moment = EPOCH + -((EPOCH - first) // width) * width
    while moment <= last:
        yield moment
        moment += width


def _at_days(first: datetime, last: datetime, step: int) -> Iterator[datetime]:
    """Yield the 1st of each month and every so manieth day after it that is not too near to the next 1st."""
    moment = _ceiling_of_day(first)
    while moment <= last:
        days = monthrange(moment.year, moment.month)[1]
        if (moment.day - 1) % step == 0 and (moment.day == 1 or moment.day + step // 2 <= days):
            yield moment
        moment += timedelta(days=1)


def _at_months(first: datetime, last: datetime, step: int) -> Iterator[datetime]:
    month = -(-(first.year * 12 + first.month - 1) // step) * step
    while (moment := datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC)) <= last:
        if moment >= first:
            yield moment
        month += step


def _ceiling_of_day(moment: datetime) -> datetime:
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight if midnight == moment else midnight + timedelta(days=1)


def _time_tick(moment: datetime) -> Tick:
    at_midnight = moment.hour == moment.minute == 0
    day = f"{MONTHS[moment.month - 1]} {moment.day}"
    return Tick(_ms(moment), day if at_midnight else f"{moment:%H:%M}")


def _month_tick(moment: datetime) -> Tick:
    return Tick(_ms(moment), str(moment.year) if moment.month == 1 else MONTHS[moment.month - 1])


def _ms(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(milliseconds=1)


def _multiples(step: float, low: float, high: float) -> list[float]:
    return [place * step for place in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _digits(step: float) -> int:
    """Return how many decimals tell multiples of a step apart."""
    digits = max(0, -math.floor(math.log10(step)))
    return digits if math.isclose(round(step, digits), step, rel_tol=1e-6) else digits + 1


def _short(value: float, digits: int) -> str:
    """Write a number within the margin of a chart."""
    if abs(value) < MILLIONS_FROM:
        return number(value, digits)
    if abs(value) < POWERS_FROM:
        return f"{value / MILLION:,.10g}M".replace("-", MINUS)
    return f"{value:.3g}".replace("-", MINUS)
