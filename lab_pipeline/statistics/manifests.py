"""The few things that statistics need of a manifest, read quickly: there are ten thousand of them."""

import hashlib
import os
from datetime import datetime
from pathlib import Path
from typing import Annotated

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lab_pipeline.runs.artifacts import LAYOUT, unreadable


class _PartEntry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class _Portfolio(_PartEntry):
    initialCapital: float  # noqa: N815 - as a strategy document spells it


class _Strategy(_PartEntry):
    portfolio: _Portfolio


class _Spec(_PartEntry):
    strategyId: str  # noqa: N815 - as above
    strategyVersion: str  # noqa: N815 - as above
    timeframe: str
    strategy: _Strategy


class _File(_PartEntry):
    name: str
    rows: int | None


class SummaryHead(_PartEntry):
    """What is taken of a run's summary as it is."""

    calls: int
    entered: int
    total_return: float
    max_drawdown: float
    profit_factor: float | None
    expectancy: float | None
    expectancy_low: float | None
    expectancy_high: float | None
    sharpe: float | None
    sortino: float | None


class ManifestHead(_PartEntry):
    """A manifest without what statistics have no use for."""

    fingerprint: str
    spec: _Spec
    created_at: datetime
    summary: SummaryHead
    files: tuple[_File, ...]
    layout: Annotated[int, Field(le=LAYOUT)] = 1

    def rows(self, name: str) -> int:
        """Return how many rows a Parquet artifact has."""
        return next(file.rows or 0 for file in self.files if file.name == name)


def directories(artifacts_dir: Path) -> pa.Table:
    """Return the directories of artifacts, `run_id` and `directory`: a number that tells one from its successor.

    Asking for a list costs far less than a look at each of them.
    """
    try:
        with os.scandir(artifacts_dir) as found:
            rows = [(entry.name, entry.inode()) for entry in found]
    except FileNotFoundError:
        rows = []
    numbers = pa.array([number for _, number in rows], pa.uint64())
    return pa.table({"run_id": pa.array([name for name, _ in rows], pa.string()), "directory": numbers})


def signature(path: str) -> str | None:
    """Return what changes when a file is written again; none if there is no such file."""
    try:
        status = os.stat(path)  # noqa: PTH116 - text: paths as objects cost more than the call
    except FileNotFoundError:
        return None
    return f"{status.st_size}:{status.st_mtime_ns}"


def read_head(path: Path) -> tuple[str, ManifestHead]:
    """Return the sha256 of a manifest and what statistics need of it.

    Raises:
        UnreadableManifestError: naming the file, if it is damaged or of a later version.
    """
    content = path.read_bytes()
    try:
        return hashlib.sha256(content).hexdigest(), ManifestHead.model_validate_json(content)
    except ValidationError as error:
        raise unreadable(path, content, error) from None
