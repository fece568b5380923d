"""What can go wrong between the lab and ClickHouse, in words for a user."""

from lab_pipeline.domain.errors import LabError


class ClickHouseError(LabError):
    """ClickHouse refused or failed a statement."""


class ClickHouseUnavailableError(ClickHouseError):
    """ClickHouse does not answer; the message says which one and what to look at."""


class EmbeddedServerError(ClickHouseUnavailableError):
    """The embedded server cannot be started."""
