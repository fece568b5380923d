"""What can go wrong when candles are fetched."""

from lab_pipeline.domain.errors import LabError


class FetchError(LabError):
    """A source does not answer, or not with candles; what was fetched before it is in the lake."""
