"""Components: what a project of one's own declares in YAML (`dg list components` shows them)."""

from lab_pipeline.components.candle_source import CandleSource
from lab_pipeline.components.chat_source import ChatSource
from lab_pipeline.components.experiment import Experiment

__all__ = ["CandleSource", "ChatSource", "Experiment"]
