"""Answers as they were received, so that a better reading of them need not ask, or pay, again."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from lab_pipeline.files.atomic import Sync, write_whole

NAME_LENGTH = 16


@dataclass(frozen=True)
class RawAnswers:
    """The answers of one source: a directory a day, a file an answer (zstd), named by its SHA-256.

    A small file beside it, whose name begins alike, says what it answers; there are several if it answers several.
    """

    directory: Path

    def keep(self, content: bytes, suffix: str, path: str, parameters: Mapping[str, str]) -> Path:
        """Keep an answer; the same one on the same day is kept once.

        Args:
            content: as it was received.
            suffix: what it is, such as ``json``.
            path: that was asked.
            parameters: of the query; never a key, which belongs into headers.
        """
        now = datetime.now(UTC)
        name = hashlib.sha256(content).hexdigest()
        day = self.directory / f"{now:%Y-%m-%d}"
        day.mkdir(parents=True, exist_ok=True)
        file = day / f"{name}.{suffix}.zst"
        if not file.exists():
            write_whole(file, pa.Codec("zstd").compress(content, asbytes=True))
        request = json.dumps({"path": path, "parameters": dict(parameters)})
        said = {"sha256": name, "path": path, "parameters": dict(parameters), "asked_at": now.isoformat()}
        which = hashlib.sha256(request.encode()).hexdigest()[:NAME_LENGTH]
        write_whole(day / f"{name[:NAME_LENGTH]}-{which}.request.json", json.dumps(said), sync=Sync.NOTHING)
        return file
