"""Which ClickHouse the lab uses, and how."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from lab_pipeline.domain.errors import FieldError, InvalidConfigError
from lab_pipeline.settings import PREFIX, Settings

GIB = 1 << 30
DATABASE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
CLUSTER_NAME = re.compile(r"[A-Za-z0-9_.{}-]+")  # `{cluster}` is the usual macro
SETTINGS = {"url": "clickhouse_url", "cluster": "clickhouse_cluster"}
"""Which setting a field whose rules only this room knows comes from."""


@dataclass(frozen=True)
class ServerAddress:
    """Where a ClickHouse server listens and who asks.

    Attributes:
        host, port, username, password: as clients take them.
        secure: whether it is reached by https.
    """

    host: str
    port: int
    username: str
    password: str = field(repr=False)
    secure: bool = False


@dataclass(frozen=True)
class ClickHouseConfig:
    """What the lab has to know of its ClickHouse.

    Attributes:
        state_dir: directory of the embedded server: data, endpoint file, log.
        url: of a server or cluster, `http[s]://user:password@host[:port][/database]`; None: the embedded server.
        cluster: name of the cluster that DDL runs on; None: a single server.
        database: in which the tables are, where the URL names none.
        retention_days: after which metrics, fills and logs are dropped; None: never.
        idle_seconds: after which the embedded server stops if nobody uses it.
        memory_bytes: that the embedded server may take for queries.
        body_bytes: of one request to the embedded server.
        write_deadline_seconds: for how long a write is tried again while ClickHouse is away.
    """

    state_dir: Path
    url: str | None = field(default=None, repr=False)
    cluster: str | None = None
    database: str = "lab"
    retention_days: int | None = None
    idle_seconds: float = 600.0
    memory_bytes: int = 2 * GIB
    body_bytes: int = GIB
    write_deadline_seconds: float = 60.0

    def __post_init__(self) -> None:
        if self.url is not None:
            server = urlsplit(self.url)
            if server.scheme not in ("http", "https") or not server.hostname or not _has_port(server):
                raise _invalid("url", "must be http[s]://user:password@host[:port][/database]")
            if path := server.path.strip("/"):
                object.__setattr__(self, "database", path)
        if not DATABASE_NAME.fullmatch(self.database):
            raise _invalid("url", f"a database must have a plain name (got {self.database!r})")
        if self.cluster and not self.url:
            raise _invalid("cluster", "a cluster needs LAB_CLICKHOUSE_URL: the embedded server is none")
        if self.cluster and not CLUSTER_NAME.fullmatch(self.cluster):
            raise _invalid("cluster", f"a cluster must have a plain name (got {self.cluster!r})")
        if self.retention_days is not None and self.retention_days < 1:
            raise _invalid("retention_days", f"must be at least 1 (got {self.retention_days})")
        if self.idle_seconds <= 0:
            raise _invalid("idle_seconds", f"must be positive (got {self.idle_seconds})")

    @property
    def embedded(self) -> bool:
        """Whether the lab brings its own server."""
        return self.url is None

    @property
    def server(self) -> ServerAddress:
        """The server of `url`, which must be set."""
        url = urlsplit(self.url or "")
        secure = url.scheme == "https"
        return ServerAddress(
            host=url.hostname or "",
            port=url.port or (8443 if secure else 8123),
            username=unquote(url.username or "default"),
            password=unquote(url.password or ""),
            secure=secure,
        )


def clickhouse_config(settings: Settings) -> ClickHouseConfig:
    """Take what concerns ClickHouse from the settings.

    Raises:
        InvalidConfigError: naming the variable whose value cannot be used.
    """
    try:
        return ClickHouseConfig(
            state_dir=settings.clickhouse_dir,
            url=settings.clickhouse_url.get_secret_value() if settings.clickhouse_url else None,
            cluster=settings.clickhouse_cluster,
            retention_days=settings.retention_days,
            idle_seconds=settings.clickhouse_idle_seconds,
            write_deadline_seconds=settings.clickhouse_wait_seconds,
        )
    except InvalidConfigError as error:
        problems = [
            FieldError(PREFIX + SETTINGS.get(problem.path, problem.path).upper(), problem.message)
            for problem in error.errors
        ]
        raise InvalidConfigError("the environment", problems) from None


def _has_port(server: SplitResult) -> bool:
    try:
        return server.port is None or server.port > 0
    except ValueError:  # no number, or too large a one
        return False


def _invalid(name: str, message: str) -> InvalidConfigError:
    return InvalidConfigError("the configuration of ClickHouse", [FieldError(name, message)])
