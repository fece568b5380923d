"""The strategies of a lab: named, versioned, a version never changed once stored."""

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any, Self

from lab_pipeline.domain.backtest import Moment, now
from lab_pipeline.domain.errors import InvalidConfigError, LabError
from lab_pipeline.domain.fill_assumptions import BEFORE
from lab_pipeline.domain.model import Document
from lab_pipeline.domain.strategy import CONFIG_FIELDS, Strategy
from lab_pipeline.files.disk_errors import is_writable
from lab_pipeline.runs.queries import sql
from lab_pipeline.settings import Settings
from lab_pipeline.storage.catalog_file import open_catalog, record_layout
from lab_pipeline.storage.duck_connection import DuckConnection
from lab_pipeline.storage.duck_file import DuckFile

ALL = 2**31 - 1


class UnknownStrategyError(LabError):
    """There is no strategy, or no version of it, by that name."""


class StoredStrategy(Document):
    """One version of a strategy as it is kept."""

    version: str
    """A counter: 1, 2, ..."""
    config_hash: str
    created_at: Moment
    strategy: Strategy
    is_active: bool = True
    """Whether the strategy is in use; a mark for people and schedules, an inactive one still runs when asked for."""


@dataclass(frozen=True)
class StrategyStore:
    """Strategies in the lab's catalog, a DuckDB file.

    Any number of processes may add at once; a version that was returned is on disk, and its configuration stays as it
    is. Name, description, tags and is_active belong to the strategy as a whole and may change.

    Attributes:
        catalog: the file, which need not exist yet.
        examples: whether the strategies that ship with the lab are stored then, too, where their ids are free.
        signals_dir: with the lab's own signals; without it a strategy has those of installed packages alone.
    """

    catalog: Path
    examples: bool = False
    signals_dir: Path | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the strategies of a lab, with the examples that ship with it."""
        return cls(settings.catalog_path, examples=True, signals_dir=settings.signals_dir)

    def add(self, strategy: Strategy) -> StoredStrategy:
        """Store a strategy and return its version; an identical configuration returns the version it already has."""
        return self.add_version(strategy)[0]

    def add_version(self, strategy: Strategy) -> tuple[StoredStrategy, bool]:
        """Store a strategy as `add` does, and tell whether its version is new.

        A new version brings its name, description and tags to the whole strategy; an identical configuration leaves
        them as they are.
        """
        with self._file().transaction(write=True) as connection:
            return _add(connection, strategy)

    def describe(
        self,
        strategy_id: str,
        *,
        name: str | None = None,
        description: str | None = None,
        tags: Sequence[str] | None = None,
        is_active: bool | None = None,
    ) -> StoredStrategy:
        """Change what is said about a strategy, in all its versions, and return the latest; None leaves a thing alone.

        Raises:
            UnknownStrategyError: if there is no such strategy.
        """
        with self._file().transaction(write=True) as connection:
            versions = _versions(connection, strategy_id)
            if not versions:
                raise _unknown(strategy_id, _ids(connection))
            latest = versions[-1]
            changed = latest.strategy.model_copy(
                update={
                    "name": latest.strategy.name if name is None else name,
                    "description": latest.strategy.description if description is None else description,
                    "tags": latest.strategy.tags if tags is None else tuple(tags),
                }
            )
            _describe(connection, changed, is_active=latest.is_active if is_active is None else is_active)
            return _versions(connection, strategy_id)[-1]

    def get(self, strategy_id: str, version: str | None = None) -> StoredStrategy:
        """Return a version of a strategy, the latest by default.

        Raises:
            UnknownStrategyError: naming what there is instead.
        """
        with self._file().transaction(write=False) as connection:
            versions = _versions(connection, strategy_id)
            if not versions:
                raise _unknown(strategy_id, _ids(connection))
        if version is None:
            return versions[-1]
        for stored in versions:
            if stored.version == version:
                return stored
        raise UnknownStrategyError(
            f"strategy '{strategy_id}' has no version {version}: it has 1 to {versions[-1].version}"
        )

    def versions(self, strategy_id: str) -> list[StoredStrategy]:
        """Return every version of a strategy, oldest first; none if the strategy is unknown."""
        with self._file().transaction(write=False) as connection:
            return _versions(connection, strategy_id)

    def ids(self) -> list[str]:
        """Return the ids of all strategies, sorted."""
        with self._file().transaction(write=False) as connection:
            return _ids(connection)

    def list_latest(self, after: str = "", limit: int = ALL) -> list[StoredStrategy]:
        """Return the latest version of each strategy whose id comes after `after`, in the order of their ids."""
        with self._file().transaction(write=False) as connection:
            return [_stored(row) for row in connection.execute(sql("list_strategies"), [after, limit])]

    def readable_latest(self) -> tuple[list[StoredStrategy], dict[str, str]]:
        """Return the latest version of each strategy that can be read, and by id what is wrong with the others.

        A configuration that was stored can become invalid with another version of the lab, or by hand.
        """
        with self._file().transaction(write=False) as connection:
            rows = list(connection.execute(sql("list_strategies"), ["", ALL]))
        readable, broken = [], {}
        for row in rows:
            try:
                readable.append(_stored(row))
            except InvalidConfigError as error:
                broken[row[0]] = str(error)
        return readable, broken

    def _file(self) -> DuckFile:
        """Return the catalog, with its table there."""
        file = open_catalog(self.catalog)
        known = file.path.exists() and (
            file.path in _prepared or not is_writable(file.path)
        )  # may be read all the same
        if not known:
            file.path.parent.mkdir(parents=True, exist_ok=True)
            with file.transaction(write=True) as connection:
                record_layout(connection, file.path)
                connection.execute(sql("create_strategies"))
            _prepared.add(file.path)
        if self.examples and (not known or file.path not in _stocked):
            _add_examples(file)
            _stocked.add(file.path)
        return file


_prepared: set[Path] = set()
"""Catalogs that this process has seen to have the table."""
_stocked: set[Path] = set()
"""Those that it has seen to have the examples."""


def read_strategy(path: Path) -> Strategy:
    """Read a strategy from a JSON file.

    Raises:
        LabError: if the file cannot be read or does not hold a valid strategy; names the file and every wrong field.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise LabError(f"cannot read the strategy {path}: {error.strerror}") from None
    return Strategy.parse(text, subject=str(path))


@functools.cache
def example_strategies() -> tuple[Strategy, ...]:
    """Return the strategies that ship with the lab."""
    files = sorted(resources.files("lab_pipeline.runs").joinpath("examples").iterdir(), key=lambda file: file.name)
    return tuple(Strategy.parse(file.read_bytes(), subject=file.name) for file in files)


def _add_examples(file: DuckFile) -> None:
    with file.transaction(write=False) as connection:
        known = _ids(connection)
    missing = [strategy for strategy in example_strategies() if strategy.id not in known]
    if missing:
        with file.transaction(write=True) as connection:
            for strategy in missing:
                _add(connection, strategy)


def _add(
    connection: DuckConnection,
    strategy: Strategy,
    *,
    created_at: datetime | None = None,
    version: int | None = None,
) -> tuple[StoredStrategy, bool]:
    versions = _versions(connection, strategy.id)
    wanted = strategy.config_hash()
    for stored in versions:
        if stored.config_hash == wanted:
            return stored, False
    taken = {int(one.version) for one in versions}
    is_active = versions[-1].is_active if versions else True
    number = version if version is not None and version not in taken else max(taken, default=0) + 1
    row = [
        strategy.id,
        number,
        *_words(strategy),
        _json({name: value for name, value in strategy.to_json_dict().items() if name in CONFIG_FIELDS}),
        wanted,
        is_active,
        (created_at or now()).replace(tzinfo=None),
    ]
    connection.execute(sql("insert_strategy"), row)
    if number > max(taken, default=0):
        _describe(connection, strategy, is_active=is_active)
    return next(one for one in _versions(connection, strategy.id) if one.config_hash == wanted), True


def _describe(connection: DuckConnection, strategy: Strategy, *, is_active: bool) -> None:
    connection.execute(sql("update_strategy"), [*_words(strategy), is_active, strategy.id])


def _versions(connection: DuckConnection, strategy_id: str) -> list[StoredStrategy]:
    return [_stored(row) for row in connection.execute(sql("list_versions"), [strategy_id])]


def _ids(connection: DuckConnection) -> list[str]:
    return [row[0] for row in connection.execute("SELECT DISTINCT id FROM strategies ORDER BY id")]


def _unknown(strategy_id: str, known: Sequence[str]) -> UnknownStrategyError:
    return UnknownStrategyError(f"unknown strategy '{strategy_id}': this lab has {', '.join(known) or 'none'}")


def _words(strategy: Strategy) -> list[str]:
    return [strategy.name, strategy.description, _json(strategy.tags)]


def _stored(row: Sequence[Any]) -> StoredStrategy:
    strategy_id, version, name, description, tags, config, config_hash, is_active, created_at = row
    rules = json.loads(config)
    rules["exit"].setdefault("stopFill", BEFORE)
    document = {"id": strategy_id, "name": name, "description": description, "tags": json.loads(tags), **rules}
    return StoredStrategy(
        version=str(version),
        config_hash=config_hash,
        created_at=created_at.replace(tzinfo=UTC),
        strategy=Strategy.parse(document, subject=f"strategy {strategy_id} version {version}"),
        is_active=is_active,
    )


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
