"""What can go wrong between the lab and ClickHouse, in words for a user."""

from lab_pipeline.domain.errors import LabError


class ClickHouseError(LabError):
    """ClickHouse refused or failed a statement."""


class LaterSchemaError(ClickHouseError):
    """A later version of the lab has brought the tables to a schema that this one does not know."""


class ClickHouseUnavailableError(ClickHouseError):
    """There is no ClickHouse that could do it now; the same may succeed later. One of the three below."""


class ClickHouseAwayError(ClickHouseUnavailableError):
    """Nothing answers, or the connection broke."""


class ClickHouseBusyError(ClickHouseUnavailableError):
    """The server is overloaded, stopping, or without its replicas."""


class EmbeddedServerError(ClickHouseUnavailableError):
    """The embedded server cannot be started."""
