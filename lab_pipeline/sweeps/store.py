"""The artifacts of a sweep: complete or not there at all."""

import json
import shutil
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import polars as pl
from pydantic import Field, JsonValue, ValidationError

from lab_pipeline.domain.backtest import Moment, now
from lab_pipeline.domain.errors import LabError
from lab_pipeline.domain.frames import TIMESTAMP
from lab_pipeline.domain.model import Record, field_errors
from lab_pipeline.domain.summary import Summary
from lab_pipeline.files.atomic import sync_directory
from lab_pipeline.files.disk_errors import disk_error
from lab_pipeline.runs.artifact_storage import (
    MANIFEST,
    MISSING,
    SWEEPS,
    ChangedError,
    DirectoryStorage,
    Storage,
    storage_of,
)
from lab_pipeline.runs.artifacts import (
    REPORT,
    RUN_DIRECTORY,
    ArtifactFile,
    DamagedArtifactError,
    UnknownArtifactError,
    library_versions,
    said_of,
    write_parquet,
    write_parts,
    write_results,
    write_text,
)
from lab_pipeline.settings import Settings
from lab_pipeline.statistics.trials import Evaluation, Kind, TrialsLedger
from lab_pipeline.sweeps.records import objective_name, sync

PINNED = "pinned"
"""A sweep that has a file of this name is kept for ever."""
PARTIAL = ".partial"
"""Directory of what unfinished sweeps have computed, for whoever goes on with them."""
GIVEN_UP = timedelta(days=7)
REMEDY = (
    "`lab restore` brings it back from a backup; `lab sweep delete`, or where the manifest is lost the removal of its "
    "directory, lets go of it"
)


class UnknownSweepError(LabError):
    """No sweep is published, or known, under that id."""


TOP = "top"
"""Directory of the backtests of the best sets, one each."""
Results = tuple[Mapping[str, pl.DataFrame], Summary, str]
"""Frames, summary and tear sheet of a backtest, as `lab_pipeline.runs.artifacts.write_results` takes them."""


class SweepManifest(Record):
    """The record of a sweep: written last, so what it lists is complete."""

    sweep_id: str
    fingerprint: str
    spec: dict[str, JsonValue]
    strategy_version: str
    snapshot: str
    """Hash of the rows that the sweep read."""
    lake: Annotated[str | None, Field(exclude_if=lambda lake: lake is None)] = None
    """The version of the lake that had them; sweeps of earlier versions of the lab do not say it."""
    engine_version: str
    library_versions: dict[str, str]
    created_at: Moment
    sets: int
    """That were evaluated."""
    verdict: str
    files: tuple[ArtifactFile, ...]


LISTED = pl.Schema(
    {
        "sweep_id": pl.String(),
        "strategy": pl.String(),
        "version": pl.String(),
        "timeframe": pl.String(),
        "created_at": TIMESTAMP,
        "sets": pl.Int64(),
        "verdict": pl.String(),
    }
)


class SweepStore:
    """All published sweeps of a lab.

    Attributes:
        directory: of what unfinished sweeps have computed.
        trials: where every set that was evaluated is on record.
        storage: where the sweeps are.
    """

    def __init__(self, directory: Path, trials: TrialsLedger, storage: Storage | None = None) -> None:
        """Open the sweeps in that directory, which need not exist yet, or in another place."""
        self.directory, self.trials = directory, trials
        self.storage: Storage = storage or DirectoryStorage(directory)

    def __call__(self) -> pl.DataFrame:
        """Return what sweeps have published, newest first.

        Returns:
            `sweep_id, strategy, version, timeframe, created_at, sets, verdict`, a row a sweep.
        """
        manifests = sorted(map(self.manifest, self.sweep_ids()), key=lambda one: one.created_at, reverse=True)
        rows = [
            (
                one.sweep_id,
                one.spec["strategy"],
                one.strategy_version,
                one.spec["timeframe"],
                one.created_at,
                one.sets,
                one.verdict,
            )
            for one in manifests
        ]
        return pl.DataFrame(rows, LISTED, orient="row")

    def publish(
        self,
        sweep_id: str,
        head: Mapping[str, Any],
        frames: Mapping[str, pl.DataFrame],
        texts: Mapping[str, Mapping[str, Any]],
        report: str,
        *,
        results: Mapping[int, Results] | None = None,
        parts: Mapping[str, Iterable[pl.DataFrame]] | None = None,
    ) -> SweepManifest:
        """Write the artifacts of a sweep and make them visible at once.

        Args:
            sweep_id: its name.
            head: what the manifest says beside the files.
            frames: file name without suffix -> rows.
            texts: file name without suffix -> what is written as JSON.
            report: the page.
            results: what backtests of some sets return, by the name of their directory in `top`.
            parts: file name without suffix -> rows that are too many to be held at once.

        Raises:
            LabError: if the disk is full or cannot be written, the bucket does not answer, or the id is taken.
        """
        try:
            with self.storage.staging() as staging:
                files = [write_parquet(staging / f"{name}.parquet", frame) for name, frame in frames.items()]
                files += [write_parts(staging / f"{name}.parquet", some) for name, some in (parts or {}).items()]
                for name, value in texts.items():
                    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
                    files.append(write_text(staging / f"{name}.json", "json", text))
                files.append(write_text(staging / REPORT, "html", report))
                if results:
                    with ThreadPoolExecutor() as pool:  # to compress takes longest, without the GIL
                        for some in pool.map(lambda one: _write_results(staging, *one), results.items()):
                            files += some
                    sync_directory(staging / TOP)
                manifest = SweepManifest(
                    sweep_id=sweep_id,
                    library_versions=library_versions(),
                    created_at=now(),
                    files=tuple(files),
                    **head,
                )
                write_text(staging / MANIFEST, "json", manifest.model_dump_json(indent=2, by_alias=True) + "\n")
                evaluation = evaluation_of(sweep_id, manifest.spec, manifest.snapshot, texts["space"])
                self.trials.record((evaluation, frames["sets"]["config_hash"]))
                if not self.storage.reveal(staging, sweep_id, manifest.files):
                    raise LabError(
                        f"{self.storage.at(sweep_id)} is there already, nothing was published: use another id"
                    )
        except OSError as error:
            reason = disk_error(error, self.storage.disk) or error.strerror or str(error)
            raise LabError(
                f"cannot write the artifacts of sweep {sweep_id} to {self.storage.place}, nothing was published: "
                f"{reason}"
            ) from error
        sync(self)
        return manifest

    def partial(self, fingerprint: str) -> Path:
        """Return where what a sweep needs to go on after it was killed is kept until it is published."""
        return self.directory / PARTIAL / fingerprint

    def forget(self, fingerprint: str) -> None:
        """Remove what was kept of a sweep."""
        shutil.rmtree(self.partial(fingerprint), ignore_errors=True)

    def manifest(self, sweep_id: str) -> SweepManifest:
        """Return the manifest of a sweep.

        Raises:
            UnknownSweepError: if nothing is published under that id.
            DamagedArtifactError: if the manifest cannot be read.
        """
        unknown = UnknownSweepError(f"no artifacts of sweep '{sweep_id}' in {self.storage.place}")
        if not RUN_DIRECTORY.fullmatch(sweep_id):
            raise unknown
        try:
            return SweepManifest.model_validate_json(self.storage.manifest(sweep_id))
        except (FileNotFoundError, NotADirectoryError):
            raise unknown from None
        except ValidationError as error:
            path = self.storage.at(sweep_id, MANIFEST)
            raise DamagedArtifactError(f"{path} is damaged ({field_errors(error)[0]}). {REMEDY}") from None

    def document(self, sweep_id: str, name: str) -> dict[str, Any]:
        """Return a JSON artifact of a sweep, such as `selection`.

        Raises:
            UnknownArtifactError: if there is none.
            DamagedArtifactError: if it cannot be read.
        """
        path = self.path(sweep_id, name)
        try:
            found: dict[str, Any] = json.loads(path.read_bytes())
        except ValueError:
            raise DamagedArtifactError(f"{self.storage.at(sweep_id, name)}.json is damaged. {REMEDY}") from None
        return found

    def path(self, sweep_id: str, name: str) -> Path:
        """Return where an artifact can be read on this machine, by its name with or without its suffix.

        Raises:
            UnknownSweepError: if there is no such sweep.
            UnknownArtifactError: naming what the sweep has.
            DamagedArtifactError: if the file is lost or of another size.
        """
        files = self.manifest(sweep_id).files
        for file in files:
            if name in (file.name, Path(file.name).stem):
                try:
                    return self.storage.local(sweep_id, file)
                except (FileNotFoundError, ChangedError) as error:
                    problem = MISSING if isinstance(error, FileNotFoundError) else str(error)
                    raise DamagedArtifactError(f"{said_of(self.storage, sweep_id, file, problem)}. {REMEDY}") from None
        names = ", ".join(file.name for file in files)
        raise UnknownArtifactError(f"sweep {sweep_id} has no artifact '{name}': it has {names}")

    def find(self, start: str) -> str:
        """Return the sweep id that is, or starts with, `start`.

        Raises:
            UnknownSweepError: if no published sweep has such an id, or more than one.
        """
        found = [name for name in self.sweep_ids() if name.startswith(start)]
        if start in found or len(found) == 1:
            return start if start in found else found[0]
        many = f"'{start}' is the start of {len(found)} sweep ids: write more of it"
        raise UnknownSweepError(
            many if found else f"unknown sweep '{start}': `lab sweep list` has those that are published"
        )

    def delete(self, sweep_id: str) -> None:
        """Delete the artifacts of a sweep: invisible at once, then gone; one that is not there is no error.

        Its tries stay on record, and so does who has looked at its holdout.

        Raises:
            LabError: if the disk does not let go of them.
        """
        if not self.has(sweep_id):
            return
        self.catch_up()
        remove(self.storage, sweep_id)
        sync(self)

    def has(self, sweep_id: str) -> bool:
        """Tell whether a sweep is published; text that is no name of a directory is none of a sweep."""
        return is_published(self.storage, sweep_id)

    def pin(self, sweep_id: str, *, pinned: bool) -> None:
        """Keep a sweep for ever, whatever its age, or no longer."""
        self.manifest(sweep_id)
        self.storage.set_mark(sweep_id, PINNED, "" if pinned else None)

    def is_pinned(self, sweep_id: str) -> bool:
        """Tell whether a sweep is to be kept for ever."""
        return self.storage.mark(sweep_id, PINNED) is not None

    def missed(self, sweep_id: str) -> list[str]:
        """Say of each file of a sweep that is missing or of another size which it is, without reading it."""
        try:
            manifest = self.manifest(sweep_id)
        except LabError as error:
            return [str(error)]
        return [said_of(self.storage, sweep_id, *one) for one in self.storage.missed(sweep_id, manifest.files)]

    def leftovers(self, *, remove: bool = False) -> int:
        """Return the bytes of what killed publishers and given up sweeps left; or remove them now."""
        found = self.storage.leftovers(remove=remove)
        for path in self.given_up():
            found += sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            if remove:
                shutil.rmtree(path, ignore_errors=True)  # whoever goes on with it now makes it anew
        return found

    def given_up(self) -> list[Path]:
        """List what unfinished sweeps have computed and nobody has gone on with for `GIVEN_UP`."""
        root = self.directory / PARTIAL
        limit = (now() - GIVEN_UP).timestamp()
        found = sorted(root.iterdir()) if root.is_dir() else []
        return [path for path in found if _last_change(path) < limit]

    def damage(self) -> list[str]:
        """Say of every lost or damaged file of every sweep which it is, without reading it."""
        names = sorted(name for name, _ in self.storage.stamps() if name[0] != ".")
        published = self.sweep_ids()
        lost = [f"{self.storage.at(name, MANIFEST)} is lost" for name in names if name not in published]
        return lost + [problem for sweep_id in published for problem in self.missed(sweep_id)]

    def sweep_ids(self) -> list[str]:
        """Return the ids of all published sweeps, ascending."""
        return sorted(self.storage.names())

    def earlier(self, evaluation: Evaluation, hashes: Iterable[str]) -> int:
        """Return how many tries of the strategy's family there are besides those of a sweep."""
        self.catch_up()
        return self.trials.earlier(evaluation, hashes)

    def catch_up(self) -> None:
        """Record whatever is published and not on record, because a process was killed in between."""
        sync(self)
        self.trials.catch_up()
        for sweep_id in self.trials.missing(self.sweep_ids()):
            if self.missed(sweep_id):
                continue  # the doctor names it; it counts when it is mended
            manifest, space = self.manifest(sweep_id), self.document(sweep_id, "space")
            hashes = pl.read_parquet(self.path(sweep_id, "sets"), columns=["config_hash"], glob=False)["config_hash"]
            self.trials.record((evaluation_of(sweep_id, manifest.spec, manifest.snapshot, space), hashes))


def evaluation_of(sweep_id: str, spec: Mapping[str, Any], snapshot: str, space: Mapping[str, Any]) -> Evaluation:
    """Return what a sweep has evaluated its sets on.

    Args:
        sweep_id: its id.
        spec: the request, as the manifest has it.
        snapshot: of what was read.
        space: with `start` and `end` of the calls that select, as `space.json` has them.
    """
    return Evaluation(
        run_id=sweep_id,
        kind=Kind.SWEEP,
        strategy_id=spec["strategy"],
        snapshot=snapshot,
        objective=objective_name(spec["objective"]),
        start=datetime.fromisoformat(space["start"]),
        end=datetime.fromisoformat(space["end"]),
    )


def _write_results(staging: Path, rank: int, results: Results) -> list[ArtifactFile]:
    """Write the files of a backtest to a directory of their own, and name them from the sweep's."""
    place = staging / TOP / str(rank)
    place.mkdir(parents=True)
    files = write_results(place, *results)
    sync_directory(place)
    return [file.model_copy(update={"name": f"{TOP}/{rank}/{file.name}"}) for file in files]


def _last_change(directory: Path) -> float:
    """Return when something in a directory was last changed; one that is gone by now counts as of this moment."""
    try:
        return max(one.stat().st_mtime for one in (directory, *directory.rglob("*")))
    except FileNotFoundError:
        return now().timestamp()


def sweeps_of(settings: Settings) -> Storage:
    """Return where the sweeps of a lab are."""
    return storage_of(settings, SWEEPS, settings.sweeps_dir)


def is_published(storage: Storage, sweep_id: str) -> bool:
    """Say whether a sweep is published; text that is no name of one is none of a sweep."""
    return bool(RUN_DIRECTORY.fullmatch(sweep_id)) and storage.signature(sweep_id) is not None


def remove(storage: Storage, sweep_id: str) -> None:
    """Delete the artifacts of a sweep: invisible at once, then gone; a sweep that has none is no error.

    Raises:
        LabError: if the disk does not let go of them, or the bucket does not answer.
    """
    if not is_published(storage, sweep_id):
        return
    try:
        storage.delete(sweep_id)
    except OSError as error:
        reason = disk_error(error, storage.disk) or error.strerror or str(error)
        raise LabError(f"cannot delete the artifacts of sweep {sweep_id}: {reason}") from error
