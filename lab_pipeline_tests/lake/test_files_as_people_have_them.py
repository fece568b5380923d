import bz2
import gzip
import json
import lzma
import zipfile

import polars as pl
import pyarrow as pa
import pytest

from lab_pipeline.lake import LakeError, json_rows
from lab_pipeline.lake.layout import CANDLES
from lab_pipeline.lake.sources import Hints
from lab_pipeline.lake.understanding import understand
from lab_pipeline_tests.lake.samples import START_MS, candles, everything

STEP = 300
START = START_MS // 1000
PRICES = [(1.0, 2.0, 0.5, 1.5, 10.0), (1.5, 2.5, 1.25, 2.0, 11.0), (2.0, 3.0, 1.0, 1.25, 12.0)]
HEADER = "mint,timestamp,open,high,low,close,volume\n"
LINES = HEADER + "".join(
    f"AAA,{START + STEP * number},{','.join(map(str, row))}\n" for number, row in enumerate(PRICES)
)


def write(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def took(lake, path, whose="AAA", *, said="5m", **hints):
    """Ingest a file and see that the lake has the three candles, of that mint."""
    report = lake.ingest_candles([path], said, hints=Hints(**hints))
    rows = everything(lake, "5m")
    assert rows["mint"].unique().to_list() == [whose]
    assert rows["timestamp"].to_physical().to_list() == [(START + STEP * number) * 1000 for number in range(3)]
    assert rows.select("open", "high", "low", "close", "volume").rows() == PRICES
    return report


def zipped(content, name="candles.csv"):
    def pack(path):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("__MACOSX/._candles.csv", b"what a Mac adds")
            archive.writestr(name, content)
        return path

    return pack


@pytest.mark.parametrize(
    "pack",
    [gzip.compress, lzma.compress, bz2.compress, lambda content: pa.compress(content, "zstd", asbytes=True)],
    ids=["gzip", "xz", "bzip2", "zstd"],
)
def test_what_a_file_is_packed_in_is_known_by_its_first_bytes(lake, tmp_path, pack):
    took(lake, write(tmp_path, "anything", pack(LINES.encode())))


def test_a_zip_of_one_file(lake, tmp_path):
    took(lake, zipped(LINES)(tmp_path / "candles.zip"))


@pytest.mark.parametrize("kind", ["file", "lz4", "stream"])
def test_feather(lake, tmp_path, kind):
    frame = pl.read_csv(LINES.encode()).with_columns(pl.from_epoch("timestamp").dt.replace_time_zone("UTC"))
    path = tmp_path / "candles.feather"
    if kind == "stream":
        frame.write_ipc_stream(path)
    else:
        frame.write_ipc(path, compression="uncompressed" if kind == "file" else "lz4")
    took(lake, path)


@pytest.mark.parametrize("end", ["feather", "parquet"])
def test_freqtrades_files_say_pair_and_length_by_name(lake, tmp_path, end):
    frame = pl.read_csv(LINES.encode()).select(
        pl.from_epoch("timestamp").cast(pl.Datetime("ns")).dt.replace_time_zone("UTC").alias("date"),
        *("open", "high", "low", "close", "volume"),
    )
    path = tmp_path / f"ETH_USDT_USDT-5m-futures.{end}"
    (frame.write_ipc if end == "feather" else frame.write_parquet)(path)
    report = took(lake, path, "ETH_USDT_USDT", said=None)
    assert report.remarks() == [f"{path}: the mint ETH_USDT_USDT is taken from the name, as freqtrade names files"]
    with pytest.raises(LakeError, match=r"says that its candles are of 5m, not of 1m"):
        lake.ingest_candles([path], "1m")
    mark = path.rename(tmp_path / f"ETH_USDT_USDT-5m-mark.{end}")
    with pytest.raises(LakeError, match=r"seems to be freqtrade's mark, which are no candles of trades"):
        lake.ingest_candles([mark], "5m")


def arrays(factor=1000):
    return [[(START + STEP * number) * factor, *row] for number, row in enumerate(PRICES)]


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_freqtrades_json_and_ccxts_rows(lake, tmp_path, separators):
    content = json.dumps(arrays(), separators=separators)
    took(lake, write(tmp_path, "ADA_BTC-5m.json.gz", gzip.compress(content.encode())), "ADA_BTC", said=None)


def test_rows_of_text_and_over_many_lines(lake, tmp_path):
    rows = [[str(value) for value in row] for row in arrays()]
    report = lake.ingest_candles([write(tmp_path, "rows.json", json.dumps(rows, indent=1))], "5m", mint="AAA")
    assert report.added == 3


def test_rows_that_are_as_well_in_another_order_need_their_columns_named(lake, tmp_path):
    rows = [[START + STEP * number, 1, 1, 1, 1, 5] for number in range(3)]
    path = write(tmp_path, "rows.json", json.dumps(rows))
    with pytest.raises(LakeError, match=r"as well those of Coinbase .*: name its columns with --columns"):
        lake.ingest_candles([path], "5m", mint="AAA")
    coinbase = [[time, low, high, opened, close, volume] for time, opened, high, low, close, volume in arrays(factor=1)]
    path = write(tmp_path, "rows.json", json.dumps(coinbase))
    with pytest.raises(LakeError, match="values of no order that is known"):
        lake.ingest_candles([path], "5m", mint="AAA")
    took(lake, path, columns=("time", "low", "high", "open", "close", "volume"), mint="AAA")


def kline(number, row, factor):
    opened = START + STEP * number
    last = (opened + STEP) * factor - 1
    return [opened * factor, *map(str, row), last, "150.5", 3, "5.0", "75.25", "0"]


@pytest.mark.parametrize("factor", [10**3, 10**6], ids=["milliseconds", "microseconds"])
@pytest.mark.parametrize("name", ["ADAUSDT-5m-2025-01.zip", "renamed.zip"])
def test_binance_visions_klines_without_a_header(lake, tmp_path, factor, name):
    lines = "".join(",".join(map(str, kline(number, row, factor))) + "\n" for number, row in enumerate(PRICES))
    path = zipped(lines, "ADAUSDT-5m-2025-01.csv")(tmp_path / name)
    report = took(lake, path, "ADAUSDT", said=None)
    assert report.ignored_columns[str(path)][:2] == ["close_time", "quote_volume"]
    with pytest.raises(LakeError, match="says that its candles are of 5m, not of 1h"):
        lake.ingest_candles([path], "1h")


def test_klines_whose_unit_changes_on_the_way_are_refused(lake, tmp_path):
    lines = "".join(
        ",".join(map(str, kline(number, row, factor))) + "\n"
        for number, (row, factor) in enumerate(zip(PRICES, (10**3, 10**3, 10**6), strict=True))
    )
    path = write(tmp_path, "ADAUSDT-5m-2024-12.csv", lines)
    with pytest.raises(LakeError, match=r"line 3, timestamp: mixed time units: this is Unix microseconds"):
        lake.ingest_candles([path], "5m")


def test_answers_of_binances_api(lake, tmp_path):
    rows = [kline(number, row, 1000) for number, row in enumerate(PRICES)]
    took(lake, write(tmp_path, "klines.json", json.dumps(rows)), said=None, mint="AAA")


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_separators(lake, tmp_path, separator):
    took(lake, write(tmp_path, "x.csv", LINES.replace(",", separator)))


def test_decimal_commas_and_a_declared_separator(lake, tmp_path):
    took(lake, write(tmp_path, "x.csv", "sep=;\r\n" + LINES.replace(",", ";").replace(".", ",")))
    path = write(tmp_path, "y.csv", "sep=;\n" + (HEADER + f"AAA;{START};1,5;2;0,5;1.5;3\n").replace(",", ";", 6))
    with pytest.raises(LakeError, match=r"line 3, open: must be a number, found '1,5'"):
        lake.ingest_candles([path], "5m")


def test_a_comma_that_may_be_between_thousands_is_asked_about(lake, tmp_path):
    path = write(tmp_path, "x.csv", HEADER.replace(",", ";") + f"AAA;{START};1,234;2,345;1,100;1,500;10\n")
    with pytest.raises(LakeError, match=r"numbers such as 1,234: if that is 1\.234, say --decimal ,"):
        lake.ingest_candles([path], "5m")
    lake.ingest_candles([path], "5m", hints=Hints(decimal=","))
    assert everything(lake, "5m").row(0)[2:] == (1.234, 2.345, 1.1, 1.5, 10.0)


def test_a_decimal_comma_beside_a_point_is_no_number(lake, tmp_path):
    path = write(tmp_path, "x.csv", HEADER.replace(",", ";") + f"AAA;{START};1,5;1.234,5;0,5;1,5;10\n")
    with pytest.raises(LakeError, match=r"line 2, high: must be a number, found '1\.234,5'"):
        lake.ingest_candles([path], "5m", hints=Hints(decimal=","))


def test_cryptodatadownload(lake, tmp_path):
    header = "unix,date,symbol,open,high,low,close,Volume BTC,Volume USDT,tradecount\n"
    rows = [
        f"{(START + STEP * n) * 1000},2024-01-01 00:0{5 * n % 10}:00,BTC/USDT,{','.join(map(str, PRICES[n]))},999.5,7\n"
        for n in (2, 1, 0)
    ]
    path = write(tmp_path, "Binance_BTCUSDT_5m.csv", "https://www.CryptoDataDownload.com\n" + header + "".join(rows))
    report = took(lake, path, "BTC/USDT")
    assert report.ignored_columns == {str(path): ["date", "Volume USDT", "tradecount"]}
    path.write_text(path.read_text().replace("Volume BTC", "Volume XXX"))
    with pytest.raises(LakeError, match=r"has no column volume: .*Volume XXX.*say --map volume=NAME"):
        lake.ingest_candles([path], "5m")
    took(lake, path, "BTC/USDT", taken={"volume": "Volume XXX"})


def test_lines_are_counted_from_the_first_one_of_the_file(lake, tmp_path):
    path = write(tmp_path, "x.csv", "https://www.example.com\n" + HEADER + f"AAA,{START},1,2,0.5,x,3\n")
    with pytest.raises(LakeError, match="line 3, close: must be a number, found 'x'"):
        lake.ingest_candles([path], "5m")
    path = write(tmp_path, "y.csv", f"{START},1,2,0.5,1.5,3\n{START + STEP},1,2,0.5,1.5,x\n")
    columns = ("time", "open", "high", "low", "close", "volume")
    with pytest.raises(LakeError, match="line 2, volume: must be a number, found 'x'"):
        lake.ingest_candles([path], "5m", hints=Hints(mint="AAA", columns=columns))


def test_tradingview(lake, tmp_path):
    lines = "time,open,high,low,close,Volume,Volume MA\n" + "".join(
        f"{START + STEP * number},{','.join(map(str, row))},NaN\n" for number, row in enumerate(PRICES)
    )
    path = write(tmp_path, "BINANCE_BTCUSDT, 5.csv", lines)
    with pytest.raises(LakeError, match=r"has no column mint: .*--mint MINT.*--mint-from-name"):
        lake.ingest_candles([path], "5m")
    report = took(lake, path, "BINANCE_BTCUSDT", said=None, mint_from_name=True)
    assert report.ignored_columns == {str(path): ["Volume MA"]}


@pytest.mark.parametrize("name", ["So111-5m.csv", "So111.csv", "So111_5m_2024-01.csv"])
def test_the_name_of_a_file_is_the_token_if_that_is_said(lake, tmp_path, name):
    path = write(tmp_path, name, LINES.replace("mint,", "").replace("AAA,", ""))
    took(lake, path, "So111", mint_from_name=True)
    path = write(tmp_path, name, LINES)
    lake.ingest_candles([path], "5m", hints=Hints(mint_from_name=True))
    assert lake.mints("5m") == ["AAA", "So111"], "a column goes before the name"


def test_a_name_that_is_only_a_length_is_no_token_and_a_point_in_one_is_kept(lake, tmp_path):
    lines = LINES.replace("mint,", "").replace("AAA,", "")
    with pytest.raises(LakeError, match="has no column mint"):
        lake.ingest_candles([write(tmp_path, "5m.csv", lines)], "5m", hints=Hints(mint_from_name=True))
    took(lake, write(tmp_path, "USD.e.csv", lines), "USD.e", mint_from_name=True)


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("time", ["unixTime", "unix_time"])
def test_answers_of_birdeye(lake, tmp_path, indent, time):
    items = [
        dict(zip("ohlcv", row, strict=True)) | {"address": "AAA", "type": "5m", time: START + STEP * n, "v_usd": 1e6}
        for n, row in enumerate(PRICES)
    ]
    path = write(tmp_path, "answer.json", json.dumps({"success": True, "data": {"items": items}}, indent=indent))
    report = took(lake, path, said=None)
    assert report.ignored_columns == {str(path): ["v_usd"]}
    with pytest.raises(LakeError, match="the files say 3 times 5m"):
        lake.ingest_candles([path], "1m")


def test_answers_of_geckoterminal_whose_volume_is_money(lake, tmp_path):
    rows = [[START + STEP * n, *map(str, row[:4]), row[4] * sum(row[:4]) / 4] for n, row in enumerate(PRICES)]
    answer = {
        "data": {"id": "1", "type": "ohlcv_request_response", "attributes": {"ohlcv_list": rows[::-1]}},
        "meta": {"base": {"address": "AAA", "symbol": "A"}, "quote": {"address": "SOL", "symbol": "SOL"}},
    }
    path = write(tmp_path, "ohlcv.json", json.dumps(answer))
    with pytest.raises(LakeError, match="does not say how long its candles are: --timeframe says it"):
        lake.ingest_candles([path], None)
    base, volume = took(lake, path).notes[str(path)]
    assert "the base token, AAA; if the request said token=quote they are those of SOL: say so with --mint" in base
    assert "divided by the mean of the candle's four prices" in volume
    lake.ingest_candles([path], "5m", mint="SOL")
    assert lake.mints("5m") == ["AAA", "SOL"]


def objects(rows=3):
    names = ("mint", "timestamp", "open", "high", "low", "close", "volume")
    return [
        dict(zip(names, ("AAA", START + STEP * n, *PRICES[n % 3]), strict=True)) | {"note": [{"a": 1}, {"b": "},{"}]}
        for n in range(rows)
    ]


@pytest.mark.parametrize("indent", [None, 2])
def test_objects_in_an_array(lake, tmp_path, indent):
    report = took(lake, write(tmp_path, "rows.json", json.dumps(objects(), indent=indent)))
    assert list(report.ignored_columns.values()) == [["note"]]


def test_an_object_a_line(lake, tmp_path):
    took(lake, write(tmp_path, "rows.jsonl", "\n".join(map(json.dumps, objects())) + "\n\n"))


@pytest.mark.parametrize("block", [1_000, 1_003, 4_096])
@pytest.mark.parametrize("shape", ["array", "lines", "arrays"])
def test_blocks_of_any_size_give_the_same_rows(lake, tmp_path, monkeypatch, shape, block):
    monkeypatch.setattr(json_rows, "BLOCK_BYTES", block)
    rows = objects(200)
    if shape == "arrays":
        content = json.dumps([[row["timestamp"], *PRICES[n % 3]] for n, row in enumerate(rows)], separators=(",", ":"))
    else:
        content = json.dumps(rows) if shape == "array" else "\n".join(map(json.dumps, rows))
    hints = Hints(mint="AAA") if shape == "arrays" else Hints()
    lake.ingest_candles([write(tmp_path, "rows", content)], "5m", hints=hints)
    expected = [(row["timestamp"] * 1000, *PRICES[n % 3]) for n, row in enumerate(rows)]
    found = everything(lake, "5m").with_columns(pl.col("timestamp").to_physical())
    assert found.drop("mint").rows() == expected


def test_a_key_that_comes_late_is_not_dropped_without_a_word(lake, tmp_path, monkeypatch):
    monkeypatch.setattr(json_rows, "BLOCK_BYTES", 1_000)
    rows = objects(100)
    rows[-1]["liquidity"] = 5.0
    with pytest.raises(
        LakeError, match="has a key liquidity that its first rows do not have: give every row every key"
    ):
        lake.ingest_candles([write(tmp_path, "rows.jsonl", "\n".join(map(json.dumps, rows)))], "5m")


def test_digits_of_numbers_in_json_are_kept(lake, tmp_path):
    prices = '"open": 1.1e-12, "high": 2e-12, "low": 1e-12, "close": "1.5e-12"'
    row = f'{{"mint": "AAA", "timestamp": 1704067200.0, {prices}, "v": 123456789012345678}}'
    lake.ingest_candles([write(tmp_path, "rows.json", f"[{row}]")], "5m")
    assert everything(lake, "5m").row(0)[2:] == (1.1e-12, 2e-12, 1e-12, 1.5e-12, 123456789012345678.0)


def mixed(tmp_path, intervals=("5m", "5m", "1h", "1h")):
    times = (0, 300, 0, 3600)
    rows = [f"AAA,{START + at},{said},1,2,0.5,1.5,10\n" for at, said in zip(times, intervals, strict=True)]
    return write(tmp_path, "candles.csv", "mint,timestamp,interval,open,high,low,close,volume\n" + "".join(rows))


def test_a_file_of_several_lengths_is_split_by_its_column(lake, tmp_path):
    report = lake.ingest_candles([mixed(tmp_path)], None)
    assert (report.files, report.rows, report.mints, report.added) == (1, 4, 1, 4)
    assert report.by_timeframe == {"5m": 2, "1h": 2}
    assert report.remarks() == ["2 candles of 5m, 2 candles of 1h"]
    assert {length: everything(lake, length).height for length in lake.timeframes()} == {"5m": 2, "1h": 2}
    assert lake.ingest_candles([mixed(tmp_path)], None).unchanged == 4


def test_of_several_lengths_all_come_in_or_none(lake, tmp_path):
    path = mixed(tmp_path)
    path.write_text(path.read_text().removesuffix("1.5,10\n") + "9.5,10\n")
    with pytest.raises(LakeError, match="line 5, high: high must be >= open and close"):
        lake.ingest_candles([path], None)
    assert lake.timeframes() == []


@pytest.mark.parametrize(
    ("intervals", "message"),
    [
        (("60", "60", "300", "300"), "interval: '60' may be 1m or 1h: --timeframe says it"),
        (("5m", "5m", "spot", "1h"), "interval: 'spot' is no length: --timeframe says it"),
    ],
)
def test_lengths_that_are_not_certain_are_asked_about(lake, tmp_path, intervals, message):
    with pytest.raises(LakeError, match=message):
        lake.ingest_candles([mixed(tmp_path, intervals)], None)


def test_what_is_understood_is_told_without_touching_the_lake(lake, tmp_path):
    path = write(tmp_path, "x.csv", LINES.replace(",", ";").replace(".", ",").replace("mint", "note;symbol", 1))
    text = path.read_text().replace("AAA", "n;AAA")
    path.write_text(text)
    (said,) = understand([path], CANDLES, "5m")
    assert said.kind == "CSV separated by semicolons"
    assert said.columns["mint"] == "symbol"
    assert (said.ignored, said.times, said.zone, said.decimal) == (["note"], "Unix seconds", "UTC", ",")
    assert said.timeframes == ["5m"]
    assert said.first_rows.height == 3
    assert not lake.root.exists()


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("2024-01-01T00:00:00Z", "UTC"),
        ("2024-01-01 02:00:00+02:00", "offset +02:00"),
        ("2024-01-01 00:00:00", "no zone, which is UTC"),
        ("1704067200000", "UTC"),
    ],
)
def test_the_zone_of_times_is_told(tmp_path, text, zone):
    path = write(tmp_path, "x.csv", HEADER + f"AAA,{text},1,2,0.5,1.5,3\n")
    assert understand([path], CANDLES, "5m")[0].zone == zone


def test_parquet_says_zone_and_length_by_its_types_and_columns(tmp_path):
    path = tmp_path / "x.parquet"
    candles(["AAA"], 3).with_columns(
        pl.col("timestamp").dt.convert_time_zone("Europe/Berlin"), interval=pl.lit("1m")
    ).write_parquet(path)
    (said,) = understand([path], CANDLES)
    assert (said.kind, said.times, said.zone) == ("Parquet", "timestamps", "zone Europe/Berlin")
    assert (said.timeframes, said.columns["timeframe"]) == (["1m"], "interval")
