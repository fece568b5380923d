"""Tags that belong to one run: Dagster copies all tags of a run to its re-execution."""

import dagster as dg


def set_mark(instance: dg.DagsterInstance, run_id: str, tag: str, text: str) -> None:
    """Mark a run, by a tag that names it."""
    instance.add_run_tags(run_id, {tag: f"{run_id} {text}"})


def mark_of(run: dg.DagsterRun, tag: str) -> str | None:
    """Return the text of a run's mark; None if it has none, or that of the run which it repeats."""
    owner, _, text = run.tags.get(tag, "").partition(" ")
    return text if owner == run.run_id else None
