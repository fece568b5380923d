"""What a sweep has of its parts before it is done, so that one that was killed goes on where it was.

`.partial/FINGERPRINT/cells-PIECE.parquet` has the cells of one part. The fingerprint names the sets and the calls, the
piece what was read of the lake, byte by byte: whoever sweeps the same finds it, and nobody else does. A run links what
it uses into a directory of its own; so the one that publishes may remove what another is still about to read.
"""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lab_pipeline.domain.errors import LabError
from lab_pipeline.domain.model import canonical_json
from lab_pipeline.engine import ENGINE_VERSION
from lab_pipeline.files.atomic import drafted, link_or_copy, make_directory
from lab_pipeline.files.disk_errors import disk_error
from lab_pipeline.lake import SlicePiece, snapshot_hash
from lab_pipeline.runs.progress import Progress
from lab_pipeline.sweeps.parts import SweptPart, evaluate_part
from lab_pipeline.sweeps.running import OnBest, ResolvedSweep, keeps_returns
from lab_pipeline.sweeps.store import PARTIAL

VERSION = "1"
"""Changes whenever the same sets on the same candles may have other cells."""
ARRAYS = pa.schema(
    [
        ("name", pa.string()),
        ("type", pa.string()),
        ("shape", pa.list_(pa.int64())),
        ("data", pa.large_binary()),
    ]
)
DIGESTS = b"lab.digests"


@dataclass(frozen=True)
class KeptPart:
    """Cells of a part in a file.

    Attributes:
        path: of the run's own name of it.
        found: whether they had been made before.
    """

    path: Path
    found: bool


class Partials(NamedTuple):
    """Where cells are kept: for everybody, and under a run's own names."""

    shared: Path
    own: Path


def fingerprint(resolved: ResolvedSweep) -> str:
    """Return what sweeps of the same sets on the same calls share, sha256 (hex)."""
    signals = resolved.signals.identities
    calls = snapshot_hash(resolved.calls, ""), snapshot_hash(resolved.all_calls, "")
    kept = keeps_returns(resolved)
    asked = [VERSION, ENGINE_VERSION, resolved.spec.timeframe, *calls, signals, resolved.sets.hashes, kept]
    return hashlib.sha256(canonical_json(asked)).hexdigest()


def keep_part(
    resolved: ResolvedSweep,
    piece: SlicePiece,
    partials: Partials,
    *,
    threads: int | None = None,
    on_progress: Progress | None = None,
    on_best: OnBest | None = None,
) -> KeptPart:
    """Evaluate every set on the calls on the tokens of one piece, unless that was done before.

    Args:
        resolved: what to evaluate.
        piece: of the candles.
        partials: where cells are kept.
        threads: as of `evaluate_part`, as what follows.
        on_progress: likewise.
        on_best: likewise.

    Raises:
        LabError: if the disk is full or cannot be written.
    """
    name = f"cells-{_identity(piece)}.parquet"
    shared, own = partials.shared / fingerprint(resolved) / name, partials.own / name
    try:
        make_directory(own.parent)
        if _link(shared, own):
            return KeptPart(own, found=True)
        part = evaluate_part(resolved, piece, threads=threads, on_progress=on_progress, on_best=on_best)
        _write(part, own)
        make_directory(shared.parent)
        _link(own, shared)  # to a directory that is gone again, if the same was published meanwhile
    except OSError as error:
        reason = disk_error(error, partials.shared) or error.strerror or str(error)
        raise LabError(f"cannot keep the cells of a part in {partials.shared}: {reason}") from error
    return KeptPart(own, found=False)


def read_part(resolved: ResolvedSweep, path: Path) -> SweptPart:
    """Return the part that was kept in a file.

    Raises:
        LabError: if the file is damaged.
    """
    from lab_pipeline.engine.sweep import PartialSweep  # noqa: PLC0415 - numba
    from lab_pipeline.engine.sweep.cells import Cells  # noqa: PLC0415
    from lab_pipeline.engine.sweep.returns import Noted  # noqa: PLC0415

    try:
        table = pq.read_table(path, partitioning=None)
        told = json.loads(table.schema.metadata[DIGESTS])
        arrays = {
            row["name"]: np.frombuffer(row["data"], row["type"]).reshape(row["shape"]) for row in table.to_pylist()
        }
        ranks = arrays.pop("ranks")
        cells = Cells.of_arrays(arrays)
        noted = Noted.of_arrays(arrays) if keeps_returns(resolved) else None
    except (pa.ArrowException, KeyError, ValueError, OSError) as error:
        raise LabError(f"{path} is damaged ({error}): remove {path.name} below {PARTIAL}, and sweep again") from error
    sweep = PartialSweep(tuple(resolved.sets.hashes), resolved.calls.height, ranks, cells, noted)
    return SweptPart(sweep, *([(bucket, bytes.fromhex(digest)) for bucket, digest in one] for one in told))


def forget(resolved: ResolvedSweep, shared: Path) -> None:
    """Remove what was kept of a sweep, which is done."""
    shutil.rmtree(shared / fingerprint(resolved), ignore_errors=True)  # what stays goes with `SweepStore.leftovers`


def _identity(piece: SlicePiece) -> str:
    """Name what is read for a piece: no two files of a lake ever have the same name."""
    files = [[one.file.name, one.mints] for files in (piece.files, piece.finer) for one in files]
    read = [piece.start_ms, piece.end_ms, piece.liquidity, len(piece.files), files]
    return hashlib.sha256(canonical_json(read)).hexdigest()[:32]


def _link(source: Path, path: Path) -> bool:
    """Give a file another name; return whether it has one now. One that is there has the same cells, by its name."""
    try:
        link_or_copy(source, path)
    except FileExistsError:
        return True
    except FileNotFoundError:
        return False
    return True


def _write(part: SweptPart, path: Path) -> None:
    noted = part.sweep.noted
    arrays = {"ranks": part.sweep.ranks, **part.sweep.cells.arrays(), **(noted.arrays() if noted else {})}
    rows = [
        {
            "name": name,
            "type": array.dtype.str,
            "shape": list(array.shape),
            "data": np.ascontiguousarray(array).tobytes(),
        }
        for name, array in arrays.items()
    ]
    told = [[(bucket, digest.hex()) for bucket, digest in one] for one in (part.digests, part.finer)]
    with drafted(path) as draft:
        table = pa.Table.from_pylist(rows, ARRAYS.with_metadata({DIGESTS: json.dumps(told)}))
        pq.write_table(table, draft, compression="zstd", row_group_size=1, use_dictionary=False)
