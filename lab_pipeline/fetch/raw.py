"""Answers as they were received, so that a better reading of them need not ask, or pay, again."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from lab_pipeline.files.atomic import PRIVATE, write_whole

REQUESTS = "requests.jsonl"


@dataclass(frozen=True)
class RawAnswers:
    """The answers of one source: a directory a day, a file an answer (zstd), named by its SHA-256.

    `requests.jsonl` beside them says what each answers.
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
        said = {"sha256": name, "path": path, "parameters": dict(parameters), "asked_at": now.isoformat()}
        descriptor = os.open(day / REQUESTS, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
        try:
            os.write(descriptor, json.dumps(said).encode() + b"\n")
        finally:
            os.close(descriptor)
        return file
