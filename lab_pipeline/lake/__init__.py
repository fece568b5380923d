"""Candles and calls on disk."""

from lab_pipeline.lake.errors import IngestError, LakeError
from lab_pipeline.lake.lake import Lake
from lab_pipeline.lake.scan import CandleSlice
from lab_pipeline.lake.snapshot import snapshot_hash

__all__ = ["CandleSlice", "IngestError", "Lake", "LakeError", "snapshot_hash"]
