import pytest
from werkzeug import Response

from lab_pipeline.fetch import FetchError
from lab_pipeline_tests.fetch.servers import DAY, MINUTE, at, market

MINT = "BTCUSDT"


def periods(world):
    return [path.rpartition("1m-")[2].removesuffix(".zip") for path, _ in world.source.asked]


@pytest.mark.parametrize("header", [False, True])
def test_milliseconds_become_microseconds_in_2025(binance, header):
    binance.source.header = header
    start = at("2024-12-31T23:00")
    binance.source.candles[MINT] = market(start, 120)
    binance.fetch(start, start + 120 * MINUTE, MINT)
    assert binance.rows(MINT) == binance.source.candles[MINT]
    assert periods(binance) == ["2024-12-31", "2025-01-01"]


def test_most_of_a_month_is_one_file(binance):
    start = at("2025-03-01")
    binance.source.candles[MINT] = market(start, 60)
    binance.fetch(start, start + 20 * DAY, MINT)
    assert periods(binance) == ["2025-03"]


def test_a_month_that_is_not_published_yet_is_read_by_the_day(binance):
    start = at("2025-03-01")
    binance.source.months = False
    binance.source.candles[MINT] = market(start, 60) | market(start + 2 * DAY, 60)
    binance.fetch(start, start + 4 * DAY, MINT)
    assert binance.rows(MINT) == binance.source.candles[MINT]
    assert periods(binance) == ["2025-03", "2025-03-01", "2025-03-02", "2025-03-03", "2025-03-04"]


def test_a_file_that_is_not_what_its_checksum_says_is_refused(binance):
    start = at("2025-03-01")
    binance.source.candles[MINT] = market(start, 60)
    binance.source.faults = [Response(b"PK something else")]
    with pytest.raises(FetchError, match=r"BTCUSDT-1m-2025-03-01\.zip is not what its checksum says"):
        binance.fetch(start, start + DAY, MINT)
    assert binance.rows(MINT) == {}
