"""Candles and calls on disk."""

from lab_pipeline.lake.coverage import QUALITY, quality
from lab_pipeline.lake.demo import DemoMarket, generate_market, market_chunks
from lab_pipeline.lake.errors import IngestError, LakeError, Violation
from lab_pipeline.lake.lake import Lake
from lab_pipeline.lake.scan import CandleSlice, SlicePiece
from lab_pipeline.lake.snapshot import combine, snapshot_hash

__all__ = [
    "QUALITY",
    "CandleSlice",
    "DemoMarket",
    "IngestError",
    "Lake",
    "LakeError",
    "SlicePiece",
    "Violation",
    "combine",
    "generate_market",
    "market_chunks",
    "quality",
    "snapshot_hash",
]
