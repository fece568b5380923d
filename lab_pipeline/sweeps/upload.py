"""From the artifacts of a sweep, which are the truth, to its rows in ClickHouse."""

from collections.abc import Mapping

import polars as pl

from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.sweeps import DAYS, SETS, days_kept, publish_sweep, visible_rows
from lab_pipeline.clickhouse.upload import Counts
from lab_pipeline.sweeps.published import PublishedSweep
from lab_pipeline.sweeps.store import SweepStore


def upload_sweep(clickhouse: ClickHouse, store: SweepStore, sweep_id: str) -> Mapping[str, int]:
    """Write the sets and days of a published sweep, and return the rows written by table.

    Readers see all of them or, until then, what they saw before; uploading a sweep again replaces it.

    Raises:
        UnknownSweepError: if nothing is published under that id.
        DamagedArtifactError: if its files are not what was published.
        ClickHouseError: as `publish_run` does.
    """
    return publish_sweep(clickhouse, sweep_id, *_frames(store, sweep_id)).rows


def count_rows(clickhouse: ClickHouse, store: SweepStore, sweep_id: str) -> Counts:
    """Count the rows of a sweep that its files have for ClickHouse, and those that are there; errors as above."""
    sets, days = _frames(store, sweep_id)
    files = {SETS: sets.height, DAYS: days_kept(sets, days).height}
    return Counts(files, visible_rows(clickhouse, sweep_id))


def _frames(store: SweepStore, sweep_id: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    sweep = PublishedSweep.open(store, sweep_id)
    return sweep.table("sets"), sweep.table("days")
