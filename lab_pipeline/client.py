"""The lab from Python, over HTTP: ask for backtests and sweeps, wait for them, take what they leave."""

import io
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import httpx
import polars as pl

from lab_pipeline.domain.errors import FieldError, LabError
from lab_pipeline.files.atomic import drafted

DEFAULT_URL = "http://127.0.0.1:8000"
TIMEOUT_SECONDS = 60.0
POLL_SECONDS = 0.5
UNFINISHED = ("queued", "running")
CHUNK_BYTES = 1 << 20
LONGEST_PAGE = 100

INTEGER, NUMBER, TEXT = pl.Int64(), pl.Float64(), pl.String()
SET_COLUMNS = {
    "setId": INTEGER,
    "rank": INTEGER,
    "eligible": pl.Boolean(),
    "objective": NUMBER,
    "configHash": TEXT,
    **dict.fromkeys(("trades", "entered", "wins"), INTEGER),
    **dict.fromkeys(
        ("winRate", "expectancy", "expectancySe", "expectancyLower", "medianReturn", "profitFactor", "holdMinutes"),
        NUMBER,
    ),
    **dict.fromkeys(("ambiguous", "days", "callers", "byKernel"), INTEGER),
    **dict.fromkeys(("plateau", "trainExpectancy", "laneMin"), NUMBER),
    "trainTrades": INTEGER,
}
"""Of a frame of sets, beside a column for each parameter."""
FOLD_COLUMNS = {
    "fold": INTEGER,
    **dict.fromkeys(("trainStart", "trainEnd", "testStart", "testEnd"), TEXT),
    **dict.fromkeys(("purgedTrades", "setId"), INTEGER),
    **dict.fromkeys(("trainExpectancy", "testExpectancy"), NUMBER),
    "testTrades": INTEGER,
}
CALLER_COLUMNS = {
    "setId": INTEGER,
    "caller": TEXT,
    **dict.fromkeys(("trades", "wins"), INTEGER),
    **dict.fromkeys(("expectancy", "netSum", "netSumsq", "pValue", "qValue"), NUMBER),
}

Moment = datetime | str
"""A moment, or how ISO 8601 writes it."""


class ApiError(LabError):
    """The lab answered with an error.

    Attributes:
        status: of HTTP.
        code: the API's word for it.
        errors: the fields that it is about, if it is about any.
    """

    def __init__(self, status: int, code: str, message: str, errors: Sequence[FieldError]) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.errors = tuple(errors)


class RunFailedError(LabError):
    """A run or sweep that was waited for did not complete."""


class StillRunningError(LabError):
    """A run or sweep that was waited for took too long; it goes on."""


class Client:
    """A lab's HTTP API.

    Example:
        >>> with Client() as client:  # doctest: +SKIP
        ...     run = client.backtest("ladder", "5m", start="2025-02-01", end="2025-03-01").wait()
        ...     print(run.summary["expectancy"], run.artifact("trades").height)
    """

    def __init__(self, url: str | None = None, token: str | None = None, *, http: httpx.Client | None = None) -> None:
        """Connect.

        Args:
            url: of the API; by default where `lab up` puts it.
            token: that the lab asks for; by default that of LAB_API_TOKEN.
            http: a client to send the requests with; it stays the caller's.
        """
        token = token or os.environ.get("LAB_API_TOKEN")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._own = http is None
        self._http = http or httpx.Client(base_url=url or DEFAULT_URL, headers=headers, timeout=TIMEOUT_SECONDS)

    def backtest(
        self,
        strategy: str,
        timeframe: str,
        *,
        start: Moment,
        end: Moment,
        version: str | None = None,
        mints: Sequence[str] | None = None,
        callers: Sequence[str] | None = None,
        params: Mapping[str, Any] | None = None,
        seed: int = 0,
        as_of: str | None = None,
        key: str | None = None,
    ) -> "RunHandle":
        """Queue a backtest and return its run.

        Args:
            strategy: id of a stored strategy.
            timeframe: length of the candles, such as `5m`.
            start: earliest call, inclusive.
            end: latest call, exclusive.
            version: of the strategy; the latest by default.
            mints: only calls on these; all by default.
            callers: only calls of these; all by default.
            params: strategy fields to override, by path.
            seed: of what chance makes of the calls.
            as_of: a version of the lake, such as `v12.5`, or a time for the last one until then; the newest by default.
            key: idempotency key: the same request under the same key is the same run.

        Raises:
            ApiError: naming every field that cannot be used, or saying why the run cannot be queued now.
        """
        body = backtest_request(
            strategy,
            timeframe,
            start=start,
            end=end,
            version=version,
            mints=mints,
            callers=callers,
            params=params,
            seed=seed,
            as_of=as_of,
        )
        headers = {} if key is None else {"Idempotency-Key": key}
        return self.run(self.send("POST", "/backtest", json=body, headers=headers).json()["runId"])

    def dry_run(
        self,
        strategy: str,
        timeframe: str,
        *,
        start: Moment,
        end: Moment,
        version: str | None = None,
        mints: Sequence[str] | None = None,
        callers: Sequence[str] | None = None,
        params: Mapping[str, Any] | None = None,
        seed: int = 0,
        as_of: str | None = None,
    ) -> dict[str, Any]:
        """Say what a backtest would be and take; arguments and errors are those of `backtest`."""
        body = backtest_request(
            strategy,
            timeframe,
            start=start,
            end=end,
            version=version,
            mints=mints,
            callers=callers,
            params=params,
            seed=seed,
            as_of=as_of,
        )
        answer: dict[str, Any] = self.send("POST", "/backtest/dry-run", json=body).json()
        return answer

    def run(self, run_id: str) -> "RunHandle":
        """Return a run.

        Raises:
            ApiError: if there is none of that id.
        """
        return RunHandle(self, self.send("GET", f"/runs/{run_id}").json())

    def runs(self, **filters: str | Sequence[str]) -> Iterator[dict[str, Any]]:
        """Iterate over runs, newest first; filters are those of `GET /runs`: `status`, `strategyId`, `caller`, ...

        A list of values wants any of them: `lab.runs(status=["queued", "running"])`.
        """
        return self.pages("/runs", "runs", filters)

    def sweep(self, spec: Mapping[str, Any], *, key: str | None = None) -> "SweepHandle":
        """Queue a sweep and return it.

        Args:
            spec: what to sweep, as `POST /sweeps` takes it: `strategy`, `timeframe`, `space` and others, in camelCase.
            key: idempotency key: the same request under the same key is the same sweep.

        Raises:
            ApiError: naming every field that cannot be used, or saying why the sweep cannot be queued now.
        """
        headers = {} if key is None else {"Idempotency-Key": key}
        return self.find_sweep(self.send("POST", "/sweeps", json=dict(spec), headers=headers).json()["sweepId"])

    def sweep_dry_run(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """Say what a sweep would be and take: its sets, calls and memory; arguments and errors are those of `sweep`."""
        answer: dict[str, Any] = self.send("POST", "/sweeps/dry-run", json=dict(spec)).json()
        return answer

    def find_sweep(self, sweep_id: str) -> "SweepHandle":
        """Return a sweep.

        Raises:
            ApiError: if there is none of that id.
        """
        return SweepHandle(self, self.send("GET", f"/sweeps/{sweep_id}").json())

    def sweeps(self) -> Iterator[dict[str, Any]]:
        """Iterate over sweeps, newest first."""
        return self.pages("/sweeps", "sweeps", {})

    def add_strategy(self, strategy_id: str, config: Mapping[str, Any], **words: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """Store a strategy and return its version; words are `name`, `description` and `tags`."""
        body = {"id": strategy_id, "config": config, **words}
        answer: dict[str, Any] = self.send("POST", "/strategies", json=body).json()
        return answer

    def strategies(self) -> Iterator[dict[str, Any]]:
        """Iterate over the strategies in their latest versions."""
        return self.pages("/strategies", "strategies", {})

    def compare(self, *run_ids: str) -> dict[str, Any]:
        """Compare 2 to 20 runs."""
        answer: dict[str, Any] = self.send("GET", "/compare", params={"run": run_ids}).json()
        return answer

    def pages(self, path: str, plural: str, parameters: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Iterate over the rows of a list, page by page."""
        cursor: str | None = None
        while True:
            sent = {**parameters, **({} if cursor is None else {"cursor": cursor})}
            page = self.send("GET", path, params=sent).json()
            yield from page[plural]
            cursor = page["nextCursor"]
            if cursor is None:
                return

    def send(self, method: str, path: str, **request: Any) -> httpx.Response:  # noqa: ANN401 - httpx's own arguments
        """Send a request and return the answer.

        Raises:
            ApiError: if it is an error.
            LabError: if nothing answers.
        """
        try:
            answer = self._http.request(method, path, **request)
        except httpx.TransportError as error:
            raise LabError(f"no lab answers at {self._http.base_url}: {error}") from error
        raise_for_error(answer)
        return answer

    def stream(self, path: str, parameters: Mapping[str, Any]) -> Any:  # noqa: ANN401 - httpx's context manager
        """Begin to read an answer that may be large."""
        return self._http.stream("GET", path, params=dict(parameters))

    def close(self) -> None:
        """Disconnect."""
        if self._own:
            self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True)
class RunHandle:
    """A run as the lab knew it when it was asked; `refresh` asks again.

    Attributes:
        details: the API's own answer.
    """

    lab: Client = field(repr=False)
    details: dict[str, Any] = field(repr=False)

    @property
    def run_id(self) -> str:
        """Its id."""
        return str(self.details["runId"])

    @property
    def status(self) -> str:
        """`queued`, `running`, `completed`, `failed` or `canceled`."""
        return str(self.details["status"])

    @property
    def summary(self) -> dict[str, Any]:
        """The run in numbers, by camelCase names; empty before it has published."""
        return self.details["summary"] or {}

    @property
    def error(self) -> str | None:
        """Why it failed."""
        error: str | None = self.details["error"]
        return error

    def refresh(self) -> "RunHandle":
        """Return the run as it is now."""
        return self.lab.run(self.run_id)

    def wait(self, seconds: float | None = None) -> "RunHandle":
        """Wait until the run has completed, and return it.

        Args:
            seconds: to wait at most; without limit by default.

        Raises:
            RunFailedError: if it failed, saying why, or was canceled.
            StillRunningError: if it takes longer; it goes on.
        """
        return _completed(self, f"run {self.run_id}", seconds)

    def cancel(self) -> None:
        """Stop the run."""
        self.lab.send("POST", f"/runs/{self.run_id}/cancel")

    def retry(self) -> "RunHandle":
        """Queue the same again."""
        return self.lab.run(self.lab.send("POST", f"/runs/{self.run_id}/retry").json()["runId"])

    def delete(self) -> None:
        """Delete the run and everything that it left."""
        self.lab.send("DELETE", f"/runs/{self.run_id}")

    def logs(self, **parameters: str) -> pl.DataFrame:
        """Return the run's log: timestamp, level, step, message; parameters are those of the route (`level`, `q`)."""
        rows = self.lab.pages(f"/runs/{self.run_id}/logs", "logs", {"limit": 1000, **parameters})
        names = ("timestamp", "level", "step", "message")
        frame = pl.DataFrame(
            [[row[name] for name in names] for row in rows], dict.fromkeys(names, pl.String()), orient="row"
        )
        return frame.with_columns(_time("timestamp"))

    def metrics(
        self,
        *types: str,
        interval: str = "raw",
        start: Moment | None = None,
        end: Moment | None = None,
        max_points: int | None = None,
    ) -> dict[str, pl.DataFrame]:
        """Return series by type, ascending by timestamp.

        Args:
            types: `equity`, `drawdown`, `exposure`, `fills`; all by default.
            interval: of the buckets: `raw`, `1m`, `5m`, `15m`, `1h`, `4h` or `1d`.
            start: earliest moment, inclusive.
            end: latest moment, exclusive.
            max_points: of a series; buckets become longer until they fit.
        """
        given = {"from": _iso(start), "to": _iso(end), "maxPoints": max_points}
        parameters = {"type": list(types), "interval": interval, **{k: v for k, v in given.items() if v is not None}}
        answer = self.lab.send("GET", f"/runs/{self.run_id}/metrics", params=parameters).json()["metrics"]
        return {kind: _series(kind, points) for kind, points in answer.items()}

    def artifacts(self) -> list[dict[str, Any]]:
        """List what the run published."""
        return list(self.lab.pages(f"/runs/{self.run_id}/artifacts", "artifacts", {}))

    def artifact(self, name: str) -> pl.DataFrame:
        """Return a table that the run published: `trades`, `fills`, `paths`, `outcomes`, `equity` and others."""
        return pl.read_parquet(io.BytesIO(self.lab.send("GET", f"/runs/{self.run_id}/artifacts/{name}").content))

    def download(self, name: str, to: Path, *, form: str | None = None) -> Path:
        """Write an artifact to a file, as it is or as `csv` or `json`; it appears when it is complete."""
        parameters = {} if form is None else {"format": form}
        with (
            drafted(to) as draft,
            self.lab.stream(f"/runs/{self.run_id}/artifacts/{name}", parameters) as answer,
            draft.open("wb") as file,
        ):
            if answer.is_error:
                answer.read()
                raise_for_error(answer)
            for chunk in answer.iter_bytes(CHUNK_BYTES):
                file.write(chunk)
        return to


@dataclass(frozen=True)
class SweepHandle:
    """A sweep as the lab knew it when it was asked; `refresh` asks again.

    Attributes:
        details: the API's own answer.
    """

    lab: Client = field(repr=False)
    details: dict[str, Any] = field(repr=False)

    @property
    def sweep_id(self) -> str:
        """Its id."""
        return str(self.details["sweepId"])

    @property
    def status(self) -> str:
        """`queued`, `running`, `completed`, `failed` or `canceled`."""
        return str(self.details["status"])

    @property
    def verdict(self) -> str | None:
        """How far its winner can be believed, in words; null before it has published."""
        verdict: str | None = self.details["verdict"]
        return verdict

    @property
    def error(self) -> str | None:
        """Why it failed."""
        error: str | None = self.details["error"]
        return error

    def refresh(self) -> "SweepHandle":
        """Return the sweep as it is now."""
        return self.lab.find_sweep(self.sweep_id)

    def wait(self, seconds: float | None = None) -> "SweepHandle":
        """Wait until the sweep has completed, and return it; arguments and errors are those of `RunHandle.wait`."""
        return _completed(self, f"sweep {self.sweep_id}", seconds)

    def cancel(self) -> None:
        """Stop the sweep."""
        self.lab.send("POST", f"{self._path}/cancel")

    def sets(
        self,
        *,
        sort: str = "rank",
        order: Literal["asc", "desc"] = "asc",
        filters: Sequence[str] = (),
        limit: int | None = None,
    ) -> pl.DataFrame:
        """Return sets, a row each: a column a parameter, by its path, and the figures, by their camelCase names.

        Args:
            sort: a figure or a parameter.
            order: of its values; sets without it come last.
            filters: comparisons that all hold, such as `trades>=30` or `exit.stopLoss=null`.
            limit: rows at most; all by default.

        Raises:
            ApiError: naming the filter or the column that is wrong, or if the sweep has not published.
        """
        page = LONGEST_PAGE if limit is None else min(limit, LONGEST_PAGE)
        asked = {"sort": sort, "order": order, "filter": list(filters), "limit": page}
        rows = islice(self.lab.pages(f"{self._path}/sets", "sets", asked), limit)
        return _frame(({**row, **row.pop("params")} for row in rows), SET_COLUMNS)

    def set(self, set_id: int) -> dict[str, Any]:
        """Return a set: its figures, the strategy that it is (`config`), and what it earned by day (`byDay`)."""
        answer: dict[str, Any] = self.lab.send("GET", f"{self._path}/sets/{set_id}").json()
        return answer

    def selection(self) -> dict[str, Any]:
        """Return every figure of the selection, and the verdict."""
        answer: dict[str, Any] = self.lab.send("GET", f"{self._path}/selection").json()
        return answer

    def heatmap(
        self, x: str, y: str, z: str = "expectancyLower", *, reduce: Literal["best", "median"] = "best"
    ) -> pl.DataFrame:
        """Return a row for each pair of values of two parameters: both, the figure, sets, and sets that may win.

        Args:
            x: path of a parameter that is varied.
            y: of another.
            z: a figure of the sets; null where none of a pair may win.
            reduce: of the sets of a pair, the best or the median.
        """
        asked = {"x": x, "y": y, "z": z, "reduce": reduce}
        found = self.lab.send("GET", f"{self._path}/heatmap", params=asked).json()
        rows = [
            {x: across, y: down, z: value, "sets": sets, "eligible": eligible}
            for down, *cells in zip(
                found["y"]["values"], found["values"], found["sets"], found["eligible"], strict=True
            )
            for across, value, sets, eligible in zip(found["x"]["values"], *cells, strict=True)
        ]
        return pl.DataFrame(rows, infer_schema_length=None)

    def folds(self) -> pl.DataFrame:
        """Return the windows of the walk forward, the set that won in each, and what became of it."""
        times = ("trainStart", "trainEnd", "testStart", "testEnd")
        rows = self.lab.pages(f"{self._path}/folds", "folds", {})
        return _frame(rows, FOLD_COLUMNS).with_columns(map(_time, times))

    def callers(self, *, set_ids: Sequence[int] = (), callers: Sequence[str] = ()) -> pl.DataFrame:
        """Return what each caller's calls brought sets; of all sets and callers by default."""
        asked = {"setId": list(set_ids), "caller": list(callers), "limit": LONGEST_PAGE}
        return _frame(self.lab.pages(f"{self._path}/callers", "callers", asked), CALLER_COLUMNS)

    def artifacts(self) -> list[dict[str, Any]]:
        """List what the sweep published."""
        return list(self.lab.pages(f"{self._path}/artifacts", "artifacts", {}))

    def artifact(self, name: str) -> pl.DataFrame:
        """Return a table that the sweep published: `sets`, `days`, `callers`, `folds`, `oos` and others."""
        return pl.read_parquet(io.BytesIO(self.lab.send("GET", f"{self._path}/artifacts/{name}").content))

    def reveal(self, by: str) -> dict[str, Any]:
        """Open the holdout: say how the winner fares there. The look is recorded under a name, and counted for ever."""
        answer: dict[str, Any] = self.lab.send("POST", f"{self._path}/reveal", json={"by": by}).json()
        return answer

    def promote(self, set_id: int, strategy: str, *, despite_verdict: bool = False) -> dict[str, Any]:
        """Make a set a version of a strategy, and return which.

        Args:
            set_id: of the set.
            strategy: id of the strategy, a new one or one there is.
            despite_verdict: whether to do so though the verdict does not support the set.
        """
        body = {"as": strategy, "despiteVerdict": despite_verdict}
        answer: dict[str, Any] = self.lab.send("POST", f"{self._path}/sets/{set_id}/promote", json=body).json()
        return answer

    @property
    def _path(self) -> str:
        return f"/sweeps/{self.sweep_id}"


Handle = TypeVar("Handle", RunHandle, SweepHandle)


def _completed(handle: Handle, named: str, seconds: float | None) -> Handle:
    """Wait for what was asked for."""
    deadline = None if seconds is None else time.monotonic() + seconds
    while handle.status in UNFINISHED:
        if deadline is not None and time.monotonic() > deadline:
            raise StillRunningError(f"{named} is still {handle.status} after {seconds:g} s")
        time.sleep(POLL_SECONDS)
        handle = handle.refresh()
    if handle.status != "completed":
        raise RunFailedError(f"{named} {handle.status}: {handle.error or 'somebody stopped it'}")
    return handle


def raise_for_error(answer: httpx.Response) -> None:
    """Raise what an answer says went wrong, if anything."""
    if not answer.is_error:
        return
    try:
        error = answer.json()["error"]
        problems = [FieldError(one["path"], one["message"]) for one in error["details"]]
        code, message = error["code"], error["message"]
    except (ValueError, KeyError, TypeError):
        code, message, problems = "unknown", f"{answer.status_code} from {answer.url}: no lab answers there", []
    raise ApiError(answer.status_code, code, message, problems)


def backtest_request(
    strategy: str,
    timeframe: str,
    *,
    start: Moment,
    end: Moment,
    version: str | None,
    mints: Sequence[str] | None,
    callers: Sequence[str] | None,
    params: Mapping[str, Any] | None,
    seed: int,
    as_of: str | None,
) -> dict[str, Any]:
    """Return the body of `POST /backtest`; arguments are those of `Client.backtest`.

    Raises:
        LabError: if both mints and callers are given.
    """
    if mints is not None and callers is not None:
        raise LabError("give mints or callers, not both")
    universe: dict[str, Any] = {"type": "all"}
    if mints is not None:
        universe = {"type": "tokens", "mints": list(mints)}
    if callers is not None:
        universe = {"type": "callers", "callers": list(callers)}
    return {
        "strategyId": strategy,
        "strategyVersion": version,
        "universe": universe,
        "timeframe": timeframe,
        "range": {"start": _iso(start), "end": _iso(end)},
        "seed": seed,
        "params": dict(params or {}),
        **({} if as_of is None else {"asOf": as_of}),
    }


def _iso(moment: Moment | None) -> str | None:
    return moment.isoformat() if isinstance(moment, datetime) else moment


def _time(name: str) -> pl.Expr:
    return pl.col(name).str.to_datetime("%Y-%m-%dT%H:%M:%S%.3fZ", time_unit="ms").dt.replace_time_zone("UTC")


def _frame(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Put rows into a frame, which has the columns that are known even where there is no row."""
    found = pl.DataFrame(list(rows), infer_schema_length=None)
    known = [pl.col(name).cast(kind) for name, kind in columns.items() if name in found.columns]
    return found.with_columns(known) if found.width else pl.DataFrame(schema=columns)


def _series(kind: str, points: list[dict[str, Any]]) -> pl.DataFrame:
    names = {"equity": ("open", "high", "low", "close"), "drawdown": ("min",), "exposure": ("mean", "max")}
    counts = dict.fromkeys(("count", "buys", "sells"), pl.Int64()) | {"notional": pl.Float64()}
    columns = counts if kind == "fills" else dict.fromkeys(names[kind], pl.Float64())
    return pl.DataFrame(points, schema={"timestamp": pl.String(), **columns}).with_columns(_time("timestamp"))
