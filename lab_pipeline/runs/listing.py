"""The newest backtests as a list shows them, read without Dagster where its record is the lab's own file."""

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # it ships no types

from lab_pipeline.runs.artifact_storage import RUNS, Storage, storage_of
from lab_pipeline.runs.tags import ASSET_JOB, BACKTEST_ASSETS, BACKTEST_JOBS, asked_fields, recorded, status_of
from lab_pipeline.settings import Settings
from lab_pipeline.storage.run_rows import newest_runs

CONFIG = "dagster.yaml"
OWN_STORAGE = "DuckDBRunStorage"


@dataclass(frozen=True)
class ListedRun:
    """One line of the list.

    Attributes:
        run_id: Dagster's.
        status: in the lab's words.
        strategy_id: null if the run does not say, as the next two.
        strategy_version: unknown where the latest was asked for and the run has not begun.
        timeframe: of the candles.
        created_at: when it was asked for.
        summary: the numbers of its `summary.json`, if it has published.
    """

    run_id: str
    status: str
    strategy_id: str | None
    strategy_version: str | None
    timeframe: str | None
    created_at: datetime
    summary: Mapping[str, Any] | None


def newest(settings: Settings, limit: int | None) -> list[ListedRun] | None:
    """Return the newest backtests, at most that many or else all, or None where only Dagster can tell.

    Raises:
        StorageError: if the record cannot be read.
    """
    path = _own_record(settings.dagster_home)
    found = None if path is None else newest_runs(path, [*BACKTEST_JOBS, ASSET_JOB])
    if found is None:
        return None
    with closing(found):  # the record is held no longer than it takes, even if a store of artifacts does not answer
        rows = iter(list(found)) if limit is None else found
        return list(islice(_listed(rows, storage_of(settings, RUNS, settings.artifacts_dir)), limit))


def _own_record(dagster_home: Path) -> Path | None:
    """Return the file of the run storage, if the instance's dagster.yaml names one as the lab's does."""
    try:
        config = yaml.safe_load((dagster_home / CONFIG).read_text())
        storage = config["run_storage"]
        named = storage["config"]["path"] if storage["class"] == OWN_STORAGE else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, LookupError, TypeError):
        return None  # Dagster will say what is wrong with it
    return dagster_home / named if isinstance(named, str) else None


def _listed(rows: Iterator[tuple[str, str, str, datetime, str]], artifacts: Storage) -> Iterator[ListedRun]:
    for run_id, job, status, created, text in rows:
        body = json.loads(text)
        if job not in BACKTEST_JOBS and not _makes_backtest_assets(body):
            continue
        tags = body.get("tags") or {}
        asked = asked_fields(body.get("run_config"), tags)
        yield ListedRun(
            run_id=run_id,
            status=status_of(status),
            strategy_id=recorded("strategy", tags, asked),
            strategy_version=recorded("strategy_version", tags, asked),
            timeframe=recorded("timeframe", tags, asked),
            created_at=created.replace(tzinfo=UTC),
            summary=_summary(artifacts, run_id),
        )


def _makes_backtest_assets(body: Mapping[str, Any]) -> bool:
    """Return whether assets of a backtest were chosen; a set stands in the body as a list under a name of Dagster's."""
    chosen = body.get("asset_selection") or {}
    return any(key["path"][0] == BACKTEST_ASSETS for keys in chosen.values() for key in keys)


def _summary(artifacts: Storage, run_id: str) -> Mapping[str, Any] | None:
    """Return what a manifest says; of one that is damaged `lab doctor` tells."""
    try:
        summary = json.loads(artifacts.manifest(run_id))["summary"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return summary if isinstance(summary, Mapping) else None
