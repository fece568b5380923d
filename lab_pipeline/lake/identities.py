"""What names a call and its caller, where a file has no `call_id`, or its callers go by several names.

Beside the table's columns a file of calls may have others that only serve this; they do not get into the lake.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import polars as pl
from blake3 import blake3

from lab_pipeline.domain import frames
from lab_pipeline.lake.chats import is_address
from lab_pipeline.lake.errors import LakeError
from lab_pipeline.lake.layout import CALLS, Table
from lab_pipeline.lake.parsing import Parsed, TimeUnit, parse
from lab_pipeline.lake.people import ABot, Directory

CHAT, CALLER_ID, RECORDED = "_chat", "_caller_id", "_recorded"
"""Columns of the chat, of the caller's id, and of when the row was written down."""
TARGET = "_target"
"""Beginning of the columns that have one target each."""
NAMES = {
    CHAT: ("chat_id", "chat", "channel_id"),
    CALLER_ID: ("caller_id", "from_id", "user_id", "sender_id"),
    RECORDED: ("inserted_at", "recorded_at"),
}
NUMBERED = re.compile(r"(?:take_?profit|target|tp)_?(\d{1,2})")
A_BOTS_TABLE = {"chat_id", "message_id", "mint", "run_id"}
"""Columns by which a table that a bot keeps of a chat is known: it has rows whose token was never found."""
ID_DIGITS = 32
RANK_DIGITS = 40


def extra_type(name: str) -> pl.DataType:
    """Return the type that one of these columns is read as."""
    if name == RECORDED:
        return frames.TIMESTAMP
    return pl.Float64() if name.startswith(TARGET) else pl.String()


def extras_of(name: str, places: Mapping[str, list[int]]) -> dict[str, int]:
    """Map the columns that serve to name a call, or have one target each, to positions.

    Args:
        name: of the file, for errors.
        places: positions of its columns, by their names in small letters.

    Raises:
        LakeError: if two could be the same.
    """
    found: dict[str, list[int]] = {}
    for extra, others in NAMES.items():
        first = next((places[other] for other in others if other in places), None)
        if first:
            found[extra] = first
    for column, at in places.items():
        if numbered := NUMBERED.fullmatch(column):
            found.setdefault(f"{TARGET}{int(numbered[1]):02d}", []).extend(at)
    for extra, at in found.items():
        if len(at) > 1:
            what = f"target {int(extra.removeprefix(TARGET))}" if extra.startswith(TARGET) else "the same column"
            raise LakeError(f"{name}: {len(at)} columns could be {what}: rename or drop the others")
    return {extra: place for extra, (place,) in found.items()}


def with_targets(rows: pl.DataFrame, decimal: str) -> pl.DataFrame:
    """Put the targets that have a column each into one list, in the order of their numbers, with decimal points."""
    names = sorted(name for name in rows.columns if name.startswith(TARGET))
    if not names:
        return rows
    texts = [pl.col(name).cast(pl.String).str.strip_chars().replace("", None) for name in names]
    if decimal == ",":
        texts = [text.str.replace(",", ".", literal=True) for text in texts]
    return rows.with_columns(targets=pl.concat_str(texts, separator=";", ignore_nulls=True)).drop(names)


def with_callers(rows: pl.DataFrame, people: Directory, left_out: Counter[str]) -> pl.DataFrame:
    """Give callers the name that they are to have, and leave out bots.

    Args:
        rows: with `caller`, `CALLER_ID` or both, as text.
        people: who is who.
        left_out: counts the rows that are left out, by the reason.
    """
    there = [name for name in ("caller", CALLER_ID) if name in rows.columns]
    if CALLER_ID not in there and not people:
        return rows
    pairs = rows.select(pl.col(there).cast(pl.String).str.strip_chars().replace("", None)).with_row_index("_row")
    named: list[str | None] = []
    bots: list[bool] = []
    distinct = pairs.select(there).unique(maintain_order=True)
    for pair in distinct.iter_rows(named=True):
        is_bot, caller = False, None
        try:
            caller = people.alias(pair.get("caller"), pair.get(CALLER_ID))
        except ABot:
            is_bot = True
        named.append(caller)
        bots.append(is_bot)
    known = distinct.with_columns(_named=pl.Series(named, dtype=pl.String), _bot=pl.Series(bots, dtype=pl.Boolean))
    joined = pairs.join(known, on=there, how="left", nulls_equal=True, maintain_order="left")
    rows = rows.with_columns(caller=joined["_named"])
    if any(bots):
        left_out["of bots"] += int(joined["_bot"].sum())
        rows = rows.filter(~joined["_bot"])
    return rows


def with_tokens(rows: pl.DataFrame, left_out: Counter[str]) -> pl.DataFrame:
    """Leave out rows of a bot's table that name no token."""
    names = rows["mint"].cast(pl.String).str.strip_chars()
    there = names.is_in([name for name in names.unique().drop_nulls() if is_address(name)]).fill_null(value=False)
    if not there.all():
        left_out["without a token's address"] += int((~there).sum())
    return rows.with_columns(mint=names).filter(there)


def with_message_ids(rows: pl.DataFrame) -> pl.DataFrame:
    """Name calls by chat, message and token."""
    names = [pl.col(name).cast(pl.String).str.strip_chars() for name in (CHAT, "message_id", "mint")]
    return rows.with_columns(call_id=pl.concat_str(names, separator="/"))


def parse_named(
    rows: pl.DataFrame, table: Table, unit: TimeUnit | None, grid_ms: int | None, decimal: str
) -> tuple[pl.DataFrame, Parsed]:
    """Parse a batch as `parse` does, and give names to calls that have none, in what is returned of both."""
    if table is not CALLS or "call_id" in rows.columns:
        return rows, parse(rows, table, unit, grid_ms, decimal)
    parsed = parse(rows.with_columns(call_id=pl.lit(None, pl.String)), table, unit, grid_ms, decimal)
    rows, named = _with_content_ids(rows, parsed.frame)
    return rows, replace(parsed, frame=named)


def _with_content_ids(rows: pl.DataFrame, parsed: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Name calls by who says what when: the same call has the same name in whatever file and notation it stands.

    Args:
        rows: as they stand in the file.
        parsed: the same in the lake's types; what is missing there is an error of its own.
    """
    direction = pl.col("direction") if "direction" in parsed.columns else pl.lit(None, pl.String)
    said = parsed.select(
        pl.concat_str(
            "caller", "mint", pl.col("called_at").to_physical().cast(pl.String), direction,
            separator="\0", ignore_nulls=True,
        )
    ).to_series()  # fmt: skip
    names = pl.Series("call_id", [blake3(text.encode()).hexdigest()[:ID_DIGITS] for text in said], dtype=pl.String)
    return rows.with_columns(names), parsed.with_columns(names)


def rank_of(recorded: pl.Series) -> pl.Series:
    """Return texts that are ordered as times of one notation are; the least for no time."""
    plainly = recorded.to_physical() if isinstance(recorded.dtype, pl.Datetime) else recorded
    return plainly.cast(pl.String).fill_null("").str.zfill(RANK_DIGITS).alias(RECORDED)
