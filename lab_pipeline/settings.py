"""Every setting of the lab, once; documented in docs/settings.md and printed by `lab settings`."""

import base64
import os
import re
import stat
import unicodedata
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from lab_pipeline.domain.cron import Cron
from lab_pipeline.domain.errors import FieldError, InvalidConfigError
from lab_pipeline.domain.model import field_errors, problem_at
from lab_pipeline.domain.text import shown
from lab_pipeline.domain.timeframe import Timeframe
from lab_pipeline.files.bucket import ADDRESS
from lab_pipeline.home import default_home

PREFIX = "LAB_"
HOST_NAME = re.compile(r"[a-z0-9_.-]+|[0-9a-f:.]+")
OWNER = re.compile(r"[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}|team:[a-zA-Z0-9_]+")
"""What Dagster takes for an owner."""
ENCODED_SECRET = "whsec_"  # noqa: S105 - how one begins

MOST = 1_000_000
"""Runs of anything."""
MOST_PROCESSES = 1_000
MOST_DAYS = 36_500
MOST_SECONDS = 366 * 86_400.0
MOST_A_MINUTE = 1_000_000
MOST_COST = 1e9
MOST_API_ID = 2**31 - 1


def _web_address(value: SecretStr) -> SecretStr:
    _source_address(value.get_secret_value())
    return value


def _source_address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("write an address that begins with https:// or http://")
    return value


def _bucket_address(value: str) -> str:
    if not ADDRESS.fullmatch(value):
        raise ValueError("write s3://bucket or s3://bucket/prefix")
    return value.rstrip("/")


def _scheduler_address(value: str) -> str:
    try:
        parts = urlsplit(value)
        known = parts.scheme in ("tcp", "tls", "ws", "wss") and parts.hostname and parts.port
    except ValueError:  # of the port
        known = None
    if not known:
        raise ValueError("write tcp://host:port or tls://host:port")
    return value


def _signing_secret(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if text.startswith(ENCODED_SECRET):
        try:
            base64.b64decode(text.removeprefix(ENCODED_SECRET), validate=True)
        except ValueError:
            raise ValueError(f"what follows {ENCODED_SECRET} must be Base64") from None
    return value


def _header_text(value: SecretStr | None) -> SecretStr | None:
    if value is not None and not re.fullmatch(r"[!-~]+", value.get_secret_value()):
        raise ValueError("write letters, digits and signs of ASCII, without spaces: it is sent in a header")
    return value


def _host_list(value: str | None) -> str | None:
    for name in _split(value):
        if not HOST_NAME.fullmatch(name):
            raise ValueError(f"write names or addresses alone, as lab.example, without scheme and port: {name!r}")
    return value


def _owner_list(value: str | None) -> str | None:
    for owner in _listed(value):
        if not OWNER.fullmatch(owner):
            raise ValueError(f"write addresses as ann@lab.example, or teams as team:quant: {owner!r}")
    return value


def _listed(value: str | None) -> list[str]:
    return [name.strip() for name in (value or "").split(",") if name.strip()]


def _split(value: str | None) -> list[str]:
    return [name.lower().strip("[]") for name in _listed(value)]


class Settings(BaseSettings):
    """The settings, read from the environment (`LAB_HOME`, `LAB_PORT`, ...)."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True, use_attribute_docstrings=True
    )

    home: Path = Field(default_factory=default_home)
    """Directory with all state; deleting it resets the lab. Default: `.lab` beside dagster.yaml."""
    host: str = "127.0.0.1"
    """Address on which `lab up`, `lab api` and `lab webserver` listen."""
    port: Annotated[int, Field(ge=0, lt=65536)] = 3000
    """Port of the Dagster UI; 0 picks a free one."""
    api_port: Annotated[int, Field(ge=0, lt=65536)] = 8000
    """Port of the HTTP API; 0 picks a free one."""
    api_url: str | None = None
    """Where browsers reach the HTTP API, for the links in the UI; default: on LAB_HOST, at LAB_API_PORT."""
    api_token: Annotated[SecretStr | None, AfterValidator(_header_text)] = None
    """Required by UI (a log-in page) and HTTP API (`Authorization: Bearer ...`); default: none, on loopback only."""
    read_only: bool = False
    """Whether HTTP API and pages refuse every change: `true` shows a lab to people who may only look."""
    allowed_hosts: Annotated[str | None, AfterValidator(_host_list)] = None
    """Names, separated by commas, under which the lab is reached, besides LAB_HOST and those of loopback."""
    definitions: Annotated[str, Field(pattern=r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")] = "lab_pipeline.definitions"
    """Module whose Dagster definitions `lab up` serves; that of a project made by `lab init` adds to the lab's."""
    max_queued: Annotated[int, Field(ge=1, le=MOST)] = 1000
    """Runs that may wait in the queue before the HTTP API refuses more."""
    dagster_url: str | None = None
    """Where the Dagster webserver is; default: on LAB_HOST, at LAB_PORT."""
    threads: Annotated[int, Field(ge=1, le=MOST_PROCESSES)] | None = None
    """Threads of a simulation; results do not depend on it; default: all cores."""
    sweep_memory: Annotated[int, Field(ge=1_000_000, le=2**50)] = 2_000_000_000
    """Bytes for the sums of a sweep by set, day and caller, and again for the candles that an optimiser keeps."""
    max_concurrent_runs: Annotated[int, Field(ge=1, le=MOST_PROCESSES)] = 4
    """Runs that execute at once; the others wait in the queue."""
    max_concurrent_runs_per_strategy: Annotated[int, Field(ge=1, le=MOST_PROCESSES)] = 2
    """Backtests of one strategy that execute at once."""
    run_retries: Annotated[int, Field(ge=0, le=MOST_PROCESSES)] = 2
    """Retries of a run whose process died; a run with bad input is never retried."""
    dask_address: Annotated[str, AfterValidator(_scheduler_address)] | None = None
    """Scheduler of a Dask cluster that runs may ask for, `tcp://host:8786`; default: none."""
    artifacts: Annotated[str, AfterValidator(_bucket_address)] | None = None
    """Where runs and sweeps are published, `s3://bucket/prefix`; default: in directories of LAB_HOME."""
    artifacts_cache_bytes: Annotated[int, Field(ge=1_000_000, le=2**50)] = 10_000_000_000
    """Bytes of copies of what lies in that bucket, in LAB_HOME; the longest unused go first."""
    inbox: Path | None = None
    """Directory whose files are ingested while the lab runs; default: `inbox` in LAB_HOME."""
    keep_days: Annotated[int, Field(ge=1, le=MOST_DAYS)] | None = None
    """Days after which `lab gc` deletes a run or a sweep and everything it wrote; default: never."""
    keep_runs_per_strategy: Annotated[int, Field(ge=1, le=MOST)] | None = None
    """Newest runs, and newest sweeps, of each strategy that `lab gc` keeps; default: all."""
    keep_leaders: Annotated[int, Field(ge=0, le=MOST)] = 10
    """Runs at the top of each leaderboard that `lab gc` keeps, however old."""
    keep_lake_days: Annotated[int, Field(ge=1, le=MOST_DAYS)] = 7
    """Days for which `lab gc` keeps replaced versions of the lake, for `--as-of`; those that pinned or leading runs
    read stay."""
    retention_cron: Cron = "30 3 * * *"
    """When the retention schedule, once switched on, does what `lab gc` does; cron, in UTC."""
    nightly_cron: Cron = "0 2 * * *"
    """When the nightly schedule, once switched on, runs every active strategy; cron, in UTC."""
    nightly_window_days: Annotated[int, Field(ge=1, le=MOST_DAYS)] = 30
    """Whole days (UTC) before the night whose calls a nightly backtest simulates."""
    automation_timeframe: Timeframe | None = None
    """Timeframe of backtests started by schedules and sensors; default: the shortest in the lake."""
    min_coverage: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of its candles below which a mint is thin; the coverage check warns where more than a fifth are."""
    lake_fresh_days: Annotated[int, Field(ge=0, le=MOST_DAYS)] = 7
    """Days after which the UI shows candles, or calls, as stale if none were brought in; 0: never."""
    owners: Annotated[str | None, AfterValidator(_owner_list)] = None
    """Whom the UI names as owners of the assets, separated by commas: addresses, or teams as `team:quant`."""
    statistics_cron: Cron = "0 * * * *"
    """When statistics are computed, besides after backtests; cron, in UTC."""
    webhook_url: Annotated[SecretStr, AfterValidator(_web_address)] | None = None
    """Where failed runs and failed data checks are reported, `https://...`; default: only in the log."""
    webhook_secret: Annotated[SecretStr, AfterValidator(_signing_secret)] | None = None
    """Signs those reports (Standard Webhooks): `whsec_` and Base64, or any text; needed with LAB_WEBHOOK_URL."""
    clickhouse_url: SecretStr | None = None
    """A ClickHouse server, `http[s]://user:password@host[:port][/database]`; default: the embedded one."""
    clickhouse_cluster: str | None = None
    """Cluster of that server to spread the tables over; default: none, a single server."""
    clickhouse_idle_seconds: Annotated[float, Field(gt=0, le=MOST_SECONDS)] = 600.0
    """Seconds after which the embedded ClickHouse stops if nobody uses it."""
    clickhouse_wait_seconds: Annotated[float, Field(ge=0, le=MOST_SECONDS)] = 60.0
    """Seconds to retry a write while ClickHouse is away, before the run fails."""
    retention_days: Annotated[int, Field(ge=1, le=MOST_DAYS)] | None = None
    """Days after which ClickHouse drops metrics, fills and logs; default: never."""
    geckoterminal_url: Annotated[str, AfterValidator(_source_address)] = "https://api.geckoterminal.com/api/v2"
    """Where GeckoTerminal is, of which `lab fetch` asks for candles."""
    geckoterminal_per_minute: Annotated[int, Field(ge=1, le=MOST_A_MINUTE)] = 30
    """Requests a minute that all processes of the lab together send to GeckoTerminal."""
    coingecko_url: Annotated[str, AfterValidator(_source_address)] = "https://pro-api.coingecko.com/api/v3"
    """Where CoinGecko is."""
    coingecko_key: Annotated[SecretStr | None, AfterValidator(_header_text)] = None
    """CoinGecko's key, of a plan with on-chain data."""
    coingecko_per_minute: Annotated[int, Field(ge=1, le=MOST_A_MINUTE)] = 500
    """Requests a minute that the plan of the CoinGecko key allows."""
    coingecko_cost_per_1000: Annotated[float, Field(ge=0, le=MOST_COST)] | None = None
    """What 1,000 requests cost by that plan, in any currency, for the estimate; default: not known."""
    birdeye_url: Annotated[str, AfterValidator(_source_address)] = "https://public-api.birdeye.so"
    """Where Birdeye is."""
    birdeye_key: Annotated[SecretStr | None, AfterValidator(_header_text)] = None
    """Birdeye's key."""
    birdeye_per_minute: Annotated[int, Field(ge=1, le=MOST_A_MINUTE)] = 60
    """Requests a minute that the plan of the Birdeye key allows."""
    birdeye_cost_per_1000: Annotated[float, Field(ge=0, le=MOST_COST)] | None = None
    """What 1,000 requests cost by that plan, in any currency, for the estimate; default: not known."""
    binance_vision_url: Annotated[str, AfterValidator(_source_address)] = "https://data.binance.vision/data"
    """Where the archive of Binance is."""
    binance_vision_per_minute: Annotated[int, Field(ge=1, le=MOST_A_MINUTE)] = 300
    """Files a minute that all processes of the lab together ask of it."""
    ccxt_url: Annotated[str, AfterValidator(_source_address)] | None = None
    """Where exchanges are asked in place of their own addresses, such as a proxy's; default: at their own."""
    ccxt_per_minute: Annotated[int, Field(ge=1, le=MOST_A_MINUTE)] = 60
    """Requests a minute that all processes of the lab together send to each exchange."""
    candles_clickhouse_url: Annotated[SecretStr, AfterValidator(_web_address)] | None = None
    """A ClickHouse server with quantBot's candles, `http[s]://user:password@host[:port][/database]`; default: none."""
    telegram_api_id: Annotated[int, Field(ge=1, le=MOST_API_ID)] | None = None
    """Number of an application that a user of Telegram has registered there, to read chats with."""
    telegram_api_hash: SecretStr | None = None
    """The hash that goes with LAB_TELEGRAM_API_ID."""
    telegram_session: SecretStr | None = None
    """Session string of Telethon: whoever has it may do what its user may."""

    @model_validator(mode="after")
    def _has_what_belongs_together(self) -> Self:
        needed = {
            "webhook_url": ["webhook_secret"],
        }
        for name, others in needed.items():
            for other in others if getattr(self, name) is not None else ():
                if getattr(self, other) is None:
                    raise problem_at(other, f"is needed with {PREFIX}{name.upper()}")
        return self

    @property
    def host_names(self) -> frozenset[str]:
        """The names of `allowed_hosts`."""
        return frozenset(_split(self.allowed_hosts))

    @property
    def owner_names(self) -> tuple[str, ...]:
        """The names of `owners`."""
        return tuple(_listed(self.owners))

    @property
    def lake_dir(self) -> Path:
        """Candles and calls."""
        return self.home / "lake"

    @property
    def inbox_dir(self) -> Path:
        """Where files are dropped that are to be ingested."""
        return self.home / "inbox" if self.inbox is None else self.inbox.expanduser().absolute()

    @property
    def raw_dir(self) -> Path:
        """Answers of sources as they were received."""
        return self.home / "raw"

    @property
    def artifacts_dir(self) -> Path:
        """Published runs, where no bucket is set."""
        return self.home / "artifacts"

    @property
    def artifacts_cache_dir(self) -> Path:
        """Copies of what was published to a bucket."""
        return self.home / "artifacts.cache"

    @property
    def sweeps_dir(self) -> Path:
        """Published sweeps, where no bucket is set, and what unfinished ones have computed."""
        return self.home / "sweeps"

    @property
    def catalog_path(self) -> Path:
        """Strategies and statistics, one DuckDB file."""
        return self.home / "catalog.duckdb"

    @property
    def signals_dir(self) -> Path:
        """Signals of the lab's own: Python files, whose names are those of the signals."""
        return self.home / "signals"

    @property
    def callers_path(self) -> Path:
        """Who is who among callers, one YAML file that need not be there."""
        return self.home / "callers.yaml"

    @property
    def chat_patterns_path(self) -> Path:
        """What is a call in a message, beside what ships: one YAML file that need not be there."""
        return self.home / "chat_patterns.yaml"

    @property
    def statistics_dir(self) -> Path:
        """Columns of the counted runs, from which statistics are computed."""
        return self.home / "statistics"

    @property
    def scratch_dir(self) -> Path:
        """What the processes of a run share while it is executed."""
        return self.home / "scratch"

    @property
    def clickhouse_dir(self) -> Path:
        """The embedded ClickHouse: data, endpoint file, log."""
        return self.home / "clickhouse"

    @property
    def dagster_home(self) -> Path:
        """Dagster's own state: its DAGSTER_HOME."""
        return self.home / "dagster"


NO_TEXT = {"Cc", "Cs", "Zl", "Zp"}
"""Unicode's categories of controls, halves of characters and line breaks, which no line can hold."""
NOT_IN_A_HOME = {
    "?": "is where DuckDB takes the name of a database to end, so no directory above it may have it",
    "[": "begins a pattern where Dagster looks for its dagster.yaml, so no directory above it may have it",
}
"""What no part of LAB_HOME may hold, since a library makes more of it than a name and offers no way to write it."""
PRIVATE = 0o077
"""The umask under which the processes of a lab make files: what they hold is for their user alone."""
NUMBA = "NUMBA_CACHE_DIR"
AREAS = frozenset({
    "artifacts", "cache", "catalog", "clickhouse", "dagster", "inbox", "lake", "logs", "raw", "scratch",
    "statistics", "strategies", "sweeps",
})  # fmt: skip
"""How the names of what a lab keeps in its home begin."""


def keep_private(home: Path) -> None:
    """Take a home, and what the lab keeps in it, from everybody but its user, if it is open to others.

    Links are left as they are, and so is what belongs to somebody else or lies on a read-only disk, such as a volume
    that an administrator mounted: they know who may read it. So is a directory that is everybody's, such as /tmp.
    """
    try:
        mode = home.stat().st_mode
    except OSError:
        return  # it is not there yet
    if not mode & PRIVATE or mode & stat.S_ISVTX:
        return
    for area in home.iterdir():
        if area.name.lstrip(".").partition(".")[0] in AREAS and not area.is_symlink():
            _close(area)
            for directory, directories, files in os.walk(area):
                for name in (*directories, *files):
                    _close(Path(directory, name))
    _close(home)  # last: whatever happens before, it is done again


def places_of_libraries(home: Path) -> dict[str, str]:
    """Return the variables that give libraries a place for what they keep, where their user has none.

    A user of a service often has no directory, or one that cannot be written. Variables that are set stay as they are.
    """
    users, code = Path(os.path.expanduser("~")), Path(__file__).parent / "engine" / "__pycache__"  # noqa: PTH111 - pathlib's raises where there is none
    if NUMBA in os.environ or (users.is_absolute() and _is_writable(users)) or _is_writable(code):
        return {}
    return {NUMBA: str(home / "cache" / "numba")}


def _is_writable(directory: Path) -> bool:
    """Return whether a directory can be written, or made."""
    there = next(path for path in (directory, *directory.parents) if path.exists())
    return os.access(there, os.W_OK | os.X_OK)


def _close(path: Path) -> None:
    with suppress(OSError):
        mode = path.lstat().st_mode
        if mode & PRIVATE and not stat.S_ISLNK(mode):
            path.chmod(stat.S_IMODE(mode) & ~PRIVATE)


def load_settings(home: Path | None = None) -> Settings:
    """Read the settings.

    Args:
        home: instead of LAB_HOME.

    Raises:
        InvalidConfigError: naming every variable whose value cannot be used.
    """
    variables = frozenset((name, value) for name, value in os.environ.items() if name.upper().startswith(PREFIX))
    has_home = any(name.upper() == f"{PREFIX}HOME" and value for name, value in variables)
    try:
        settings = _settings_of(variables, None if has_home else default_home())
    except ValidationError as error:
        problems = [type(p)(PREFIX + p.path.upper(), p.message) for p in field_errors(error)]
        raise InvalidConfigError("the environment", problems) from None
    home = (home or settings.home).expanduser().absolute()
    if odd := next((one for one in str(home) if one in NOT_IN_A_HOME or unicodedata.category(one) in NO_TEXT), None):
        why = NOT_IN_A_HOME.get(odd, "is no character of a name")
        raise InvalidConfigError(
            "the environment", [FieldError(f"{PREFIX}HOME", f"{shown(str(home))}: {shown(odd)} {why}")]
        )
    return settings.model_copy(update={"home": home})


@lru_cache(maxsize=8)
def _settings_of(variables: frozenset[tuple[str, str]], home: Path | None) -> Settings:  # noqa: ARG001 - what is remembered
    """Read the settings once for the same variables; it takes as long as thousands of looks at them."""
    return Settings() if home is None else Settings(home=home)


def origin(name: str) -> str:
    """Say where the value of a setting comes from: `environment` or `default`."""
    return "environment" if PREFIX + name.upper() in os.environ else "default"


def unknown_variables() -> list[str]:
    """Return the variables that start like a setting but are none: most likely misspelt."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    return sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known and name != TEST_DATA)


TEST_DATA = "LAB_TEST_DATA"
