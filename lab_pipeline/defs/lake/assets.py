"""The lake as assets: materialising one ingests files, or just measures what is there."""

from pathlib import Path

import dagster as dg
from pydantic import Field

from lab_pipeline.defs.lake.metadata import (
    CALLS_KEY,
    CANDLES_KEY,
    calls_metadata,
    candles_metadata,
    ingest_metadata,
    measure,
)
from lab_pipeline.defs.operations.failures import failing_clearly
from lab_pipeline.defs.operations.resources import Lab
from lab_pipeline.domain.errors import LabError
from lab_pipeline.lake.layout import MOST_FILES


class CandleFiles(dg.Config):
    """Candle files to bring into the lake; none to measure it as it is."""

    files: list[str] = Field(
        default=[], max_length=MOST_FILES, description="CSV or Parquet files on the machine that runs the job."
    )
    timeframe: str | None = Field(default=None, description="Length of the candles in the files: 1m, 5m, 1h, ...")
    mint: str | None = Field(default=None, description="The token of all rows, of files that do not say.")
    matching_only: bool = Field(
        default=False, description="Leave out rows that say they are of another length, instead of refusing the file."
    )
    force: bool = Field(default=False, description="Take candles though their spacing is that of longer ones.")


class CallFiles(dg.Config):
    """Call files to bring into the lake; none to measure it as it is."""

    files: list[str] = Field(
        default=[], max_length=MOST_FILES, description="CSV or Parquet files on the machine that runs the job."
    )


@dg.asset(key=CANDLES_KEY, group_name="lake", kinds={"parquet", "polars"})
def candles(context: dg.AssetExecutionContext, config: CandleFiles, lab: Lab) -> dg.MaterializeResult[None]:
    """Price candles of every token, by timeframe; sorted, validated, pruned by statistics when read."""
    metadata: dict[str, dg.MetadataValue] = {}
    with failing_clearly(context.log):
        if config.files:
            if config.timeframe is None:
                raise LabError("timeframe is missing: say how long the candles in the files are, such as 5m")
            report = lab.lake.ingest_candles(
                [Path(file) for file in config.files],
                config.timeframe,
                mint=config.mint,
                matching_only=config.matching_only,
                force=config.force,
            )
            metadata |= ingest_metadata(report)
        return dg.MaterializeResult(metadata=metadata | candles_metadata(lab.lake, measure(lab.lake)))


@dg.asset(key=CALLS_KEY, group_name="lake", kinds={"parquet", "polars"})
def calls(context: dg.AssetExecutionContext, config: CallFiles, lab: Lab) -> dg.MaterializeResult[None]:
    """Who said to buy what, and when."""
    metadata: dict[str, dg.MetadataValue] = {}
    with failing_clearly(context.log):
        if config.files:
            metadata |= ingest_metadata(lab.lake.ingest_calls([Path(file) for file in config.files]))
        return dg.MaterializeResult(metadata=metadata | calls_metadata(lab.lake))
