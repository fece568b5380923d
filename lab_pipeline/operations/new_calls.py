"""Which calls have come, or changed, since they were last looked at."""

import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import polars as pl

from lab_pipeline.domain import frames
from lab_pipeline.domain.backtest import TimeRange, iso
from lab_pipeline.files.atomic import make_directory, whole_file
from lab_pipeline.lake import Lake

NAME = re.compile("[0-9a-f]{16}")
"""What states are called; a cursor may be any text."""


@dataclass(frozen=True)
class CallsState:
    """The calls of a lake as far as its candles reach; a later call waits for the candles that it needs.

    Attributes:
        name: changes when the calls do, or the candles reach further.
        calls: columns of `frames.CALLS`.
    """

    name: str
    calls: pl.DataFrame


@dataclass(frozen=True)
class NewCalls:
    """What differs from one state to the next.

    Attributes:
        callers: of the calls that are new or have changed, ascending.
        range: that selects them.
        count: how many they are.
        digest: stands for them, and for the state before.
    """

    callers: list[str]
    range: TimeRange
    count: int
    digest: str

    @property
    def window(self) -> str:
        """The range as the tag of a run says it."""
        return f"{iso(self.range.start)}/{iso(self.range.end)}"


def calls_now(lake: Lake, timeframe: str) -> CallsState:
    """Read the calls that have candles to be simulated on, all of one state of the lake."""
    while True:
        version, calls = lake.calls_version(), lake.calls()
        if lake.calls_version() == version:
            break
    extent = lake.candles_extent(timeframe)
    if extent is None:
        return CallsState(_name(version, timeframe), calls.clear())
    reached = calls.filter(pl.col("called_at") <= extent[1])
    return CallsState(_name(version, timeframe, iso(extent[1])), reached)


def name_now(lake: Lake, timeframe: str) -> str:
    """Return the name of the state that `calls_now` would read, without reading it."""
    extent = lake.candles_extent(timeframe)
    return _name(lake.calls_version(), timeframe, *([] if extent is None else [iso(extent[1])]))


def compare(before: CallsState, now: CallsState) -> NewCalls | None:
    """Return what is new or has changed; none if nothing is."""
    columns = frames.CALLS.names()
    new = now.calls.select(columns).join(before.calls, on=columns, how="anti").sort("call_id")
    if new.is_empty():
        return None
    first, last = new.select(first=pl.col("called_at").min(), last=pl.col("called_at").max()).row(0)
    content = f"{before.name}\n{new.write_csv()}"
    return NewCalls(
        callers=new["caller"].unique().sort().to_list(),
        range=TimeRange(start=first, end=last + timedelta(milliseconds=1)),
        count=new.height,
        digest=hashlib.sha256(content.encode()).hexdigest()[:16],
    )


@dataclass(frozen=True)
class SeenCalls:
    """States of the calls that were looked at, a file each.

    Attributes:
        directory: of the files.
    """

    directory: Path

    def read(self, name: str) -> CallsState | None:
        """Return a state; none if there is none of that name, not any more, or what is left of it is damaged."""
        if not NAME.fullmatch(name):
            return None
        try:
            calls = pl.read_parquet(self._path(name), glob=False)
        except (pl.exceptions.PolarsError, OSError):
            return None
        return CallsState(name, calls) if _is_whole(calls) else None

    def has_any(self) -> bool:
        """Return whether calls were ever looked at."""
        return any(self.directory.glob("*.parquet"))

    def write(self, state: CallsState) -> None:
        """Keep a state."""
        make_directory(self.directory)
        with whole_file(self._path(state.name)) as file:
            state.calls.write_parquet(file)

    def keep_only(self, names: Collection[str]) -> None:
        """Remove all other states, and what was being written when its process was killed."""
        for path in self.directory.iterdir():
            if path.stem not in names:
                path.unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self.directory / f"{name}.parquet"


def _is_whole(calls: pl.DataFrame) -> bool:
    """Return whether calls can be compared with those of the lake, as those of an earlier version may not."""
    return all(calls.schema.get(name) == dtype for name, dtype in frames.CALLS.items())


def _name(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
