"""Candles from where they are: exactly what calls need and the lake lacks."""

from lab_pipeline.fetch.errors import FetchError
from lab_pipeline.fetch.fetching import Fetched, Fetcher, Plan, Token
from lab_pipeline.fetch.ledger import Ledger
from lab_pipeline.fetch.sources import EXCHANGES, FILES, SOURCES, open_source, remembered_as
from lab_pipeline.fetch.wanted import Wanted, reach_ms, wanted, within

__all__ = [
    "EXCHANGES",
    "FILES",
    "SOURCES",
    "FetchError",
    "Fetched",
    "Fetcher",
    "Ledger",
    "Plan",
    "Token",
    "Wanted",
    "open_source",
    "reach_ms",
    "remembered_as",
    "wanted",
    "within",
]
