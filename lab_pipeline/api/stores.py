"""The lab behind the routes, opened once a server."""

from functools import cached_property
from typing import Annotated

from fastapi import Depends, Request

from lab_pipeline.api.following import Following
from lab_pipeline.api.limiter import Limiter, Threads
from lab_pipeline.operations.lab import Lab
from lab_pipeline.settings import Settings

FOLLOWERS = 64
"""Streams at once that follow runs."""
DOWNLOADS = 64
"""Downloads at once."""


class Stores(Lab):
    """The lab, and what only its API has.

    Attributes:
        threads: in which all that is slow is done.
        followers: places for streams that follow a run.
        downloads: places for downloads.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.threads = Threads()
        self.followers = Limiter(FOLLOWERS, f"{FOLLOWERS} streams follow runs already: read pages, or come later")
        self.downloads = Limiter(DOWNLOADS, f"{DOWNLOADS} downloads are under way already: come later")

    @cached_property
    def following(self) -> Following:
        """What looks for what is new of the runs that streams follow."""
        following = Following(self.runs, self.clickhouse.connection, self.threads.streams)
        self._opened.callback(following.stop)
        return following

    def make_all(self) -> None:
        """Make every store now: threads must not make one twice, and what is wrong with one must be said at once."""
        self.strategies.ids()
        for name in ("lake", "statistics", "trials", "launcher", "following", "sweep_runs"):
            getattr(self, name)


async def _stores(request: Request) -> Stores:  # async: what does nothing need not go to a thread
    stores: Stores = request.app.state.stores
    return stores


LabStores = Annotated[Stores, Depends(_stores)]
"""Parameter of a route that needs the stores."""
