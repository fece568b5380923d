import json
import time
from urllib.parse import urlsplit

import clickhouse_connect
import duckdb
import polars as pl
import pytest

from lab_pipeline.fetch import Fetcher, FetchError, Ledger, Token, open_source
from lab_pipeline.lake import Lake
from lab_pipeline.settings import Settings
from lab_pipeline_tests.fetch.servers import MINUTE, at, market

START = at("2025-03-10T06:00")
MINT = "MintCaseKept"
FIRST = "token_address VARCHAR, chain VARCHAR, timestamp TIMESTAMP, interval VARCHAR"
SECOND = "token_address VARCHAR, chain VARCHAR, timestamp TIMESTAMP, interval_seconds UINTEGER"
VALUES = "open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume DOUBLE"


def fetched(home, source, path, mint=MINT, timeframe="1m"):
    """Return the candles of the lake after a fetch of the 60 minutes from START."""
    ledger, lake = Ledger(home / "catalog.duckdb"), Lake(home / "lake")
    fetcher = Fetcher(open_source(source, Settings(home=home), ledger, path), lake, ledger, timeframe)
    span = START * 1000, (START + 60 * MINUTE) * 1000
    fetcher.carry_out(fetcher.plan([Token(mint, "", span[0], (span,))]))
    with lake.slice(timeframe, [mint], *span) as candles:
        return {
            int(time) // 1000: float(close)
            for shard in candles
            for time, close in zip(shard.timestamp, shard.close, strict=True)
        }


def table(path, columns, rows):
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"CREATE TABLE ohlcv_candles ({columns})")
        for row in rows:
            marks = ", ".join("?" for _ in row[1:])
            connection.execute(f"INSERT INTO ohlcv_candles VALUES (?, {marks})", row)  # noqa: S608 - marks alone


def moment(second):
    return pl.Series([second * 1000]).cast(pl.Datetime("ms"))[0]


def test_the_first_schema_of_quantbot(tmp_path):
    candles = market(START - 5 * MINUTE, 30)
    rows = [[MINT, "solana", moment(time), "1m", *candle] for time, candle in candles.items()]
    rows.append([MINT, "solana", moment(START), "1h", 1.0, 99.0, 0.5, 99.0, 1.0])
    rows.append([MINT, "solana", moment(START), "1m", 1.0, 16.0, 0.5, 9.0, 1.0])  # taken before it had closed
    rows.append([MINT.lower(), "solana", moment(START), "1m", *[9.0] * 5])
    table(tmp_path / "q.duckdb", f"{FIRST}, {VALUES}", rows)
    expected = {time: candle[3] for time, candle in candles.items() if time >= START}
    assert fetched(tmp_path, "duckdb", tmp_path / "q.duckdb") == expected


def test_the_second_schema_of_quantbot_counts_what_was_ingested_last(tmp_path):
    rows = [
        [MINT, "solana", moment(START), 60, 1.0, 2.0, 0.5, close, 8.0, moment(START + later), "run"]
        for close, later in ((1.25, 60), (1.75, 120), (1.5, 90))
    ]
    table(tmp_path / "q.duckdb", f"{SECOND}, {VALUES}, ingested_at TIMESTAMP, ingestion_run_id VARCHAR", rows)
    assert fetched(tmp_path, "duckdb", tmp_path / "q.duckdb") == {START: 1.75}


def test_a_file_without_the_table_is_named(tmp_path):
    duckdb.connect(str(tmp_path / "q.duckdb")).close()
    with pytest.raises(FetchError, match=r"q\.duckdb.*ohlcv_candles"):
        fetched(tmp_path, "duckdb", tmp_path / "q.duckdb")


@pytest.mark.parametrize("ending", ["feather", "parquet", "json"])
def test_a_directory_of_freqtrade(tmp_path, ending):
    directory = tmp_path / "binance"
    directory.mkdir()
    candles = market(START - 5 * MINUTE, 30)
    path = directory / f"ADA_BTC-1m.{ending}"
    names = ["open", "high", "low", "close", "volume"]
    date = pl.Series("date", [time * 1000 for time in candles]).cast(pl.Datetime("ms", "UTC")).dt.cast_time_unit("ns")
    frame = pl.DataFrame(list(candles.values()), schema=names, orient="row").select(date, *names)
    if ending == "json":
        path.write_text(json.dumps([[time * 1000, *candle] for time, candle in candles.items()]))
    elif ending == "feather":
        frame.write_ipc(path, compression="lz4")
    else:
        frame.write_parquet(path)
    expected = {time: candle[3] for time, candle in candles.items() if time >= START}
    assert fetched(tmp_path, "freqtrade", directory, "ADA/BTC") == expected
    assert fetched(tmp_path / "more", "freqtrade", directory, "NO/PAIR") == {}


def test_a_file_of_freqtrade_in_whatever_order_with_text_and_what_is_not_closed(tmp_path):
    candles = market(START, 30)
    rows = [[opened * 1000, *map(str, candle)] for opened, candle in sorted(candles.items(), reverse=True)]
    soon = int(time.time()) // MINUTE * MINUTE
    rows += [rows[3], [(START + 40 * MINUTE) * 1000, "1", "0.5", "2", "1", "1"], [soon * 1000, 1, 2, 0.5, 1, 1]]
    (tmp_path / "ADA_BTC-1m.json").write_text(json.dumps(rows))
    assert fetched(tmp_path, "freqtrade", tmp_path, "ADA/BTC") == {
        opened: candle[3] for opened, candle in candles.items()
    }


def test_quantbots_table_in_clickhouse(tmp_path, clickhouse_url, monkeypatch):
    server = urlsplit(clickhouse_url)
    client = clickhouse_connect.get_client(
        host=server.hostname, port=server.port, username=server.username, password=server.password
    )
    database = "quantbot_of_a_test"
    client.command(f"CREATE DATABASE IF NOT EXISTS {database}")
    client.command(f"DROP TABLE IF EXISTS {database}.ohlcv_candles")
    client.command(
        f"CREATE TABLE {database}.ohlcv_candles (token_address String, chain String, timestamp DateTime('UTC'), "
        "interval_seconds UInt32, open Float64, high Float64, low Float64, close Float64, volume Float64, "
        "ingested_at DateTime('UTC'), ingestion_run_id String) ENGINE = MergeTree ORDER BY (token_address, timestamp)"
    )
    client.command(
        f"INSERT INTO {database}.ohlcv_candles VALUES "  # noqa: S608 - of this test
        f"('{MINT}', 'solana', {START}, 60, 1, 2, 0.5, 1.25, 8, {START + 60}, 'a'), "
        f"('{MINT}', 'solana', {START}, 60, 1, 2, 0.5, 1.75, 8, {START + 120}, 'b'), "
        f"('{MINT}', 'solana', {START}, 3600, 1, 99, 0.5, 99, 8, {START + 180}, 'b')"
    )
    monkeypatch.setenv("LAB_CANDLES_CLICKHOUSE_URL", clickhouse_url.rpartition("/")[0] + f"/{database}")
    try:
        assert fetched(tmp_path, "clickhouse", None) == {START: 1.75}
    finally:
        client.command(f"DROP DATABASE {database}")
        client.close()
