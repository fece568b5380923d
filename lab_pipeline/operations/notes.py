"""What people write about a run or sweep, as part of its record: a name, labels, notes, and that it is to be kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lab_pipeline.domain.errors import ConflictError

if TYPE_CHECKING:
    from lab_pipeline.operations.runs import Runs
    from lab_pipeline.operations.sweeps import SweepRun, Sweeps

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
    """What was written about a run or sweep; empty where nothing was."""

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
    if changed := _tags(name=name, labels=labels, text=text, pinned=pinned):
        runs.instance.add_run_tags(run_id, changed)


def notes_of_sweep(sweeps: "Sweeps", sweep: "SweepRun") -> Notes:
    """Return what was written about a sweep; it is kept by the mark beside its files, or by a tag of its run."""
    marked = sweep.published is not None and sweeps.store.is_pinned(sweep.sweep_id)
    notes = Notes.of(sweep.tags)
    return replace(notes, pinned=notes.pinned or marked)


def write_sweep_notes(
    sweeps: "Sweeps",
    sweep_id: str,
    *,
    name: str | None = None,
    labels: Sequence[str] | None = None,
    text: str | None = None,
    pinned: bool | None = None,
) -> None:
    """Replace what was written about a sweep; null leaves it as it is.

    Raises:
        UnknownSweepError: if there is no such sweep.
        ConflictError: if there is no record to write into, or nothing yet to keep.
    """
    sweep = sweeps.get(sweep_id)
    told = _tags(name=name, labels=labels, text=text)
    if told and not sweep.is_run:
        raise ConflictError(f"Dagster has no run of sweep {sweep_id}, with which notes are kept; it can be pinned")
    if pinned and sweep.published is None:
        raise ConflictError(f"sweep {sweep_id} is {sweep.status}: it has published nothing that could be kept")
    if pinned is not None and sweep.published is not None:
        sweeps.store.pin(sweep_id, pinned=pinned)
    if not pinned and pinned is not None and is_pinned(sweep.tags):
        told |= _tags(pinned=False)
    if told:
        sweeps.instance.add_run_tags(sweep_id, told)


def _tags(
    *,
    name: str | None = None,
    labels: Sequence[str] | None = None,
    text: str | None = None,
    pinned: bool | None = None,
) -> dict[str, str]:
    """Return the tags that say what is not null."""
    tags = {
        NAME_TAG: name,
        LABELS_TAG: None if labels is None else SEPARATOR.join(labels),
        NOTES_TAG: text,
        PINNED_TAG: None if pinned is None else "yes" if pinned else UNPINNED,
    }
    return {tag: value for tag, value in tags.items() if value is not None}
