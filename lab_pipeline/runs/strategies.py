"""The strategies of a lab: named, versioned, never changed once stored."""

import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from filelock import FileLock

from lab_pipeline.domain.backtest import Moment, now
from lab_pipeline.domain.errors import LabError
from lab_pipeline.domain.model import Document
from lab_pipeline.domain.strategy import Strategy

ONE_VERSION = "[1-9]*.json"
VERSIONS = f"*/{ONE_VERSION}"


class UnknownStrategyError(LabError):
    """There is no strategy, or no version of it, by that name."""


class StoredStrategy(Document):
    """One version of a strategy as it is kept on disk."""

    version: str
    """A counter: 1, 2, ..."""
    config_hash: str
    created_at: Moment
    strategy: Strategy


@dataclass(frozen=True)
class StrategyStore:
    """Strategies in a directory: one directory an id, one JSON file a version.

    Any number of processes may add at once; a version that was returned is on disk and stays as it is.
    """

    directory: Path

    def add(self, strategy: Strategy) -> StoredStrategy:
        """Store a strategy and return its version; an identical configuration returns the version it already has."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with FileLock(self.directory / ".lock"):
            versions = self.versions(strategy.id)
            wanted = strategy.config_hash()
            for stored in versions:
                if stored.config_hash == wanted:
                    return stored
            stored = StoredStrategy(
                version=str(max((int(one.version) for one in versions), default=0) + 1),
                config_hash=wanted,
                created_at=now(),
                strategy=strategy,
            )
            _write_whole(self._path(strategy.id, stored.version), stored.model_dump_json(by_alias=True, indent=2))
        return stored

    def get(self, strategy_id: str, version: str | None = None) -> StoredStrategy:
        """Return a version of a strategy, the latest by default.

        Raises:
            UnknownStrategyError: naming what there is instead.
        """
        versions = self.versions(strategy_id)
        if not versions:
            known = ", ".join(self.ids()) or "none"
            raise UnknownStrategyError(f"unknown strategy '{strategy_id}': this lab has {known}")
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
        if strategy_id not in self.ids():
            return []
        paths = sorted(self.directory.glob(f"{strategy_id}/{ONE_VERSION}"), key=lambda path: int(path.stem))
        return [StoredStrategy.parse(path.read_bytes(), subject=str(path)) for path in paths]

    def ids(self) -> list[str]:
        """Return the ids of all strategies, sorted."""
        if not self.directory.is_dir():
            return []
        return sorted({path.parent.name for path in self.directory.glob(VERSIONS)})

    def add_examples(self) -> None:
        """Store the strategies that ship with the lab, where their ids are free."""
        for strategy in example_strategies():
            if strategy.id not in self.ids():
                self.add(strategy)

    def _path(self, strategy_id: str, version: str) -> Path:
        return self.directory / strategy_id / f"{version}.json"


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


def example_strategies() -> list[Strategy]:
    """Return the strategies that ship with the lab."""
    files = sorted(resources.files("lab_pipeline.runs").joinpath("examples").iterdir(), key=lambda file: file.name)
    return [Strategy.parse(file.read_bytes(), subject=file.name) for file in files]


def _write_whole(path: Path, text: str) -> None:
    """Write a new file whole or not at all; the caller holds the store's lock."""
    path.parent.mkdir(exist_ok=True)
    new = path.parent.parent / ".new"  # one writer at a time: what a killed one left is overwritten here
    with new.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.link(new, path)  # unlike a rename it never replaces a version that is there
    new.unlink()
