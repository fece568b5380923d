"""What is new of the runs that streams follow: looked for once, however many streams follow them."""

import asyncio
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from anyio import CapacityLimiter, to_thread
from sqlalchemy.exc import SQLAlchemyError

from lab_pipeline.api.errors import UnavailableError
from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.logs import last_lines
from lab_pipeline.operations.runs import Run, Runs
from lab_pipeline.runs.artifacts import UnknownRunError

POLL_SECONDS = 1.0

Result = TypeVar("Result")
Connection = Callable[[], AbstractContextManager[ClickHouse]]


@dataclass(frozen=True)
class Seen:
    """What was seen of a run.

    Attributes:
        run: as it was then.
        last_line: number of the newest line of its log that had arrived; 0 for none.
    """

    run: Run
    last_line: int


@dataclass
class Following:
    """Looks once a second, with two queries, at all runs that anybody follows; lives in the event loop.

    Attributes:
        runs: the record of runs.
        connection: borrows one to ClickHouse.
        threads: in which the stores are asked.
    """

    runs: Runs
    connection: Connection
    threads: CapacityLimiter
    _followed: Counter[str] = field(default_factory=Counter)
    _next: "asyncio.Future[Mapping[str, Seen]] | None" = None
    _looking: "asyncio.Task[None] | None" = None
    _asked: "dict[Hashable, asyncio.Task[Any]]" = field(default_factory=dict)

    @contextmanager
    def run(self, run_id: str) -> Iterator[None]:
        """Follow a run meanwhile."""
        self._followed[run_id] += 1
        try:
            yield
        finally:
            self._followed[run_id] -= 1
            if not self._followed[run_id]:
                del self._followed[run_id]

    async def look(self, run_id: str) -> Seen:
        """Wait for the next look at a run that is followed.

        Raises:
            UnknownRunError: if it was deleted.
            LabError: if a store is down.
        """
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._keep_looking())
        seen = await asyncio.shield(self._next)
        if run_id not in seen:
            raise UnknownRunError(f"the run '{run_id}' was deleted")
        return seen[run_id]

    async def ask(self, question: Hashable, ask: Callable[[], Result]) -> Result:
        """Do something in the streams' threads; whoever has the same question meanwhile shares the answer."""
        task: asyncio.Task[Result] | None = self._asked.get(question)
        if task is None:
            task = asyncio.create_task(to_thread.run_sync(ask, limiter=self.threads))
            self._asked[question] = task
            task.add_done_callback(lambda done: self._answered(question, done))
        return await asyncio.shield(task)

    def stop(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()

    async def _keep_looking(self) -> None:
        while self._followed:
            await asyncio.sleep(POLL_SECONDS)
            waiting, self._next = self._next, None
            if waiting is None:
                continue
            try:
                seen = await to_thread.run_sync(self._see, list(self._followed), limiter=self.threads)
            except Exception as error:  # noqa: BLE001 - it is the streams' to tell, each to its client
                waiting.set_exception(error)
                waiting.exception()  # seen, though no stream may be there any more to be told
            else:
                waiting.set_result(seen)

    def _see(self, run_ids: list[str]) -> dict[str, Seen]:
        try:
            runs = self.runs.get_many(run_ids)
        except SQLAlchemyError as error:
            raise UnavailableError("Dagster's storage cannot be used now") from error
        with self.connection() as clickhouse:
            newest = last_lines(clickhouse, run_ids)
        return {run_id: Seen(run, newest.get(run_id, 0)) for run_id, run in runs.items()}

    def _answered(self, question: Hashable, done: "asyncio.Task[Any]") -> None:
        self._asked.pop(question, None)
        if not done.cancelled():
            done.exception()  # seen, though whoever asked may be gone
