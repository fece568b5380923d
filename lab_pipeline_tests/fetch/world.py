"""A home with a lake, a source on loopback, and a clock that stands still."""

from lab_pipeline.fetch import Fetcher, Ledger, Token, open_source
from lab_pipeline.lake import Lake
from lab_pipeline.settings import Settings
from lab_pipeline_tests.fetch.servers import at


class World:
    """A home, a source on loopback, and a clock that stands still."""

    def __init__(self, home, source):
        self.home, self.source = home, source
        self.now = at("2025-06-01")
        self.lake = Lake(home / "lake")
        self.ledger = Ledger(home / "catalog.duckdb")
        self.settings = Settings(home=home, **source.settings())
        self.mint = source.token()

    def fetcher(self, timeframe="1m"):
        opened = open_source(self.source.name, self.settings, self.ledger, exchange=self.source.exchange)
        return Fetcher(opened, self.lake, self.ledger, timeframe, clock=lambda: self.now)

    def token(self, start, end, mint=None):
        return Token(mint or self.mint, self.source.chain, start * 1000, ((start * 1000, end * 1000),))

    def fetch(self, start, end, mint=None):
        fetcher = self.fetcher()
        return fetcher.carry_out(fetcher.plan([self.token(start, end, mint)]))

    def plan(self, start, end, mint=None):
        return self.fetcher().plan([self.token(start, end, mint)])

    def rows(self, mint=None, timeframe="1m"):
        """Return the candles of the lake as `servers.market` writes them."""
        found = {}
        with self.lake.slice(timeframe, [mint or self.mint], 0, at("2100-01-01") * 1000) as candles:
            for shard in candles:
                columns = (shard.timestamp // 1000, shard.open, shard.high, shard.low, shard.close, shard.volume)
                found |= {int(time): tuple(map(float, values)) for time, *values in zip(*columns, strict=True)}
        return found
