"""The lake as assets: materialising one ingests files, or just measures what is there."""

import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import dagster as dg
from pydantic import Field

from lab_pipeline.dagster_ext.config_schema import form
from lab_pipeline.dagster_ext.op_failure import failing_clearly
from lab_pipeline.defs.lake.metadata import (
    CALLS_KEY,
    CANDLES_KEY,
    calls_metadata,
    candles_metadata,
    ingest_metadata,
    measure,
)
from lab_pipeline.domain.errors import LabError
from lab_pipeline.lake import Lake
from lab_pipeline.lake.chats import Reading
from lab_pipeline.lake.layout import MOST_FILES
from lab_pipeline.operations.lab import Lab
from lab_pipeline.settings import load_settings

FRESH_DAYS = load_settings().lake_fresh_days
FRESHNESS = dg.FreshnessPolicy.time_window(fail_window=timedelta(days=FRESH_DAYS)) if FRESH_DAYS else None
"""Of both assets: whether anything was brought in, or the lake measured, within the time."""
FILES = "CSV or Parquet files in the inbox (LAB_INBOX) or in directories of it, such as `done/candles-5m.csv`."


class CandleFiles(dg.Config):
    """Candle files to bring into the lake; none to measure it as it is."""

    files: list[str] = Field(default=[], max_length=MOST_FILES, description=FILES)
    timeframe: str | None = Field(default=None, description="Length of the candles in the files: 1m, 5m, 1h, ...")
    mint: str | None = Field(default=None, description="The token of all rows, of files that do not say.")
    matching_only: bool = Field(
        default=False, description="Leave out rows that say they are of another length, instead of refusing the file."
    )
    force: bool = Field(default=False, description="Take candles though their spacing is that of longer ones.")


class CallFiles(dg.Config):
    """Call files to bring into the lake; none to measure it as it is."""

    files: list[str] = Field(default=[], max_length=MOST_FILES, description=FILES)


@dg.asset(
    key=CANDLES_KEY,
    group_name="lake",
    kinds={"parquet", "polars"},
    freshness_policy=FRESHNESS,
    config_schema=form(CandleFiles),
)
def candles(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], lab: dg.ResourceParam[Lab]
) -> dg.MaterializeResult[None]:
    """Price candles of every token, by timeframe; sorted, validated, pruned by statistics when read."""
    config = CandleFiles(**context.op_execution_context.op_config)
    metadata: dict[str, dg.MetadataValue] = {}
    with failing_clearly(context.log):
        if config.files:
            if config.timeframe is None:
                raise LabError("timeframe is missing: say how long the candles in the files are, such as 5m")
            report = lake.ingest_candles(
                in_inbox(lab.settings.inbox_dir, config.files),
                config.timeframe,
                mint=config.mint,
                matching_only=config.matching_only,
                force=config.force,
            )
            metadata |= ingest_metadata(report)
        return dg.MaterializeResult(metadata=metadata | candles_metadata(lake, measure(lake)))


@dg.asset(
    key=CALLS_KEY,
    group_name="lake",
    kinds={"parquet", "polars"},
    freshness_policy=FRESHNESS,
    config_schema=form(CallFiles),
)
def calls(
    context: dg.AssetExecutionContext, lake: dg.ResourceParam[Lake], lab: dg.ResourceParam[Lab]
) -> dg.MaterializeResult[None]:
    """Who said to buy what, and when."""
    config = CallFiles(**context.op_execution_context.op_config)
    metadata: dict[str, dg.MetadataValue] = {}
    with failing_clearly(context.log):
        if config.files:
            chats = Reading.of(lab.settings.chat_patterns_path, lab.settings.callers_path)
            metadata |= ingest_metadata(lake.ingest_calls(in_inbox(lab.settings.inbox_dir, config.files), chats=chats))
        return dg.MaterializeResult(metadata=metadata | calls_metadata(lake))


def in_inbox(inbox: Path, files: Sequence[str]) -> list[Path]:
    """Return the paths of files that whoever launched a run names.

    Raises:
        LabError: if one is not in the inbox: the right to launch runs is not the right to read all of the user's files.
    """
    paths = [Path(os.path.normpath(inbox / file)) for file in files]
    for file, path in zip(files, paths, strict=True):
        if not path.is_relative_to(inbox):
            raise LabError(
                f"{file!r} is not in the inbox at {inbox}: drop it there, or use `lab ingest`, which reads any file"
            )
    return paths
