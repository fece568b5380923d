"""The lab from Python, over HTTP: ask for backtests, wait for them, take what they leave."""

import io
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import polars as pl

from lab_pipeline.domain.errors import FieldError, LabError
from lab_pipeline.files.atomic import drafted

DEFAULT_URL = "http://127.0.0.1:8000"
TIMEOUT_SECONDS = 60.0
POLL_SECONDS = 0.5
UNFINISHED = ("queued", "running")
CHUNK_BYTES = 1 << 20

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
    """A run that was waited for did not complete."""


class StillRunningError(LabError):
    """A run that was waited for took too long; it goes on."""


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
            seed: of the resampling behind the confidence intervals.
            key: idempotency key: the same request under the same key is the same run.

        Raises:
            ApiError: naming every field that cannot be used, or saying why the run cannot be queued now.
        """
        body = _request(
            strategy,
            timeframe,
            start=start,
            end=end,
            version=version,
            mints=mints,
            callers=callers,
            params=params,
            seed=seed,
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
    ) -> dict[str, Any]:
        """Say what a backtest would be and take; arguments and errors are those of `backtest`."""
        body = _request(
            strategy,
            timeframe,
            start=start,
            end=end,
            version=version,
            mints=mints,
            callers=callers,
            params=params,
            seed=seed,
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
        deadline = None if seconds is None else time.monotonic() + seconds
        run = self
        while run.status in UNFINISHED:
            if deadline is not None and time.monotonic() > deadline:
                raise StillRunningError(f"run {run.run_id} is still {run.status} after {seconds:g} s")
            time.sleep(POLL_SECONDS)
            run = run.refresh()
        if run.status != "completed":
            raise RunFailedError(f"run {run.run_id} {run.status}: {run.error or 'somebody stopped it'}")
        return run

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
        """Return a table that the run published: `trades`, `fills`, `paths`, `outcomes` or `equity`."""
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


def _request(
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
) -> dict[str, Any]:
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
    }


def _iso(moment: Moment | None) -> str | None:
    return moment.isoformat() if isinstance(moment, datetime) else moment


def _time(name: str) -> pl.Expr:
    return pl.col(name).str.to_datetime("%Y-%m-%dT%H:%M:%S%.3fZ", time_unit="ms").dt.replace_time_zone("UTC")


def _series(kind: str, points: list[dict[str, Any]]) -> pl.DataFrame:
    names = {"equity": ("open", "high", "low", "close"), "drawdown": ("min",), "exposure": ("mean", "max")}
    counts = dict.fromkeys(("count", "buys", "sells"), pl.Int64()) | {"notional": pl.Float64()}
    columns = counts if kind == "fills" else dict.fromkeys(names[kind], pl.Float64())
    return pl.DataFrame(points, schema={"timestamp": pl.String(), **columns}).with_columns(_time("timestamp"))
