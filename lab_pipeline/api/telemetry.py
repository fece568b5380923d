"""The lab in numbers for Prometheus."""

import asyncio
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from anyio import to_thread
from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from lab_pipeline.api.routes.health import OK, look
from lab_pipeline.api.stores import Stores
from lab_pipeline.clickhouse.client import status
from lab_pipeline.domain.errors import LabError
from lab_pipeline.operations.disk_usage import disk_use
from lab_pipeline.operations.log_shipper import Backlog, backlog
from lab_pipeline.operations.runs import Durations

FRESH_SECONDS = 5.0
"""For which the stores are not asked again, however many scrape."""
DISK_FRESH_SECONDS = 300.0
"""The same for the size of every area, for which all its files are looked at."""
RUN_SECONDS = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0)
ANSWER_SECONDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0)
disable_created_metrics()  # type: ignore[no-untyped-call]  # as many series again, of no use to anybody

NO_ROUTE = "none"
"""What asks for an address that there is not: their names are anybody's."""


class Requests:
    """What the API has answered since it was started."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._answers = Counter(
            "lab_http_requests", "Answers of the API.", ("method", "route", "status"), registry=registry
        )
        self._seconds = Histogram(
            "lab_http_request_seconds",
            "From a request to the end of its answer.",
            ("method", "route"),
            buckets=ANSWER_SECONDS,
            registry=registry,
        )

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answer; 0 is the status of none, where the client went away first."""
        self._answers.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)


@dataclass(frozen=True)
class Reading:
    """What the stores said at one moment; None of those that said nothing.

    Attributes:
        up: whether each part works.
        queued: runs of every job that wait.
        runs: backtests by status.
        durations: of those that have ended.
        logs: lines that are not in ClickHouse yet.
        free: bytes of the disk.
    """

    up: Mapping[str, bool]
    queued: int | None
    runs: Mapping[str, int]
    durations: Mapping[str, Durations]
    logs: Backlog | None
    free: int | None


@dataclass(eq=False)
class Telemetry(Collector):
    """Reads the stores where what it knows is old, once for all who ask.

    Attributes:
        stores: of the lab.
        registry: has what is counted otherwise.
    """

    stores: Stores
    registry: CollectorRegistry
    _reading: Reading | None = None
    _read_at: float = 0.0
    _used: Mapping[str, int] = field(default_factory=dict)
    _used_at: float = 0.0
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def scrape(self) -> bytes:
        """Return everything as Prometheus reads it."""
        async with self._turn:
            if self._reading is None or time.monotonic() - self._read_at > FRESH_SECONDS:
                self._reading = await to_thread.run_sync(_read, self.stores, limiter=self.stores.threads.health)
                self._read_at = time.monotonic()
            if not self._used or time.monotonic() - self._used_at > DISK_FRESH_SECONDS:
                self._used = await to_thread.run_sync(
                    disk_use, self.stores.settings, limiter=self.stores.threads.health
                )
                self._used_at = time.monotonic()
            registry = CollectorRegistry()
            registry.register(self)
            return generate_latest(registry) + generate_latest(self.registry)

    def describe(self) -> Iterator[Metric]:
        """Say nothing in advance: what there is depends on what works."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Yield what was read last."""
        reading = self._reading
        assert reading is not None  # noqa: S101 - read before
        yield _gauge("lab_store_up", "Whether a part of the lab works.", "store", reading.up)
        if reading.queued is not None:
            yield _gauge("lab_runs", "Backtests by status.", "status", reading.runs)
            yield GaugeMetricFamily("lab_queued_runs", "Runs of every job that wait.", reading.queued)
        seconds = HistogramMetricFamily(
            "lab_run_seconds", "How long the backtests that are on record took.", labels=("status",)
        )
        for name, durations in reading.durations.items():
            bounds = [(str(bound), float(runs)) for bound, runs in zip(RUN_SECONDS, durations.within, strict=True)]
            seconds.add_metric((name,), [*bounds, ("+Inf", float(durations.runs))], durations.seconds)
        yield seconds
        if reading.logs is not None:
            lag = 0.0 if reading.logs.oldest is None else max(0.0, time.time() - reading.logs.oldest)
            yield GaugeMetricFamily("lab_shipper_lag_seconds", "Age of the oldest log line not in ClickHouse.", lag)
            yield GaugeMetricFamily("lab_shipper_waiting_lines", "Log lines not in ClickHouse.", reading.logs.lines)
        if reading.free is not None:
            yield GaugeMetricFamily("lab_disk_free_bytes", "Of the disk of LAB_HOME.", reading.free)
        yield _gauge("lab_disk_used_bytes", "By each area of LAB_HOME; of the last 5 minutes.", "area", self._used)


def _gauge(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    gauge = GaugeMetricFamily(name, text, labels=(label,))
    for key, value in values.items():
        gauge.add_metric((key,), value)
    return gauge


def _read(stores: Stores) -> Reading:
    up = {name: said == OK for name, said in look(stores).items() if name != "disk"}
    queued: int | None = None
    runs: Mapping[str, int] = {}
    durations: Mapping[str, Durations] = {}
    logs: Backlog | None = None
    try:
        queued, runs, durations = stores.runs.waiting(), stores.runs.counts(), stores.runs.durations(RUN_SECONDS)
        up["runs"] = True
        if status(stores.clickhouse.config).state == "running":  # an embedded one that is stopped is not woken for this
            with stores.clickhouse.connection() as clickhouse:
                logs = backlog(stores.instance, clickhouse)
    except SQLAlchemyError:
        up["runs"] = False
    except LabError:
        up["clickhouse" if "runs" in up else "runs"] = False
    try:
        free = shutil.disk_usage(stores.settings.home).free
    except OSError:
        return Reading(up, queued, runs, durations, logs, None)
    return Reading(up, queued, runs, durations, logs, free)
