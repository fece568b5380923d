"""What the catalog says of sweeps: which are published, and who has looked at a holdout."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lab_pipeline.domain.backtest import TimeRange, now
from lab_pipeline.storage.catalog_file import open_catalog, record_layout
from lab_pipeline.storage.duck_connection import DuckConnection
from lab_pipeline.storage.duck_file import DuckFile
from lab_pipeline.sweeps.queries import sql

if TYPE_CHECKING:
    from lab_pipeline.sweeps.store import SweepStore


@dataclass(frozen=True)
class Look:
    """Somebody has looked at held out calls.

    Attributes:
        sweep_id: whose holdout it was.
        at: when, UTC.
        by: name of the user.
    """

    sweep_id: str
    at: datetime
    by: str


def sync(store: "SweepStore") -> None:
    """Make the table of sweeps say what is published: rows of new ones are added, of those that are gone deleted.

    A sweep with lost files has none: the doctor names it.
    """
    published = set(store.sweep_ids())
    with _reading(store) as connection:
        listed = {row[0] for row in connection.execute("SELECT run_id FROM sweeps")} if connection else set()
    if published == listed:
        return
    new = [sweep_id for sweep_id in sorted(published - listed) if not store.missed(sweep_id)]
    rows = [_row(store, sweep_id) for sweep_id in new]
    with _writing(store) as connection:
        for row in rows:
            connection.execute(f"INSERT INTO sweeps VALUES ({', '.join('?' * len(row))}) ON CONFLICT DO NOTHING", row)  # noqa: S608 - question marks
        for sweep_id in listed - published:
            connection.execute("DELETE FROM sweeps WHERE run_id = ?", [sweep_id])


def record_look(store: "SweepStore", sweep_id: str, strategy_id: str, held: TimeRange, by: str) -> None:
    """Record that somebody looks at the calls that a sweep has held out."""
    with _writing(store) as connection:
        connection.execute(
            "INSERT INTO holdout_reveals VALUES (?, ?, ?, ?, ?, ?)",
            [sweep_id, _naive(now()), by, strategy_id, _naive(held.start), _naive(held.end)],
        )


def looks(store: "SweepStore", strategy_id: str, held: TimeRange) -> list[Look]:
    """Return who of a strategy's family has looked at calls of a range, the earliest look first.

    Looks of other sweeps count, for what was seen of these days was seen, whichever sweep had held them out.
    """
    family = store.trials.family(strategy_id)
    with _reading(store) as connection:
        if connection is None:
            return []
        asked = {"family": family, "first_call": _naive(held.start), "last_call": _naive(held.end)}
        rows = connection.raw.execute(sql("list_reveals"), asked).fetchall()
    return [Look(sweep_id, at.replace(tzinfo=UTC), by) for sweep_id, at, by in rows]


def objective_name(objective: Any) -> str:  # noqa: ANN401 - one objective, or several
    """Return what sets were ranked by, as the ledger and the catalog have it."""
    several = objective if isinstance(objective, list) else [objective]
    return ",".join(one["name"] for one in several)


def _row(store: "SweepStore", sweep_id: str) -> list[object]:
    manifest, selection = store.manifest(sweep_id), store.document(sweep_id, "selection")
    return [
        sweep_id,
        manifest.spec["strategy"],
        manifest.strategy_version,
        _naive(manifest.created_at),
        store.document(sweep_id, "space")["method"],
        manifest.sets,
        objective_name(manifest.spec["objective"]),
        *(selection[name] for name in ("dsr", "pbo", "spa_consistent_p", "placebo_p")),
        manifest.verdict,
    ]


@contextmanager
def _writing(store: "SweepStore") -> Iterator[DuckConnection]:
    file = open_catalog(store.trials.catalog)
    file.path.parent.mkdir(parents=True, exist_ok=True)
    with file.transaction(write=True) as connection:
        record_layout(connection, file.path)
        connection.raw.execute(sql("create_sweeps"))
        yield connection


@contextmanager
def _reading(store: "SweepStore") -> Iterator[DuckConnection | None]:
    """Yield none where nothing was ever recorded."""
    if not DuckFile.at(store.trials.catalog).exists():
        yield None
        return
    with open_catalog(store.trials.catalog).transaction(write=False) as connection:
        there = connection.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = 'holdout_reveals'")
        yield connection if there else None


def _naive(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)
