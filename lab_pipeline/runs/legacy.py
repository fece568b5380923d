"""Read the runs of the lab before this one from its DuckDB files.

That lab kept two tables, of which files hold either or both. Columns are found by name, in snake_case or camelCase, in
any order, and each has several names that were in use; what is not there is unknown, not zero:

| table | what is read | names |
|---|---|---|
| `run_status` | id | `run_id`, `id` |
| | status | `status`, `state` |
| | times | `created_at`, `started_at`, `completed_at` (`finished_at`, `ended_at`, `updated_at`) |
| | error | `error`, `error_message`, `message` |
| `simulation_runs` | id | `run_id`, `simulation_id`, `id` |
| | strategy | `strategy_id`, `strategy_name`, `strategy`; `strategy_version`; `strategy_config`, `config` (JSON) |
| | selection | `caller_name`, `caller`; `mint`, `token_address`, `token`; `timeframe`, `interval` |
| | range | `start_time`, `start_date`, `from_date`; `end_time`, `end_date`, `to_date` |
| | counts | `total_calls`, `calls`; `total_trades`, `trades`; `winning_trades`, `wins` |
| | fractions | `win_rate`; `total_return`, `pnl_pct`; `max_drawdown`; `avg_return`, `avg_pnl` (each also with `_pct`) |
| | ratios | `sharpe_ratio`, `sharpe`; `profit_factor` |
| | money | `initial_capital`; `final_capital` |

Folders of artifacts are named after their run and are not taken over: `found.problems` says which there are.

Times are timestamps, ISO 8601, or Unix seconds, milliseconds or microseconds, told apart by magnitude. Percentages
become plain fractions: a name that ends in `_pct` or `_percent` is one; a `win_rate` or `max_drawdown` above 1, too.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from lab_pipeline.domain.errors import LabError
from lab_pipeline.domain.timeframe import timeframe_ms

STATUS_TABLE, RUNS_TABLE = "run_status", "simulation_runs"
DATABASES = ("*.duckdb", "*.db", "*.ddb")
STATUSES = {
    **dict.fromkeys(("completed", "complete", "success", "succeeded", "done"), "completed"),
    **dict.fromkeys(("failed", "failure", "error"), "failed"),
    **dict.fromkeys(("canceled", "cancelled", "aborted"), "canceled"),
}
UNFINISHED = {"queued", "pending", "running", "started"}
IDS = ("run_id", "simulation_id", "id")
ENDS = ("completed_at", "finished_at", "ended_at", "updated_at")
PLAIN_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}")
PERCENT = 100.0
LARGEST_FRACTION = 1.0
MICROSECONDS, MILLISECONDS = 1e14, 1e11
"""Above these a number of Unix time counts in them."""


@dataclass(frozen=True)
class LegacyRun:
    """A run of the old lab, in the units of this one.

    Attributes:
        run_id: its id there.
        status: `completed`, `failed` or `canceled`.
        created_at, started_at, completed_at: in UTC.
        error: why it failed.
        fields: what is known of the request and the result, by the names of this lab.
        config: the strategy's configuration as that lab wrote it, if it did.
    """

    run_id: str
    status: str
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    error: str | None
    fields: Mapping[str, Any]
    config: Mapping[str, Any] | None = None


@dataclass
class Unconvertible:
    """A row, or a part of one, that has no place here.

    Attributes:
        where: file, table and row, or id.
        why: what is wrong with it.
    """

    where: str
    why: str


@dataclass
class LegacyLab:
    """What was found.

    Attributes:
        runs: that can be taken over.
        problems: what cannot, row by row.
    """

    runs: list[LegacyRun] = field(default_factory=list)
    problems: list[Unconvertible] = field(default_factory=list)


def read_legacy(source: Path) -> LegacyLab:
    """Read the runs of a DuckDB file, or of every one in a directory.

    Raises:
        LabError: if there is none, or one cannot be read, or one has neither table.
    """
    files = [source] if source.is_file() else sorted({path for name in DATABASES for path in source.rglob(name)})
    if not files:
        raise LabError(f"{source}: there is no DuckDB file of the old lab (*.duckdb, *.db)")
    found = LegacyLab()
    for path in files:
        _read_file(path, found)
    if source.is_dir():
        found.problems += _artifact_folders(source, {run.run_id for run in found.runs})
    return found


def moment(value: Any) -> datetime | None:  # noqa: ANN401 - whatever a column holds
    """Read a time in any of the notations that were in use; None for none.

    Raises:
        ValueError: if it is no time.
    """
    if value is None or value == "":
        return None
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    if isinstance(value, str) and re.fullmatch(r"\d+(\.\d+)?", value):
        value = float(value)
    if isinstance(value, int | float):
        unit = 1e-6 if value > MICROSECONDS else 1e-3 if value > MILLISECONDS else 1.0
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=value * unit)
    return moment(datetime.fromisoformat(str(value)))


def fraction(name: str, value: Any, *, bounded: bool = False) -> float | None:  # noqa: ANN401 - whatever a column holds
    """Read a number as a plain fraction.

    Args:
        name: of the column, which says whether it is a percentage.
        value: as it is there.
        bounded: whether the quantity cannot exceed 1, so that a larger number must be a percentage.

    Raises:
        ValueError: if it is no number.
    """
    if value is None:
        return None
    number = float(value)
    if not math.isfinite(number):
        return None
    percent = name.endswith(("_pct", "_percent", "_percentage")) or (bounded and abs(number) > LARGEST_FRACTION)
    return number / PERCENT if percent else number


def _read_file(path: Path, found: LegacyLab) -> None:
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            tables = {
                row[0] for row in connection.execute("SELECT table_name FROM information_schema.tables").fetchall()
            }
            states = _rows(connection, STATUS_TABLE) if STATUS_TABLE in tables else []
            simulations = _rows(connection, RUNS_TABLE) if RUNS_TABLE in tables else []
    except duckdb.Error as error:
        raise LabError(f"{path}: {str(error).strip().splitlines()[0]}") from error
    if not {STATUS_TABLE, RUNS_TABLE} & tables:
        has = ", ".join(sorted(tables)) or "none"
        raise LabError(f"{path}: neither a table {STATUS_TABLE} nor {RUNS_TABLE}; it has {has}")
    by_id: dict[str, dict[str, Any]] = {}
    for table, rows in ((STATUS_TABLE, states), (RUNS_TABLE, simulations)):
        for number, row in enumerate(rows, start=1):
            run_id = _first(row, IDS)
            if run_id is None:
                found.problems.append(Unconvertible(f"{path.name}, {table}, row {number}", "it has no id"))
            elif table in by_id.setdefault(str(run_id), {}):
                found.problems.append(
                    Unconvertible(f"{path.name}, {table}, row {number}", f"id {run_id} is there twice")
                )
            else:
                by_id[str(run_id)][table] = row
    for run_id, parts in by_id.items():
        where = f"{path.name}, run {run_id}"
        try:
            found.runs.append(_run(run_id, parts, where, found))
        except ValueError as error:
            found.problems.append(Unconvertible(where, str(error)))


def _artifact_folders(source: Path, run_ids: set[str]) -> Iterator[Unconvertible]:
    """Name the folders of runs: a result of this lab says what was simulated on which candles, and they do not."""
    for directory in sorted(path for path in source.rglob("*") if path.name in run_ids and path.is_dir()):
        files = sum(path.is_file() for path in directory.rglob("*"))
        if files:
            where = f"{directory.relative_to(source)}, artifacts of run {directory.name}"
            yield Unconvertible(where, f"{files} files stay where they are: nothing in them says what made them")


def _rows(connection: duckdb.DuckDBPyConnection, table: str) -> list[dict[str, Any]]:
    result = connection.execute(f"SELECT * FROM {table}")  # noqa: S608 - one of two constants
    names = [_snake(column[0]) for column in result.description or []]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def _run(run_id: str, parts: Mapping[str, Mapping[str, Any]], where: str, found: LegacyLab) -> LegacyRun:
    state, simulation = parts.get(STATUS_TABLE, {}), parts.get(RUNS_TABLE, {})
    if not PLAIN_ID.fullmatch(run_id):
        raise ValueError(f"the id {run_id!r} is no name that a directory can have")
    both = {**simulation, **{key: value for key, value in state.items() if value is not None}}
    word = str(_first(both, ("status", "state")) or "completed").strip().lower()
    if word in UNFINISHED:
        raise ValueError(f"it was {word} when that lab ended")
    if word not in STATUSES:
        raise ValueError(f"its status {word!r} is unknown")
    created = _time(both, ("created_at", "started_at", "timestamp", *ENDS))
    if created is None:
        raise ValueError("it has no time")
    return LegacyRun(
        run_id=run_id,
        status=STATUSES[word],
        created_at=created,
        started_at=_time(both, ("started_at", "created_at")),
        completed_at=_time(both, ENDS),
        error=_text(both, ("error", "error_message", "message")),
        fields=dict(_fields(simulation, where, found)),
        config=_config(simulation, where, found),
    )


def _fields(row: Mapping[str, Any], where: str, found: LegacyLab) -> Iterator[tuple[str, Any]]:
    """Iterate over what is known of request and result, each by its name here; report what cannot be read."""
    readers: list[tuple[str, Sequence[str], Any]] = [
        ("strategy_id", ("strategy_id", "strategy_name", "strategy"), lambda _, value: str(value)),
        ("strategy_version", ("strategy_version",), lambda _, value: str(value)),
        ("caller", ("caller_name", "caller"), lambda _, value: str(value)),
        ("mint", ("mint", "token_address", "token"), lambda _, value: str(value)),
        ("timeframe", ("timeframe", "interval"), lambda _, value: _timeframe(str(value))),
        ("start", ("start_time", "start_date", "from_date"), lambda _, value: moment(value)),
        ("end", ("end_time", "end_date", "to_date"), lambda _, value: moment(value)),
        ("calls", ("total_calls", "calls", "calls_found"), lambda _, value: int(value)),
        ("trades", ("total_trades", "trades", "trade_count"), lambda _, value: int(value)),
        ("wins", ("winning_trades", "wins"), lambda _, value: int(value)),
        ("win_rate", ("win_rate", "win_rate_pct"), lambda name, value: fraction(name, value, bounded=True)),
        ("total_return", ("total_return", "total_return_pct", "pnl_pct"), fraction),
        ("max_drawdown", ("max_drawdown", "max_drawdown_pct"), lambda n, v: abs(fraction(n, v, bounded=True) or 0.0)),
        ("expectancy", ("avg_return", "avg_pnl", "avg_return_pct", "avg_pnl_pct"), fraction),
        ("sharpe", ("sharpe_ratio", "sharpe"), fraction),
        ("profit_factor", ("profit_factor",), fraction),
        ("initial_capital", ("initial_capital",), fraction),
        ("final_capital", ("final_capital",), fraction),
    ]
    for name, columns, read in readers:
        column = next((one for one in columns if row.get(one) is not None), None)
        if column is None:
            continue
        try:
            yield name, read(column, row[column])
        except (ValueError, TypeError, OverflowError) as error:
            found.problems.append(Unconvertible(where, f"{column} = {row[column]!r}: {error}"))


def _config(row: Mapping[str, Any], where: str, found: LegacyLab) -> Mapping[str, Any] | None:
    value = _first(row, ("strategy_config", "config", "config_json"))
    if value is None or isinstance(value, dict):
        return value
    try:
        document = json.loads(str(value))
    except ValueError as error:
        found.problems.append(Unconvertible(where, f"its configuration is no JSON: {error}"))
        return None
    return document if isinstance(document, dict) else None


def _timeframe(text: str) -> str:
    timeframe_ms(text)
    return text


def _time(row: Mapping[str, Any], names: Sequence[str]) -> datetime | None:
    for name in names:
        if (value := row.get(name)) is not None:
            return moment(value)
    return None


def _first(row: Mapping[str, Any], names: Sequence[str]) -> Any:  # noqa: ANN401 - whatever a column holds
    return next((row[name] for name in names if row.get(name) is not None), None)


def _text(row: Mapping[str, Any], names: Sequence[str]) -> str | None:
    value = _first(row, names)
    return None if value is None else str(value)


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
