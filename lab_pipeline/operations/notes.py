"""What people write about a run: a name, labels, notes, and that it is to be kept. It is part of the run's record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab_pipeline.operations.runs import Runs

NAME_TAG = "lab/name"
LABELS_TAG = "lab/labels"
NOTES_TAG = ".dagster/lab_notes"
"""Dagster shows no tag that begins so: notes are too long to stand among the others."""
PINNED_TAG = "lab/pinned"
"""A run that has this tag is kept for ever, whatever its value but `UNPINNED`."""
UNPINNED = "no"
SEPARATOR = ", "


@dataclass(frozen=True)
class Notes:
    """What was written about a run; empty where nothing was."""

    name: str = ""
    labels: tuple[str, ...] = ()
    text: str = ""
    pinned: bool = False

    @classmethod
    def of(cls, tags: Mapping[str, str]) -> "Notes":
        """Read them from the tags of a run."""
        labels = tags.get(LABELS_TAG, "")
        return cls(
            name=tags.get(NAME_TAG, ""),
            labels=tuple(labels.split(SEPARATOR)) if labels else (),
            text=tags.get(NOTES_TAG, ""),
            pinned=is_pinned(tags),
        )


def is_pinned(tags: Mapping[str, str]) -> bool:
    """Return whether a run is to be kept for ever."""
    return tags.get(PINNED_TAG, UNPINNED) != UNPINNED


def write_notes(
    runs: "Runs",
    run_id: str,
    *,
    name: str | None = None,
    labels: Sequence[str] | None = None,
    text: str | None = None,
    pinned: bool | None = None,
) -> None:
    """Replace what was written about a run; null leaves it as it is.

    Raises:
        UnknownRunError: if there is no such run.
    """
    runs.get(run_id)
    tags = {
        NAME_TAG: name,
        LABELS_TAG: None if labels is None else SEPARATOR.join(labels),
        NOTES_TAG: text,
        PINNED_TAG: None if pinned is None else "yes" if pinned else UNPINNED,
    }
    changed = {tag: value for tag, value in tags.items() if value is not None}
    if changed:
        runs.instance.add_run_tags(run_id, changed)
