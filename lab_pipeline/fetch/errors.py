"""What can go wrong when candles are fetched."""

from lab_pipeline.domain.errors import LabError


class FetchError(LabError):
    """A source does not answer, or not with candles; what was fetched before it is in the lake.

    Attributes:
        may_pass: whether it may answer later, with nothing changed here.
    """

    may_pass = False
