"""Every setting of the lab, once; each is documented in the README and printed by `lab settings`."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from lab_pipeline.domain.cron import Cron
from lab_pipeline.domain.errors import InvalidConfigError
from lab_pipeline.domain.model import field_errors
from lab_pipeline.domain.timeframe import Timeframe

PREFIX = "LAB_"


def project_root() -> Path:
    """Return the directory that holds dagster.yaml and workspace.yaml: the checkout, or else the installed package."""
    package = Path(__file__).resolve().parent
    return package.parent if (package.parent / "dagster.yaml").is_file() else package


def default_home() -> Path:
    """Return `.lab` beside the nearest dagster.yaml from here upwards, or in this directory where there is none."""
    here = Path.cwd()
    for directory in (here, *here.parents):
        if (directory / "dagster.yaml").is_file():
            return directory / ".lab"
    return here / ".lab"


class Settings(BaseSettings):
    """The settings, read from the environment (`LAB_HOME`, `LAB_PORT`, ...)."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True, use_attribute_docstrings=True
    )

    home: Path = Field(default_factory=default_home)
    """Directory with all state; deleting it resets the lab. Default: `.lab` beside dagster.yaml."""
    host: str = "127.0.0.1"
    """Address on which `lab up` and `lab api` listen."""
    port: Annotated[int, Field(ge=0, lt=65536)] = 3000
    """Port of the Dagster UI; 0 takes a free one."""
    api_port: Annotated[int, Field(ge=0, lt=65536)] = 8000
    """Port of the HTTP API; 0 takes a free one."""
    api_token: SecretStr | None = None
    """Clients of the HTTP API must send it, `Authorization: Bearer ...`; default: none, which only loopback may do."""
    max_queued: Annotated[int, Field(ge=1)] = 1000
    """Runs that may wait in the queue before the HTTP API takes no more."""
    dagster_url: str | None = None
    """Where the Dagster webserver is; default: on LAB_HOST, at LAB_PORT."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """Threads of a simulation; default: all cores."""
    max_concurrent_runs: Annotated[int, Field(ge=1)] = 4
    """Runs that execute at once; the others wait in the queue."""
    max_concurrent_runs_per_strategy: Annotated[int, Field(ge=1)] = 2
    """Backtests of one strategy that execute at once."""
    run_retries: Annotated[int, Field(ge=0)] = 2
    """Times that a run whose process died is run again; a run with bad input never is."""
    keep_days: Annotated[int, Field(ge=1)] | None = None
    """Days after which `lab gc` deletes a run with everything it left; default: never."""
    keep_runs_per_strategy: Annotated[int, Field(ge=1)] | None = None
    """Newest runs of each strategy that `lab gc` keeps; default: all."""
    keep_leaders: Annotated[int, Field(ge=0)] = 10
    """Runs at the top of each leaderboard that `lab gc` keeps, however old."""
    retention_cron: Cron = "30 3 * * *"
    """When the retention schedule, once it is switched on, does what `lab gc` does, in UTC."""
    nightly_cron: Cron = "0 2 * * *"
    """When the nightly schedule, once it is switched on, runs every active strategy, in UTC."""
    nightly_window_days: Annotated[int, Field(ge=1)] = 30
    """Whole days (UTC) before the night whose calls a nightly backtest simulates."""
    automation_timeframe: Timeframe | None = None
    """Length of the candles on which schedules and sensors run backtests; default: the shortest of the lake."""
    min_coverage: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of a mint's candles that must exist before the coverage check warns about it."""
    statistics_cron: Cron = "0 * * * *"
    """When statistics are computed whatever has run: minute, hour, day of month, month, day of week, in UTC."""
    clickhouse_url: SecretStr | None = None
    """A ClickHouse server, `http[s]://user:password@host[:port][/database]`; default: the embedded one."""
    clickhouse_cluster: str | None = None
    """Cluster of that server on which the tables are spread; default: none, a single server."""
    clickhouse_idle_seconds: Annotated[float, Field(gt=0)] = 600.0
    """Seconds after which the embedded ClickHouse stops if nobody uses it."""
    clickhouse_wait_seconds: Annotated[float, Field(ge=0)] = 60.0
    """Seconds for which a write is tried again while ClickHouse is away, before the run fails."""
    retention_days: Annotated[int, Field(ge=1)] | None = None
    """Days after which ClickHouse drops metrics, fills and logs; default: never."""

    @property
    def lake_dir(self) -> Path:
        """Candles and calls."""
        return self.home / "lake"

    @property
    def artifacts_dir(self) -> Path:
        """Published runs."""
        return self.home / "artifacts"

    @property
    def catalog_path(self) -> Path:
        """Strategies and statistics, one DuckDB file."""
        return self.home / "catalog.duckdb"

    @property
    def statistics_dir(self) -> Path:
        """Columns of the counted runs, from which statistics are computed."""
        return self.home / "statistics"

    @property
    def clickhouse_dir(self) -> Path:
        """The embedded ClickHouse: data, endpoint file, log."""
        return self.home / "clickhouse"

    @property
    def strategies_dir(self) -> Path:
        """Where strategies were kept before there was a catalog."""
        return self.home / "strategies"

    @property
    def dagster_home(self) -> Path:
        """Dagster's own state: its DAGSTER_HOME."""
        return self.home / "dagster"


def load_settings() -> Settings:
    """Read the settings.

    Raises:
        InvalidConfigError: naming every variable whose value cannot be used.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        problems = [type(p)(PREFIX + p.path.upper(), p.message) for p in field_errors(error)]
        raise InvalidConfigError("the environment", problems) from None
    return settings.model_copy(update={"home": settings.home.expanduser().absolute()})


def origin(name: str) -> str:
    """Say where the value of a setting comes from: `environment` or `default`."""
    return "environment" if PREFIX + name.upper() in os.environ else "default"


def unknown_variables() -> list[str]:
    """Return the variables that start like a setting but are none: most likely misspelt."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    return sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known and name != TEST_DATA)


TEST_DATA = "LAB_TEST_DATA"
