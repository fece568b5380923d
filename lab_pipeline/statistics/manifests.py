"""The few things that statistics need of a manifest, read quickly: there are ten thousand of them."""

import hashlib
from datetime import datetime
from typing import Annotated, Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lab_pipeline.domain.fill_assumptions import FillAssumptions, fill_assumptions
from lab_pipeline.runs.artifact_storage import Storage
from lab_pipeline.runs.artifacts import LAYOUT, unreadable


class _PartEntry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class _Portfolio(_PartEntry):
    initialCapital: float  # noqa: N815 - as a strategy document spells it


class _Strategy(_PartEntry):
    portfolio: _Portfolio
    exit: dict[str, Any]
    costs: dict[str, Any] = {}
    intrabar: str = "stop_first"
    finerTimeframe: str | None = None  # noqa: N815 - as above
    endOfData: dict[str, Any] = {}  # noqa: N815 - as above


class _Spec(_PartEntry):
    strategyId: str  # noqa: N815 - as above
    strategyVersion: str  # noqa: N815 - as above
    timeframe: str
    strategy: _Strategy


class _File(_PartEntry):
    name: str
    rows: int | None
    bytes: int
    sha256: str


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

    @property
    def fill_assumptions(self) -> FillAssumptions:
        """What the run assumes of its fills."""
        return fill_assumptions(self.spec.strategy.model_dump(exclude={"portfolio"}))

    def rows(self, name: str) -> int:
        """Return how many rows a Parquet artifact has."""
        return self.file(name).rows or 0

    def file(self, name: str) -> _File:
        """Return what is said of a file."""
        return next(file for file in self.files if file.name == name)


def directories(storage: Storage) -> pa.Table:
    """Return what is published, `run_id` and `directory`: a number that tells one from its successor.

    Asking for a list costs far less than a look at each of them.
    """
    rows = list(storage.stamps())
    numbers = pa.array([number for _, number in rows], pa.uint64())
    return pa.table({"run_id": pa.array([name for name, _ in rows], pa.string()), "directory": numbers})


def read_head(content: bytes, place: str) -> tuple[str, ManifestHead]:
    """Return the sha256 of a manifest and what statistics need of it; arguments as of `artifacts.read_manifest`.

    Raises:
        UnreadableManifestError: naming the place, if it is damaged or of a later version.
    """
    try:
        head = ManifestHead.model_validate_json(content)
        head.fill_assumptions  # noqa: B018 - what is wrong with them is wrong with the manifest
        return hashlib.sha256(content).hexdigest(), head
    except ValidationError as error:
        raise unreadable(place, content, error) from None
