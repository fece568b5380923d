"""What the Dagster UI shows of a sweep: its best sets, the verdict and its figures, rows, columns and links."""

from typing import Any

import dagster as dg
import polars as pl

from lab_pipeline.dagster_ext.metadata_table import column_schema, table
from lab_pipeline.runs.artifact_storage import Storage
from lab_pipeline.runs.artifacts import ArtifactFile
from lab_pipeline.sweeps.artifacts import ranked, selection_document
from lab_pipeline.sweeps.running import SelectedSweep
from lab_pipeline.sweeps.store import SweepManifest

BEST_SHOWN = 10
FIGURES = ("trades", "days", "callers", "expectancy", "expectancy_lower", "win_rate", "profit_factor")


def describe(
    manifest: SweepManifest, selected: SelectedSweep, storage: Storage, api: str, concluded: str
) -> dict[str, dict[str, dg.MetadataValue]]:
    """Describe the published files of a sweep by their names without suffix.

    Args:
        manifest: of the sweep.
        selected: what came of it.
        storage: that it is in.
        api: address of the HTTP API.
        concluded: the verdict in a sentence.
    """
    files = {file.name.partition(".")[0]: _file(file, manifest, storage, api) for file in manifest.files}
    said = {
        "conclusion": dg.MetadataValue.text(concluded),
        "page": dg.MetadataValue.url(page_url(api, manifest.sweep_id)),
    }
    own = {
        "sets": {"best sets": table(best_sets(selected)), "sets": dg.MetadataValue.text(f"{manifest.sets:,}")},
        "selection": ({"report": files["report"]["url"]} if "report" in files else {}) | _selection(selected),
    }
    return {name: said | own.get(name, {}) | file for name, file in files.items()}


def best_sets(selected: SelectedSweep, count: int = BEST_SHOWN) -> pl.DataFrame:
    """Return the best sets, the best first: `set_id`, a column a value that was varied, and what they earned."""
    sets = selected.sweep.sets
    chosen = sets[ranked(selected.selection)[:count]]
    return chosen.select("set_id", *(name for name in sets.columns if name.startswith("p.")), *FIGURES)


def sweep_url(api: str, sweep_id: str) -> str:
    """Return where the HTTP API has a sweep."""
    return f"{api}/sweeps/{sweep_id}"


def page_url(api: str, sweep_id: str) -> str:
    """Return where the lab shows a sweep to people."""
    return f"{api}/lab/sweeps/{sweep_id}"


def _file(file: ArtifactFile, manifest: SweepManifest, storage: Storage, api: str) -> dict[str, dg.MetadataValue]:
    metadata: dict[str, dg.MetadataValue] = {
        "url": dg.MetadataValue.url(f"{sweep_url(api, manifest.sweep_id)}/artifacts/{file.name}"),
        "dagster/uri": dg.MetadataValue.text(storage.uri(manifest.sweep_id, file)),
        "bytes": dg.MetadataValue.text(f"{file.bytes:,}"),
        "sha256": dg.MetadataValue.text(file.sha256),
        "fingerprint": dg.MetadataValue.text(manifest.fingerprint),
    }
    if file.rows is not None:
        metadata["dagster/row_count"] = dg.MetadataValue.int(file.rows)
    if file.columns is not None:
        columns = ((one.name, one.type) for one in file.columns)
        metadata["dagster/column_schema"] = column_schema(file.name.partition(".")[0], columns)
    return metadata


def _selection(selected: SelectedSweep) -> dict[str, dg.MetadataValue]:
    """Return the verdict, what was varied of the winner, its return, and every figure as one table.

    Not each as a number of its own: the UI draws these from run to run, though the next one is of another strategy, or
    over other calls.
    """
    document = selection_document(selected.selection, selected.earlier)
    figures: list[dict[str, Any]] = [
        {"figure": name, "value": float(value)}
        for name, value in document.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    schema = dg.TableSchema([dg.TableColumn("figure"), dg.TableColumn("value", "float")])
    shown: dict[str, dg.MetadataValue] = {
        "strategy": dg.MetadataValue.text(selected.resolved.spec.strategy),
        "verdict": dg.MetadataValue.text(document["verdict"]),
        "figures": dg.MetadataValue.table([dg.TableRecord(row) for row in figures], schema),
    }
    if (winner := selected.selection.choice.winner) >= 0:
        shown["winner"] = dg.MetadataValue.json(selected.resolved.sets.values(winner))
    return shown
