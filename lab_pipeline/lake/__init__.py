"""Candles and calls on disk."""

from lab_pipeline.lake.coverage import QUALITY, quality
from lab_pipeline.lake.demo import DemoMarket, generate_market, market_chunks
from lab_pipeline.lake.errors import IngestError, LakeDamagedError, LakeError, LakeUnwritableError, Violation
from lab_pipeline.lake.inbox import Drop, Inbox
from lab_pipeline.lake.lake import Lake, Market
from lab_pipeline.lake.scan import CandleSlice, SlicePiece
from lab_pipeline.lake.snapshot import combine, snapshot_hash

__all__ = [
    "QUALITY",
    "CandleSlice",
    "DemoMarket",
    "Drop",
    "Inbox",
    "IngestError",
    "Lake",
    "LakeDamagedError",
    "LakeError",
    "LakeUnwritableError",
    "Market",
    "SlicePiece",
    "Violation",
    "combine",
    "generate_market",
    "market_chunks",
    "quality",
    "snapshot_hash",
]
