"""What is remembered of fetches: which spans of time a source was asked for, and which pool was chosen for a token."""

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from lab_pipeline.fetch.queries import sql
from lab_pipeline.fetch.windows import Span, without
from lab_pipeline.storage.catalog_file import open_catalog, record_layout
from lab_pipeline.storage.duck_connection import DuckConnection
from lab_pipeline.storage.duck_file import DuckFile

INSERT = "INSERT INTO fetched_windows VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True)
class Asked:
    """A span of time that a source was asked for to its end; times in milliseconds since the epoch.

    Attributes:
        start: of it.
        fetched_through: its end, exclusive.
        asked_and_empty: whether the source had no candle there.
        asked_at: when.
    """

    start: int
    fetched_through: int
    asked_and_empty: bool
    asked_at: int

    @property
    def span(self) -> Span:
        """Start and end."""
        return self.start, self.fetched_through


@dataclass(frozen=True)
class Pool:
    """A pool of a token, as a source describes it.

    Attributes:
        pool: its address.
        dex: where it is.
        created_at: milliseconds since the epoch, if the source says so.
        liquidity_usd: of both sides when the source was asked.
        volume_usd: traded in the day before the call, where that had to decide.
        decided_for: the call, milliseconds since the epoch.
        chosen: whether candles are taken from it.
        reason: why, or why not.
    """

    pool: str
    dex: str | None
    created_at: int | None
    liquidity_usd: float | None
    volume_usd: float | None
    decided_for: int
    chosen: bool
    reason: str


@dataclass(frozen=True)
class Ledger:
    """The memory of fetches, in the lab's catalog. Any number of processes may use it at once."""

    catalog: Path

    def asked(self, source: str, timeframe: str) -> dict[tuple[str, str], list[Asked]]:
        """Return by chain and mint what a source was asked for, ascending."""
        with self._file().transaction(write=False) as connection:
            rows = connection.execute(
                "SELECT chain, mint, start_ms, fetched_through, asked_and_empty, asked_at FROM fetched_windows "
                "WHERE source = ? AND timeframe = ? ORDER BY chain, mint, start_ms",
                [source, timeframe],
            )
        found: dict[tuple[str, str], list[Asked]] = {}
        for chain, mint, *values in rows:
            found.setdefault((chain, mint), []).append(Asked(*values))
        return found

    def record(self, source: str, timeframe: str, asked: Iterable[tuple[str, str, Asked]]) -> None:
        """Remember what a source was asked, by chain and mint; what was remembered of the same time is forgotten."""
        with self._file().transaction(write=True) as connection:
            for chain, mint, new in asked:
                key = [source, chain, mint, timeframe]
                _make_room(connection, key, new)
                connection.execute(INSERT, [*key, *astuple(new)])

    def pools(self, source: str, chain: str, mint: str) -> list[Pool] | None:
        """Return the pools of a token, or null if nobody has asked yet."""
        with self._file().transaction(write=False) as connection:
            rows = connection.execute(
                "SELECT pool, dex, created_at, liquidity_usd, volume_usd, decided_for, chosen, reason "
                "FROM fetched_pools WHERE source = ? AND chain = ? AND mint = ? ORDER BY pool",
                [source, chain, mint],
            )
        return [Pool(*row) for row in rows] or None

    def launches(self, source: str) -> dict[str, int]:
        """Return by mint when its first pool that is known of came to be, in milliseconds since the epoch."""
        with self._file().transaction(write=False) as connection:
            rows = connection.execute(
                "SELECT mint, min(created_at) FROM fetched_pools WHERE source = ? AND created_at IS NOT NULL "
                "GROUP BY mint ORDER BY mint",
                [source],
            )
        return dict(rows)

    def record_pools(self, source: str, chain: str, mint: str, pools: Sequence[Pool]) -> None:
        """Remember the pools of a token, with the choice among them."""
        with self._file().transaction(write=True) as connection:
            for pool in pools:
                connection.execute(
                    "INSERT OR REPLACE INTO fetched_pools VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    [source, chain, mint, *astuple(pool)],
                )

    def _file(self) -> DuckFile:
        file = open_catalog(self.catalog)
        if file.path not in _prepared or not file.path.exists():
            file.path.parent.mkdir(parents=True, exist_ok=True)
            with file.transaction(write=True) as connection:
                record_layout(connection, file.path)
                connection.execute(sql("create_fetched_windows"))
                connection.execute(sql("create_fetched_pools"))
            _prepared.add(file.path)
        return file


def _make_room(connection: DuckConnection, key: list[str], new: Asked) -> None:
    """Cut a span of time out of what is remembered."""
    old = connection.execute(
        "DELETE FROM fetched_windows WHERE source = ? AND chain = ? AND mint = ? AND timeframe = ? "
        "AND start_ms < ? AND fetched_through > ? RETURNING start_ms, fetched_through, asked_and_empty, asked_at",
        [*key, new.fetched_through, new.start],
    )
    for start, through, empty, asked_at in old:
        for left in without([(start, through)], [new.span]):
            connection.execute(INSERT, [*key, *left, empty, asked_at])


_prepared: set[Path] = set()
"""Catalogs that this process has seen to have the tables."""
