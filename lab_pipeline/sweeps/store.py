"""The artifacts of a sweep: one directory, complete or not there at all."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import JsonValue, ValidationError

from lab_pipeline.domain.backtest import Moment, now
from lab_pipeline.domain.errors import LabError
from lab_pipeline.domain.model import Record, field_errors
from lab_pipeline.files.atomic import move, sync_directory
from lab_pipeline.files.disk_errors import disk_error
from lab_pipeline.files.staging import staged
from lab_pipeline.runs.artifacts import (
    MANIFEST,
    RUN_DIRECTORY,
    STAGING,
    ArtifactFile,
    library_versions,
    write_parquet,
    write_text,
)


class SweepManifest(Record):
    """The record of a sweep: written last, so what it lists is complete."""

    sweep_id: str
    fingerprint: str
    spec: dict[str, JsonValue]
    strategy_version: str
    snapshot: str
    """Hash of the rows that the sweep read."""
    engine_version: str
    library_versions: dict[str, str]
    created_at: Moment
    sets: int
    """That were evaluated."""
    verdict: str
    files: tuple[ArtifactFile, ...]


@dataclass(frozen=True)
class SweepStore:
    """All published sweeps of a lab, one directory each; it appears by one rename."""

    directory: Path

    def publish(
        self, sweep_id: str, head: Mapping[str, Any], frames: Mapping[str, pl.DataFrame], texts: Mapping[str, object]
    ) -> SweepManifest:
        """Write the artifacts of a sweep and make them visible at once.

        Args:
            sweep_id: its name.
            head: what the manifest says beside the files.
            frames: file name without suffix -> rows.
            texts: file name without suffix -> what is written as JSON.

        Raises:
            LabError: if the disk is full or cannot be written, or the id is taken.
        """
        try:
            with staged(self.directory / STAGING) as staging:
                files = [write_parquet(staging / f"{name}.parquet", frame) for name, frame in frames.items()]
                for name, value in texts.items():
                    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
                    files.append(write_text(staging / f"{name}.json", "json", text))
                manifest = SweepManifest(
                    sweep_id=sweep_id,
                    library_versions=library_versions(),
                    created_at=now(),
                    files=tuple(files),
                    **head,
                )
                write_text(staging / MANIFEST, "json", manifest.model_dump_json(indent=2, by_alias=True) + "\n")
                sync_directory(staging)
                move(staging, self.directory / sweep_id)
        except OSError as error:
            reason = disk_error(error, self.directory) or error.strerror or str(error)
            raise LabError(
                f"cannot write the artifacts of sweep {sweep_id} to {self.directory}, nothing was published: {reason}"
            ) from error
        return manifest

    def manifest(self, sweep_id: str) -> SweepManifest:
        """Return the manifest of a sweep.

        Raises:
            LabError: if nothing is published under that id, or the manifest is damaged.
        """
        path = self.directory / sweep_id / MANIFEST
        if not RUN_DIRECTORY.fullmatch(sweep_id) or not path.is_file():
            raise LabError(f"no artifacts of sweep '{sweep_id}' in {self.directory}")
        try:
            return SweepManifest.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise LabError(f"{path} is damaged ({field_errors(error)[0]})") from None

    def sweep_ids(self) -> list[str]:
        """Return the ids of all published sweeps, ascending."""
        if not self.directory.is_dir():
            return []
        return sorted(path.name for path in self.directory.iterdir() if (path / MANIFEST).is_file())

    def tried(self, strategy: str) -> set[str]:
        """Return the hashes of all configurations that published sweeps of a strategy have evaluated."""
        found: set[str] = set()
        for sweep_id in self.sweep_ids():
            if self.manifest(sweep_id).spec["strategy"] == strategy:
                path = self.directory / sweep_id / "sets.parquet"
                found.update(pl.read_parquet(path, columns=["config_hash"], glob=False)["config_hash"])
        return found
