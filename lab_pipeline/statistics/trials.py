"""Every parameter set that was ever evaluated: how many tries the best of them is the best of.

A try is a configuration on the same calls and candles, ranked by the same objective. Tries count for the whole family
of a strategy: all its versions, what was promoted from its sweeps, and what it was promoted from itself. They stay when
the sweeps and backtests that made them are deleted, else tidying up would make a result look better.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Self

import pyarrow as pa

from lab_pipeline.domain.backtest import ResolvedSpec, now
from lab_pipeline.runs.artifacts import ArtifactStore, UnreadableManifestError
from lab_pipeline.settings import Settings
from lab_pipeline.statistics.catalog import showing
from lab_pipeline.statistics.queries import sql
from lab_pipeline.storage.catalog_file import open_catalog, record_layout
from lab_pipeline.storage.duck_connection import DuckConnection
from lab_pipeline.storage.duck_file import DuckFile

UNRANKED = "none"
"""Objective of a backtest, which ranks nothing."""
SWEEP_TAG = "sweep:"
"""Begins the tag of a strategy that was promoted from a sweep; the sweep's id follows."""
MANIFESTS_AT_ONCE = 1_000


class Kind(StrEnum):
    """What evaluates sets."""

    SWEEP = "sweep"
    BACKTEST = "backtest"


@dataclass(frozen=True)
class Evaluation:
    """A sweep or a backtest: what sets were evaluated on.

    Attributes:
        run_id: its id.
        kind: which of the two.
        strategy_id: whose parameters.
        snapshot: hash of the calls and candles.
        objective: that the sets were ranked by.
        start: of the range of calls, inclusive, UTC.
        end: of it, exclusive.
    """

    run_id: str
    kind: Kind
    strategy_id: str
    snapshot: str
    objective: str
    start: datetime
    end: datetime

    @classmethod
    def of_backtest(cls, run_id: str, spec: ResolvedSpec, snapshot: str) -> Self:
        """Return that of a backtest."""
        start, end = spec.range.start, spec.range.end
        return cls(run_id, Kind.BACKTEST, spec.strategy_id, snapshot, UNRANKED, start, end)


@dataclass(frozen=True)
class Tried:
    """How much was tried.

    Attributes:
        trials: different tries.
        sweeps: that evaluated sets of the family.
        backtests: of strategies of the family.
    """

    trials: int
    sweeps: int
    backtests: int


@dataclass(frozen=True)
class TrialsLedger:
    """The tries of a lab, in its catalog.

    Any number of processes may record at once, and recording again changes nothing. What was published and not
    recorded, by a process that was killed in between or before there was a ledger, is recorded when somebody asks.

    Attributes:
        catalog: the file, which need not exist yet.
        artifacts: published backtests.
    """

    catalog: Path
    artifacts: ArtifactStore

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return that of a lab."""
        return cls(settings.catalog_path, ArtifactStore.of(settings))

    def record(self, *evaluations: tuple[Evaluation, Iterable[str]]) -> None:
        """Record what was evaluated: with each evaluation, the hashes of its configurations."""
        if not evaluations:
            return
        with self._writing() as connection:
            known = _recorded(connection, [one.run_id for one, _ in evaluations])
            new = [(one, hashes) for one, hashes in evaluations if one.run_id not in known]
            if not new:
                return
            rows = pa.concat_tables(_rows(one, hashes) for one, hashes in new)
            with showing(connection, {"incoming": rows, "runs": _runs(one for one, _ in new)}):
                connection.execute(sql("record_trials"))
                connection.execute(sql("record_trial_runs"))

    def record_backtest(self, run_id: str, spec: ResolvedSpec, snapshot: str) -> None:
        """Record a backtest of a configuration on the calls and candles that the snapshot is the hash of."""
        self.record((Evaluation.of_backtest(run_id, spec, snapshot), [spec.strategy.config_hash()]))

    def record_promotion(self, strategy_id: str, sweep_id: str, set_id: int, parent_id: str) -> None:
        """Record that a set of a sweep has become a strategy; its tries are those of its parent from now on."""
        with self._writing() as connection:
            connection.execute(
                "INSERT INTO promotions VALUES (?, ?, ?, ?, ?)",
                [strategy_id, sweep_id, set_id, parent_id, _naive(now())],
            )

    def missing(self, run_ids: Iterable[str]) -> list[str]:
        """Return which of these sweeps and backtests are not on record, sorted."""
        asked = list(run_ids)
        with self._reading() as connection:
            return sorted(set(asked) - (_recorded(connection, asked) if connection else set()))

    def catch_up(self) -> None:
        """Record the published backtests that are not on record; a damaged one counts when it is mended."""
        missing = self.missing(name for name, _ in self.artifacts.storage.stamps())
        for begin in range(0, len(missing), MANIFESTS_AT_ONCE):
            self._record_published(missing[begin : begin + MANIFESTS_AT_ONCE])

    def keep(self, run_id: str) -> None:
        """Record a published backtest that is about to go, unless it is on record."""
        self._record_published(self.missing([run_id]))

    def _record_published(self, names: Iterable[str]) -> None:
        found = []
        for name in names:
            if not self.artifacts.has(name):
                continue
            try:
                manifest = self.artifacts.manifest(name)
            except UnreadableManifestError:
                continue  # the doctor names it
            one = Evaluation.of_backtest(name, manifest.spec, manifest.snapshot)
            found.append((one, [manifest.spec.strategy.config_hash()]))
        self.record(*found)

    def tried(self, strategy_id: str, start: datetime | None = None, end: datetime | None = None) -> Tried:
        """Return what was tried of a strategy's family, on calls of a range that overlaps with this one, if given."""
        with self._reading() as connection:
            return _count(connection, strategy_id, _NO_TRIES, start, end) if connection else Tried(0, 0, 0)

    def earlier(self, evaluation: Evaluation, hashes: Iterable[str]) -> int:
        """Return how many tries of the family there are besides those of an evaluation, recorded or not."""
        with self._reading() as connection:
            if connection is None:
                return 0
            return _count(connection, evaluation.strategy_id, _rows(evaluation, hashes)).trials

    def strategies(self) -> list[str]:
        """Return the ids of the strategies of which something was tried, sorted."""
        with self._reading() as connection:
            rows = connection.execute("SELECT DISTINCT strategy_id FROM trial_runs") if connection else []
        return sorted(strategy_id for (strategy_id,) in rows)

    def family(self, strategy_id: str) -> list[str]:
        """Return the ids of the strategies whose tries are counted together, sorted; the strategy is one of them."""
        with self._reading() as connection:
            return _family(connection, strategy_id) if connection else [strategy_id]

    def promoted_sweeps(self) -> set[str]:
        """Return the ids of the sweeps that a strategy was promoted from."""
        with self._reading() as connection:
            if connection is None:
                return set()
            named = {sweep_id for (sweep_id,) in connection.execute("SELECT sweep_id FROM promotions")}
            return named | {sweep_id for _, sweep_id in _tagged(connection)}

    @contextmanager
    def _writing(self) -> Iterator[DuckConnection]:
        file = open_catalog(self.catalog)
        file.path.parent.mkdir(parents=True, exist_ok=True)
        with file.transaction(write=True) as connection:
            record_layout(connection, file.path)
            if not _is_there(connection, "trials"):
                connection.raw.execute(sql("create_trials"))
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[DuckConnection | None]:
        """Yield none where nothing was ever recorded."""
        if not DuckFile.at(self.catalog).exists():
            yield None
            return
        with open_catalog(self.catalog).transaction(write=False) as connection:
            yield connection if _is_there(connection, "trials") else None


def _rows(one: Evaluation, hashes: Iterable[str]) -> pa.Table:
    listed = sorted(set(hashes))
    same = {name: getattr(one, name) for name in ("run_id", "strategy_id", "snapshot", "objective")}
    columns = {name: pa.repeat(pa.scalar(value, pa.string()), len(listed)) for name, value in same.items()}
    return pa.table({**columns, "config_hash": pa.array(listed, pa.string())})


def _runs(evaluations: Iterable[Evaluation]) -> pa.Table:
    names = ("run_id", "kind", "strategy_id", "snapshot", "objective")
    return pa.Table.from_pylist(
        [
            {name: str(getattr(one, name)) for name in names}
            | {"first_call": _naive(one.start), "last_call": _naive(one.end), "recorded_at": _naive(now())}
            for one in evaluations
        ]
    )


_NO_TRIES = pa.table({name: pa.array([], pa.string()) for name in ("config_hash", "snapshot", "objective")})


def _count(
    connection: DuckConnection,
    strategy_id: str,
    own: pa.Table,
    start: datetime | None = None,
    end: datetime | None = None,
) -> Tried:
    asked = {
        "family": _family(connection, strategy_id),
        "first_call": None if start is None else _naive(start),
        "last_call": None if end is None else _naive(end),
    }
    with showing(connection, {"own": own}):
        (row,) = connection.raw.execute(sql("count_trials"), asked).fetchall()
    return Tried(*row)


def _family(connection: DuckConnection, strategy_id: str) -> list[str]:
    """Return all that promotions connect, however many steps away; a promoted strategy tells it by its tag, too."""
    links = [tuple(row) for row in connection.execute("SELECT DISTINCT strategy_id, parent_id FROM promotions")]
    swept = dict(connection.execute("SELECT run_id, strategy_id FROM trial_runs WHERE kind = 'sweep'"))
    links += [(child, swept[sweep_id]) for child, sweep_id in _tagged(connection) if sweep_id in swept]
    family, grown = {strategy_id}, True
    while grown:
        near = {name for link in links if not family.isdisjoint(link) for name in link}
        grown = not near <= family
        family |= near
    return sorted(family)


def _tagged(connection: DuckConnection) -> Sequence[tuple[str, str]]:
    """Return strategies and the sweep that a tag of theirs names."""
    if not _is_there(connection, "strategies"):
        return []
    rows = connection.execute(f"SELECT DISTINCT id, tags FROM strategies WHERE contains(tags, '\"{SWEEP_TAG}')")  # noqa: S608 - our own text
    return [
        (strategy_id, tag.removeprefix(SWEEP_TAG))
        for strategy_id, tags in rows
        for tag in json.loads(tags)
        if tag.startswith(SWEEP_TAG)
    ]


def _recorded(connection: DuckConnection, run_ids: Sequence[str]) -> set[str]:
    """Return which of the sweeps and backtests are on record."""
    with showing(connection, {"asked": pa.table({"run_id": pa.array(run_ids, pa.string())})}):
        return {
            run_id for (run_id,) in connection.execute("SELECT run_id FROM asked SEMI JOIN trial_runs USING (run_id)")
        }


def _is_there(connection: DuckConnection, table: str) -> bool:
    return bool(connection.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = ?", [table]))


def _naive(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)
