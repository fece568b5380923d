"""The job that brings the files of the inbox into the lake."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import dagster as dg
from pydantic import Field

from lab_pipeline.dagster_ext.config_schema import form
from lab_pipeline.dagster_ext.op_failure import failing_clearly
from lab_pipeline.defs.lake.checks import recorded_callers
from lab_pipeline.defs.lake.events import call_events, candle_events
from lab_pipeline.domain.errors import LabError
from lab_pipeline.files.disk_errors import disk_error, is_of_disk
from lab_pipeline.lake import Drop, Inbox, Lake, LakeError, LakeUnwritableError
from lab_pipeline.lake.chats import Reading
from lab_pipeline.lake.inbox import caller_of, hints_of, kind_of
from lab_pipeline.lake.layout import CALLS, CANDLES, MOST_FILES
from lab_pipeline.operations.lab import Lab
from lab_pipeline.operations.retention import thin_out

if TYPE_CHECKING:
    from lab_pipeline.lake.ingest import IngestReport

Said = TypeVar("Said")
MOST_ATTEMPTS = 5
"""To read a file at which the process dies, or an error comes that nobody foresaw."""


class DroppedFile(dg.Config):
    """A file in the inbox, in the state in which it was seen."""

    key: str = Field(description="Stands for the file in this state.")
    name: str = Field(description="Path below the inbox.")


class InboxFiles(dg.Config):
    """Which files of the inbox to ingest."""

    files: list[DroppedFile] = Field(
        default=[], max_length=MOST_FILES, description="The files; all that are there by default."
    )


@dg.op(
    out=dg.Out(dg.Nothing),
    pool="inbox",
    config_schema=form(InboxFiles),
    description="Ingest each file; put it into done/, or into rejected/ with its error beside it.",
)
def ingest_inbox(
    context: dg.OpExecutionContext, lake: dg.ResourceParam[Lake], lab: dg.ResourceParam[Lab]
) -> Iterator[object]:
    """Ingest files one by one, each whole or not at all, and describe the lake afterwards.

    Files stay where they were taken to until the lake is described, and their receipts until they are in `done`: run
    again after a crash, this ingests nothing twice and forgets no file. What goes wrong with one file stops no other;
    what goes wrong with the disk stops all. Either fails the run.
    """
    config = InboxFiles(**context.op_config)
    inbox, first = Inbox(lab.settings.inbox_dir), lake.version
    drops = _chosen(config, inbox.drops(), context.log)
    for receipt in lake.receipts():
        if not inbox.is_taken(receipt):
            lake.forget_receipt(receipt)  # whoever put the file away was killed before it came to that
    with failing_clearly(context.log):
        chats = Reading.of(lab.settings.chat_patterns_path, lab.settings.callers_path)
    batch = _Batch(inbox, lake, chats, context.log)
    problem = batch.take_in(sorted(drops, key=inbox.attempts))
    events: list[Iterator[dg.AssetMaterialization | dg.AssetCheckEvaluation]] = []
    if (candles := batch.reports.get(CANDLES.name)) is not None:
        events.append(candle_events(lake, candles, lab.settings.min_coverage))
    if (calls := batch.reports.get(CALLS.name)) is not None:
        events.append(call_events(lake, calls, recorded_callers(context.instance)))
    for event in chain.from_iterable(events):
        if isinstance(event, dg.AssetMaterialization):
            yield event
        else:
            context.log_event(event)  # type: ignore[arg-type]  # it takes them, only its signature does not say so
    problems = [one for one in (problem, batch.finish()) if one is not None]
    with failing_clearly(context.log):
        context.log.info(f"old versions of the lake: {thin_out(lab, first, datetime.now(UTC)):,} bytes are gone")
        if problems:
            raise problems[0]
        if batch.stuck:
            name, why = batch.stuck[0]
            raise LabError(
                f"{len(batch.stuck)} of {len(drops)} files could not be brought in or put away and are tried again, "
                f"the first is {name}: {why}"
            )
        if batch.rejected:
            name, reason = batch.rejected[0]
            first = reason.splitlines()[0]
            raise LabError(f"{len(batch.rejected)} of {len(drops)} files were rejected, the first is {name}: {first}")
    yield dg.Output(None)


@dg.job(name="inbox", description="Bring the files of LAB_INBOX into the lake, each whole or not at all.")
def inbox_job() -> None:
    """Ingest what was dropped."""
    ingest_inbox()


def _chosen(config: InboxFiles, drops: Sequence[Drop], log: dg.DagsterLogManager) -> list[Drop]:
    """Return what to ingest of the files that are there: no name that a run was given reaches any other file."""
    if not config.files:
        return list(drops)
    there = {(drop.key, drop.name): drop for drop in drops}
    obstructed = {drop.name: drop for drop in drops if drop.obstacle is not None}
    chosen = []
    for file in config.files:
        drop = there.get((file.key, file.name)) or obstructed.get(file.name)
        if drop is None:
            log.info(f"{file.name!r} is left alone: it is gone, or has changed")
        else:
            chosen.append(drop)
    return chosen


class _Batch:
    """The files of one run.

    Attributes:
        reports: what was ingested, by table.
        rejected: name of each file that cannot be used, and why.
        stuck: name of each file that is left where it is, and why; the next run finds it there.
    """

    def __init__(self, inbox: Inbox, lake: Lake, chats: Reading, log: dg.DagsterLogManager) -> None:
        self._inbox, self._lake, self._chats, self._log = inbox, lake, chats, log
        self._ingested: list[Drop] = []
        self.reports: dict[str, IngestReport] = {}
        self.rejected: list[tuple[str, str]] = []
        self.stuck: list[tuple[str, str]] = []

    def take_in(self, drops: Sequence[Drop]) -> LakeUnwritableError | None:
        """Ingest or reject each file; stops, and returns why, where the lake or the inbox cannot be written."""
        return self._each(drops, self._take_in)

    def finish(self) -> LakeUnwritableError | None:
        """Put away what was ingested, and forget the receipts that say so; stops as `take_in` does."""
        return self._each(self._ingested, self._finish)

    def _each(self, drops: Sequence[Drop], deal_with: Callable[[Drop], None]) -> LakeUnwritableError | None:
        for drop in drops:
            try:
                deal_with(drop)
            except LakeUnwritableError as error:
                return error
            except OSError as error:
                if is_of_disk(error):
                    place = self._inbox.root
                    said = disk_error(error, place) or str(error)
                    return LakeUnwritableError(f"cannot write to the inbox at {place}: {said}")
                self._leave(drop, str(error))
            except Exception as error:  # noqa: BLE001 - the other files must not wait for it
                self._log.error(f"{drop.name}: {error!r}", exc_info=error)
                self._leave(drop, repr(error))
        return None

    def _take_in(self, drop: Drop) -> None:
        if drop.obstacle is not None:
            self._leave(drop, drop.obstacle)
            return
        path = self._inbox.take(drop)
        if path is None:
            self._log.info(f"{drop.name} is left alone: it is gone, has changed, or is being written")
            return
        if (attempts := self._inbox.attempts(drop)) >= MOST_ATTEMPTS:
            reason = f"{attempts} times the process that read it died, or failed as the log of its run says"
            self._reject(drop, reason)
            return
        try:
            with self._inbox.attempt(drop):
                self._ingest(path, drop)
        except LakeUnwritableError:
            raise
        except LakeError as error:
            self._reject(drop, str(error).replace(str(path), drop.name))

    def _reject(self, drop: Drop, reason: str) -> None:
        target = self._inbox.reject(drop, reason)
        self._log.error(f"{drop.name} is rejected, and now {target}: {reason}")
        self.rejected.append((drop.name, reason))

    def _finish(self, drop: Drop) -> None:
        self._log.info(f"{drop.name} is now {self._inbox.finish(drop)}")
        self._lake.forget_receipt(drop.key)

    def _leave(self, drop: Drop, reason: str) -> None:
        self._log.error(f"{drop.name} stays where it is: {reason}")
        self.stuck.append((drop.name, reason))

    def _ingest(self, path: Path, drop: Drop) -> None:
        chats = replace(self._chats, caller=caller_of(drop.name))
        kind, timeframe = kind_of(path, drop.name, chats)
        if kind is CALLS:
            report = self._lake.ingest_calls([path], receipt=drop.key, chats=chats)
        else:
            report = self._lake.ingest_candles([path], timeframe, hints=hints_of(drop.name), receipt=drop.key)
        counts = f"{report.added:,} added, {report.changed:,} changed, {report.unchanged:,} already there"
        known = ", by a run before this one" if report.done_before else ""
        ignored = [column for columns in report.ignored_columns.values() for column in columns]
        report = replace(
            report,
            ignored_columns={drop.name: ignored} if ignored else {},
            no_calls=_renamed(report.no_calls, drop.name),
            notes=_renamed(report.notes, drop.name),
        )
        self._log.info(f"{drop.name}: {report.rows:,} {kind.name} of {report.mints:,} mints, {counts}{known}")
        for remark in report.remarks():
            self._log.warning(remark)
        self._ingested.append(drop)
        self.reports[kind.name] = _sum(self.reports.get(kind.name), report)


def _renamed(by_file: dict[str, Said], name: str) -> dict[str, Said]:
    """Call the only file of a report what it was called when it was dropped."""
    return dict(zip([name], by_file.values(), strict=False))


def _sum(before: "IngestReport | None", report: "IngestReport") -> "IngestReport":
    """Count what several files brought."""
    from lab_pipeline.lake.ingest import IngestReport  # noqa: PLC0415 - pandera, which only ingests need

    if before is None:
        return report
    return IngestReport(
        files=before.files + report.files,
        rows=before.rows + report.rows,
        added=before.added + report.added,
        changed=before.changed + report.changed,
        unchanged=before.unchanged + report.unchanged,
        ignored_columns=before.ignored_columns | report.ignored_columns,
        no_calls=before.no_calls | report.no_calls,
        notes=before.notes | report.notes,
        repeated=before.repeated + report.repeated,
        shorts=before.shorts + report.shorts,
    )
