"""The artifacts of a run: complete or not there at all."""

import hashlib
import importlib.metadata
import json
import platform
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, ValidationError

from lab_pipeline.domain.backtest import Moment, ResolvedSpec, now
from lab_pipeline.domain.errors import LabError, later_layout
from lab_pipeline.domain.fill_assumptions import BEFORE, FillAssumptions, fill_assumptions
from lab_pipeline.domain.model import Record, field_errors
from lab_pipeline.domain.summary import Summary
from lab_pipeline.files.atomic import sync_file
from lab_pipeline.files.disk_errors import disk_error
from lab_pipeline.runs.artifact_storage import (
    MANIFEST,
    MISSING,
    RUNS,
    ChangedError,
    DirectoryStorage,
    ListedFile,
    Storage,
    storage_of,
)
from lab_pipeline.settings import Settings

LAYOUT = 1
"""Of the manifest and the files that it lists. A manifest of the first does not say."""
SUMMARY = "summary.json"
REPORT = "report.html"
REMEDY = (
    "`lab restore` brings it back from a backup, `lab runs retry` computes the run again under another id, and "
    "`lab runs delete` lets go of it"
)
LIBRARIES = ("lab-pipeline", "dagster", "numba", "numpy", "polars", "pyarrow")
RUN_DIRECTORY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}")


class UnknownRunError(LabError):
    """No artifacts are published under that run id."""


class UnreadableManifestError(LabError):
    """A manifest is damaged, or of a later version of the lab."""


class DamagedArtifactError(LabError):
    """A file that was published is lost, or has other bytes."""


class UnknownArtifactError(LabError):
    """The run has no artifact of that name."""


class ColumnSchema(Record):
    """A column of a Parquet artifact and its Arrow type."""

    name: str
    type: str


class ArtifactFile(Record):
    """What the manifest says of one file."""

    name: str
    format: str
    """`parquet`, `json` or `html`."""
    rows: int | None
    """Rows of a Parquet file; null for the others."""
    bytes: int
    sha256: str
    columns: Annotated[tuple[ColumnSchema, ...] | None, Field(alias="schema")]
    """Columns of a Parquet file; null for the others."""


class Manifest(Record):
    """The record of a run: written last, so what it lists is complete."""

    run_id: str
    fingerprint: str
    spec: ResolvedSpec
    snapshot: str
    """Hash of the rows that the run read."""
    lake: Annotated[str | None, Field(exclude_if=lambda lake: lake is None)] = None
    """The version of the lake that had them, such as `v12.5`; runs of earlier versions of the lab do not say it."""
    engine_version: str
    library_versions: dict[str, str]
    created_at: Moment
    summary: Summary
    files: tuple[ArtifactFile, ...]
    layout: Annotated[int, Field(ge=1, le=LAYOUT, exclude_if=lambda layout: layout == 1)] = 1
    """Not written where it is the first, which every version of the lab can read."""

    @property
    def fill_assumptions(self) -> FillAssumptions:
        """What the run assumes of its fills."""
        return fill_assumptions(self.spec.strategy.to_json_dict())


@dataclass(frozen=True)
class Provenance:
    """Where a result comes from: everything that its fingerprint is made of."""

    spec: ResolvedSpec
    snapshot: str
    engine_version: str
    lake: str | None = None
    """The version of the lake; not part of the fingerprint, since others may have the same rows."""

    @property
    def fingerprint(self) -> str:
        """The hash that runs with the same result share."""
        return self.spec.fingerprint(self.snapshot, self.engine_version)


class ArtifactStore:
    """All published runs of a lab, in a directory or in a bucket.

    Readers see a whole run or none. What a killed process leaves is never seen; the next publication or `lab gc`
    removes it.

    Attributes:
        storage: where they are.
    """

    def __init__(self, place: Path | Storage) -> None:
        """Open the artifacts in a directory, which need not exist yet, or in another place."""
        self.storage: Storage = DirectoryStorage(place) if isinstance(place, Path) else place

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return those of a lab."""
        return cls(storage_of(settings, RUNS, settings.artifacts_dir))

    @property
    def place(self) -> str:
        """Path or address of all of them."""
        return self.storage.place

    def publish(
        self, run_id: str, provenance: Provenance, frames: Mapping[str, pl.DataFrame], summary: Summary, report: str
    ) -> Manifest:
        """Write the artifacts of a run and make them visible at once.

        Publishing a run id again with the same fingerprint returns what is there: an op that is retried after they
        have become visible has nothing left to do.

        Args:
            run_id: Dagster's run id.
            provenance: what was simulated on what.
            frames: file name without suffix -> rows.
            summary: the headline numbers.
            report: the tear sheet, HTML.

        Raises:
            LabError: if the disk is full or cannot be written, the bucket does not answer, or the id holds another
                result.
        """
        try:
            with self.storage.staging() as staging:
                files = write_results(staging, frames, summary, report)
                manifest = Manifest(
                    run_id=run_id,
                    fingerprint=provenance.fingerprint,
                    spec=provenance.spec,
                    snapshot=provenance.snapshot,
                    lake=provenance.lake,
                    engine_version=provenance.engine_version,
                    library_versions=library_versions(),
                    created_at=now(),
                    summary=summary,
                    files=tuple(files),
                    layout=LAYOUT,
                )
                return self._reveal(staging, manifest)
        except OSError as error:
            raise LabError(
                f"cannot write the artifacts of run {run_id} to {self.place}, nothing was published: "
                f"{self._reason(error)}"
            ) from error

    def adopt(self, run_id: str, published: str) -> Manifest:
        """Publish the artifacts of another run under this id, too: its files are not written again.

        For a run that goes on where that one failed after its publication.

        Raises:
            UnknownRunError: if nothing is published under the other id.
            LabError: if the disk cannot be written, or the bucket does not answer.
        """
        manifest = self.manifest(published).model_copy(update={"run_id": run_id})
        try:
            with self.storage.staging() as staging:
                self.storage.link(published, run_id, manifest.files, staging)
                return self._reveal(staging, manifest)
        except OSError as error:
            raise LabError(
                f"cannot take over the artifacts of run {published} in {self.place}: {self._reason(error)}"
            ) from error

    def manifest(self, run_id: str) -> Manifest:
        """Return the manifest of a run.

        Raises:
            UnknownRunError: if nothing is published under that id.
            UnreadableManifestError: if it is damaged or of a later version.
        """
        try:
            if RUN_DIRECTORY.fullmatch(run_id):
                return read_manifest(self.storage.manifest(run_id), self.storage.at(run_id, MANIFEST))
        except (FileNotFoundError, NotADirectoryError):
            pass
        raise UnknownRunError(f"no artifacts of run '{run_id}' in {self.place}")

    def signature(self, run_id: str) -> str | None:
        """Return what tells the manifest of a run from another one, or None if nothing is published under that id."""
        if not RUN_DIRECTORY.fullmatch(run_id):  # no name from outside leads out of the directory, or to what is no run
            return None
        return self.storage.signature(run_id)

    def delete(self, run_id: str) -> None:
        """Delete the artifacts of a run: invisible at once, then gone; a run that has none is no error.

        Raises:
            LabError: if the disk does not let go of them, or the bucket does not answer.
        """
        if not self.has(run_id):
            return
        try:
            self.storage.delete(run_id)
        except OSError as error:
            raise LabError(f"cannot delete the artifacts of run {run_id}: {self._reason(error)}") from error

    def leftovers(self, *, remove: bool = False) -> int:
        """Return the bytes that killed publishers left, or remove them now."""
        return self.storage.leftovers(remove=remove)

    def damage(self, run_id: str) -> list[str]:
        """Read every file of a run where it is kept and say of each that is missing or changed which it is."""
        try:
            manifest = self.manifest(run_id)
        except UnreadableManifestError as error:
            return [str(error)]
        return [problem for file in manifest.files if (problem := self._problem(run_id, file))]

    def missed(self, run_id: str) -> list[str]:
        """Say of each file of a run that is missing or of another size which it is, without reading it."""
        try:
            manifest = self.manifest(run_id)
        except UnreadableManifestError as error:
            return [str(error).partition(f". {REMEDY}")[0]]
        return [said_of(self.storage, run_id, *one) for one in self.storage.missed(run_id, manifest.files)]

    def _problem(self, run_id: str, file: ArtifactFile) -> str | None:
        problem = self.storage.problem(run_id, file)
        return problem and f"{run_id}/{file.name}: {problem}"

    def find(self, start: str) -> str:
        """Return the run id that is, or starts with, `start`.

        Raises:
            UnknownRunError: if no published run has such an id, or more than one.
        """
        found = [name for name in self.run_ids() if name.startswith(start)]
        if start in found or len(found) == 1:
            return start if start in found else found[0]
        many = f"'{start}' is the start of {len(found)} run ids: write more of it"
        raise UnknownRunError(many if found else f"unknown run '{start}': nothing is published under such an id")

    def has(self, run_id: str) -> bool:
        """Say whether a run is published; text that is no name of a directory is none of a run."""
        return self.signature(run_id) is not None

    def run_ids(self) -> list[str]:
        """Return the ids of all published runs, in no particular order."""
        return self.storage.names()

    def manifests(self) -> Iterator[Manifest]:
        """Iterate over the manifests of all published runs, in no particular order."""
        for name in self.run_ids():
            yield read_manifest(self.storage.manifest(name), self.storage.at(name, MANIFEST))

    def path(self, run_id: str, name: str, *, verify: bool = False) -> Path:
        """Return where an artifact can be read on this machine, by its name with or without its suffix.

        Args:
            run_id: of the run.
            name: of the artifact, as the manifest gives it.
            verify: whether to read the file and compare its hash, rather than look at its size alone.

        Raises:
            UnknownRunError: if nothing is published under that run id.
            UnknownArtifactError: naming what the run has.
            DamagedArtifactError: if the file is lost, or is not what was published.
        """
        file = self.file(run_id, name)
        if verify and (problem := self._problem(run_id, file)):
            raise DamagedArtifactError(f"{problem}. {REMEDY}")
        try:
            return Publication(self.storage, run_id).path(file)
        except FileNotFoundError:
            raise DamagedArtifactError(f"{self.storage.at(run_id, file.name)} is lost. {REMEDY}") from None

    def file(self, run_id: str, name: str) -> ArtifactFile:
        """Return what the manifest says of an artifact, by its name with or without its suffix.

        Raises:
            UnknownRunError: if nothing is published under that run id.
            UnknownArtifactError: naming what the run has.
        """
        manifest = self.manifest(run_id)
        for file in manifest.files:
            if name in (file.name, Path(file.name).stem):
                return file
        names = ", ".join(file.name for file in manifest.files)
        raise UnknownArtifactError(f"run {run_id} has no artifact '{name}': it has {names}")

    def _reason(self, error: OSError) -> str:
        return disk_error(error, self.storage.disk) or error.strerror or str(error)

    def _reveal(self, staging: Path, manifest: Manifest) -> Manifest:
        write_text(staging / MANIFEST, "json", manifest.model_dump_json(indent=2, by_alias=True) + "\n")
        if self.storage.reveal(staging, manifest.run_id, manifest.files):
            return manifest
        published = self.manifest(manifest.run_id)
        if published.fingerprint != manifest.fingerprint:
            raise LabError(
                f"run {manifest.run_id} is already published in {self.storage.at(manifest.run_id)} with another "
                f"result (fingerprint {published.fingerprint[:12]}, now {manifest.fingerprint[:12]})"
            )
        return published


@dataclass(frozen=True)
class Publication:
    """The files of a run or a sweep, or of a directory in one.

    Attributes:
        storage: that it is in.
        name: of the run or sweep.
        within: directory of the files, which their names leave out; none by default.
    """

    storage: Storage
    name: str
    within: str = ""

    @property
    def place(self) -> str:
        """Path or address of it."""
        return self.storage.at(self.name, self.within)

    def path(self, file: ArtifactFile) -> Path:
        """Return where a file can be read on this machine within the next minutes.

        Raises:
            FileNotFoundError: if it is gone.
            DamagedArtifactError: if it is not what was published.
        """
        whole = file.model_copy(update={"name": f"{self.within}/{file.name}"}) if self.within else file
        try:
            return self.storage.local(self.name, whole)
        except ChangedError as error:
            raise DamagedArtifactError(
                f"{self.storage.at(self.name, whole.name)} is damaged ({error}). {REMEDY}"
            ) from None


def said_of(storage: Storage, name: str, file: ListedFile, problem: str) -> str:
    """Say what is wrong with a file of a publication."""
    place = storage.at(name, file.name)
    return f"{place} is lost" if problem == MISSING else f"{place} is damaged ({problem})"


def read_manifest(content: bytes, place: str) -> Manifest:
    """Read a manifest.

    Args:
        content: of its file.
        place: path or address of that.

    Raises:
        UnreadableManifestError: naming the place, if it is damaged or of a later version.
    """
    try:
        return Manifest.model_validate_json(content if b'"stopFill"' in content else _completed(content))
    except ValidationError as error:
        raise unreadable(place, content, error) from None


def _completed(content: bytes) -> bytes:
    """Let a manifest say how stops filled, from before there was a choice; what is no manifest stays as it is."""
    try:
        document = json.loads(content)
        document["spec"]["strategy"]["exit"].setdefault("stopFill", BEFORE)
    except (ValueError, LookupError, TypeError, AttributeError):
        return content
    return json.dumps(document).encode()


def unreadable(place: str, content: bytes, error: ValidationError) -> UnreadableManifestError:
    """Say why a manifest cannot be read: a later version wrote it, whatever else it is, or it is damaged."""
    try:
        document = json.loads(content)
    except ValueError:
        document = None
    layout = document.get("layout") if isinstance(document, dict) else None
    if isinstance(layout, int) and layout > LAYOUT:
        return UnreadableManifestError(later_layout(place, layout, LAYOUT))
    return UnreadableManifestError(f"{place} is damaged ({field_errors(error)[0]}). {REMEDY}")


def write_results(
    directory: Path, frames: Mapping[str, pl.DataFrame], summary: Summary, report: str
) -> list[ArtifactFile]:
    """Write what a run returned, and say of each file what a manifest says; arguments as of `ArtifactStore.publish`."""
    files = [write_parquet(directory / f"{name}.parquet", frame) for name, frame in frames.items()]
    files.append(write_text(directory / SUMMARY, "json", summary.model_dump_json(indent=2) + "\n"))
    files.append(write_text(directory / REPORT, "html", report))
    return files


def write_parquet(path: Path, frame: pl.DataFrame) -> ArtifactFile:
    """Write an artifact, and say of it what a manifest says; equal frames give equal bytes."""
    table = _table(frame)
    pq.write_table(table, path, compression="zstd")
    return _describe(path, "parquet", rows=frame.height, columns=_columns(table.schema))


def write_parts(path: Path, parts: Iterable[pl.DataFrame]) -> ArtifactFile:
    """Write an artifact part by part, so that it need not be held as a whole; there is at least one part."""
    following = iter(parts)
    table = _table(next(following))
    rows = table.num_rows
    with pq.ParquetWriter(path, table.schema, compression="zstd") as writer:
        writer.write_table(table)
        for part in following:
            writer.write_table(_table(part))
            rows += part.height
    return _describe(path, "parquet", rows=rows, columns=_columns(table.schema))


def _table(frame: pl.DataFrame) -> pa.Table:
    """Return a frame with `string` rather than polars' string views: what the widest circle of readers knows."""
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    return table.cast(
        pa.schema([pa.field(f.name, pa.string() if pa.types.is_large_string(f.type) else f.type) for f in table.schema])
    )


def _columns(schema: pa.Schema) -> tuple[ColumnSchema, ...]:
    return tuple(ColumnSchema(name=field.name, type=str(field.type)) for field in schema)


def write_text(path: Path, kind: str, text: str) -> ArtifactFile:
    """Write an artifact, and say of it what a manifest says; `kind` is its format."""
    path.write_text(text, encoding="utf-8")
    return _describe(path, kind, rows=None, columns=None)


def _describe(path: Path, kind: str, rows: int | None, columns: tuple[ColumnSchema, ...] | None) -> ArtifactFile:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    sync_file(path)
    return ArtifactFile(
        name=path.name, format=kind, rows=rows, bytes=path.stat().st_size, sha256=digest, columns=columns
    )


def library_versions() -> dict[str, str]:
    """Return the versions of what makes artifacts."""
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {"python": platform.python_version(), **versions}
