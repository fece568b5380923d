import re
import signal
import subprocess
import sys
import threading

import duckdb
import pytest

from lab_pipeline.fetch import Ledger
from lab_pipeline.lake import Lake
from lab_pipeline_tests.fetch.servers import KEY, MINUTE, Birdeye, Gecko, at, market

CALLED = at("2025-03-10T06:02")
DAYS = 8
PROGRAM = "from lab_pipeline.cli import main; main()"


@pytest.fixture
def called(lab, tmp_path):
    """A lab that has three calls and no candle."""
    path = tmp_path / "calls.csv"
    path.write_text(
        "call_id,caller,mint,called_at\n"
        "1,ann,ALIVE,2025-03-10T06:02:00Z\n2,bob,DEAD,2025-03-10T06:02:00Z\n3,bob,0xabc,2025-03-10T06:02:00Z\n"
    )
    assert lab("ingest", "calls", path).status == 0
    return lab


@pytest.fixture
def gecko(called, httpserver, monkeypatch):  # noqa: ARG001 - its calls are in the lake
    """GeckoTerminal, whose one token has five-minute candles."""
    source = Gecko(httpserver)
    every = market(CALLED - 180 * MINUTE - 2 * MINUTE, DAYS * 1440)
    source.candles["ALIVE"] = {time: candle for time, candle in every.items() if time % 300 == 0}
    monkeypatch.setenv("LAB_GECKOTERMINAL_URL", source.url)
    monkeypatch.setenv("LAB_GECKOTERMINAL_PER_MINUTE", "1000000")
    return source


FETCH = ("fetch", "candles", "--source", "geckoterminal", "--timeframe", "5m", "--for-calls")


def test_an_estimate_asks_nothing(called, gecko):
    ended = called(*FETCH, "--estimate")
    assert ended.status == 0
    assert "candles on 2 mints: about " in ended.out
    assert ", free" in ended.out
    assert "1 tokens left out, since no call says their chain (--chain does): 0xabc" in ended.out
    assert gecko.asked == []


def test_an_estimate_says_what_a_plan_costs_and_how_long_its_limit_takes(called, monkeypatch):
    monkeypatch.setenv("LAB_BIRDEYE_KEY", KEY)
    monkeypatch.setenv("LAB_BIRDEYE_PER_MINUTE", "6")
    words = ("fetch", "candles", "--source", "birdeye", "--timeframe", "1m", "--for-calls", "--estimate")
    assert ", cost unknown" in called(*words).out
    monkeypatch.setenv("LAB_BIRDEYE_COST_PER_1000", "500")
    said = re.search(r"about ([0-9]+) requests, at least ([0-9]+) s, cost ([0-9.]+)", called(*words).out)
    requests, seconds, cost = map(float, said.groups())
    assert requests >= 2
    assert (seconds, cost) == (requests * 10, requests * 0.5)


def test_what_active_strategies_need_is_in_the_lake_and_nothing_more(called, gecko):
    ended = called(*FETCH)
    assert ended.status == 0, ended.err
    lake = Lake(called.home / "lake")
    first, last = (int(moment.timestamp()) for moment in lake.candles_extent("5m"))
    assert first <= CALLED - 60 * MINUTE
    assert last > CALLED + 1440 * MINUTE - 300
    assert lake.candles_count("5m") < len(gecko.candles["ALIVE"])
    assert lake.mints("5m") == ["ALIVE"]
    ended = called(*FETCH)
    assert "nothing to fetch: the lake has what 2 tokens need, or geckoterminal has not" in ended.out
    assert called("backtest", "--strategy", "ladder", "--timeframe", "5m", "--json").json["summary"]["calls"] == 3


def test_what_is_missing_is_named(called):
    ended = called("fetch", "candles", "--source", "birdeye", "--timeframe", "5m", "--for-calls")
    assert (ended.status, "this source needs LAB_BIRDEYE_KEY" in ended.err) == (2, True)
    ended = called("fetch", "candles", "--source", "nobody", "--timeframe", "5m", "--for-calls")
    assert (ended.status, "there is no source 'nobody': use one of geckoterminal" in ended.err) == (2, True)
    ended = called("fetch", "candles", "--source", "geckoterminal", "--timeframe", "7m", "--for-calls")
    assert (ended.status, "--timeframe: '7m' does not divide a day" in ended.err) == (2, True)
    ended = called("fetch", "candles", "--source", "geckoterminal", "--timeframe", "3m", "--for-calls")
    assert (ended.status, "geckoterminal has no candles of 3m" in ended.err) == (2, True)
    ended = called("fetch", "candles", "--source", "geckoterminal", "--timeframe", "5m")
    assert (ended.status, "--for-calls" in ended.err) == (2, True)
    ended = called("fetch", "candles", "--source", "freqtrade", "--timeframe", "5m", "--for-calls")
    assert (ended.status, "source freqtrade needs --path" in ended.err) == (2, True)


def test_a_key_is_masked(called, monkeypatch):
    monkeypatch.setenv("LAB_BIRDEYE_KEY", KEY)
    assert KEY not in called("settings").out


def test_a_killed_fetch_goes_on_where_it_was(called, httpserver, monkeypatch):
    source = Birdeye(httpserver)
    source.candles["ALIVE"] = market(CALLED - 180 * MINUTE, DAYS * 1440)
    for name, value in source.settings().items():
        monkeypatch.setenv(f"LAB_{name.upper()}", str(value))
    words = ("fetch", "candles", "--source", "birdeye", "--timeframe", "1m", "--for-calls", "--mint", "ALIVE")
    reached, go_on = threading.Event(), threading.Event()
    answer = source.answer

    def hang(request, build):
        if len(source.asked) == 2:
            reached.set()
            go_on.wait(60)
        return answer(request, build)

    monkeypatch.setattr(source, "answer", hang)
    with subprocess.Popen([sys.executable, "-c", PROGRAM, *words], stderr=subprocess.DEVNULL) as process:
        assert reached.wait(120)
        process.send_signal(signal.SIGKILL)
        process.wait()
    go_on.set()
    ended = called(*words)
    assert ended.status == 0, ended.err
    (asked,) = Ledger(called.home / "catalog.duckdb").asked("birdeye", "1m").items()
    lake = Lake(called.home / "lake")
    needed = [
        time for time in source.candles["ALIVE"] if asked[1][0].start <= time * 1000 < asked[1][-1].fetched_through
    ]
    assert lake.candles_count("1m") == len(needed)


def test_calls_of_a_bots_table_are_fetched_with_their_callers_names(lab, tmp_path):
    path, mint = tmp_path / "bot.duckdb", "So11111111111111111111111111111111111111112"
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "CREATE TABLE user_calls_d (chat_id VARCHAR, message_id BIGINT, call_ts_ms BIGINT, caller_name VARCHAR, "
            "caller_id VARCHAR, trigger_text VARCHAR, mint VARCHAR, price_usd DOUBLE, run_id VARCHAR, "
            "inserted_at TIMESTAMP)"
        )
        values = f"('-100', 1, 1735689600000, 'ann', '7', 'buy', '{mint}', 0.5"
        connection.execute(
            f"INSERT INTO user_calls_d VALUES {values}, 'a', '2025-01-02'), {values}, 'b', '2025-01-03'), "  # noqa: S608
            "('-100', 2, 1735689600000, 'ann', '7', 'hi', 'nothing', 0.5, 'a', '2025-01-02')"
        )
    lab.home.mkdir(exist_ok=True)
    (lab.home / "callers.yaml").write_text("callers: {Ann Lee: [7]}\n")
    ended = lab("fetch", "calls", "--path", path)
    assert ended.status == 0, ended.err
    assert f"{path}: 1 left out: 1 without a token's address" in ended.out
    (call,) = Lake(lab.home / "lake").calls().iter_rows(named=True)
    assert (call["call_id"], call["caller"], call["price_at_call"]) == (f"-100/1/{mint}", "Ann Lee", 0.5)
    assert "0 added, 0 changed, 1 already there" in lab("fetch", "calls", "--path", path).out
    ended = lab("fetch", "calls", "--path", tmp_path / "none.duckdb")
    assert (ended.status, "none.duckdb" in ended.err) == (2, True)
