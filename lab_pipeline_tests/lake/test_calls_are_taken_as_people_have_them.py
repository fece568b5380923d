from datetime import UTC, datetime

import polars as pl
import pytest

from lab_pipeline.domain.errors import LabError
from lab_pipeline.lake import IngestError, Lake, LakeError
from lab_pipeline.lake.chats import Reading
from lab_pipeline.lake.inbox import caller_of
from lab_pipeline.lake.people import read_people

SIGNALS = (
    "Date,Pair,Direction,Entry,TakeProfit_1,TakeProfit_2,TakeProfit_3,Stoploss\n"
    "2025-03-01 10:00:00,BTC/USDT,LONG,38000,39000,40000,41000,37000\n"
    "2025-03-01 11:00:00,ETH/USDT,Sell,2800,2700,2600,,2900\n"
)
MINT = "7GCihgDB8fe6KNjn2MYtkzZcRjQy3t9GHdC8uHYmW2hr"


@pytest.fixture
def lake(tmp_path):
    return Lake(tmp_path / "lake")


def ingested(lake, tmp_path, text, name="vip.csv", **reading):
    path = tmp_path / name
    path.write_text(text)
    return lake.ingest_calls([path], chats=Reading(**reading))


def bots_table(**changes):
    rows = {
        "chat_id": ["-100", "-100", "-100", "-100"],
        "message_id": [1, 1, 2, 3],
        "call_ts_ms": [1735689600000, 1735689600000, 1735689660000, 1735689720000],
        "call_datetime": ["2025-01-01T00:00:00Z"] * 4,
        "caller_name": ["Ann", "Ann", None, "Bob"],
        "caller_id": ["1", "1", "2", "3"],
        "trigger_text": ["…"] * 4,
        "mint": [MINT, MINT, MINT, "$PEPE"],
        "ticker": ["A"] * 4,
        "mcap_usd": [1e6, 2e6, 3e6, 4e6],
        "price_usd": [0.1, 0.2, 0.3, 0.4],
        "run_id": ["b", "a", "a", "a"],
        "inserted_at": ["2025-01-02", "2025-01-03", "2025-01-02", "2025-01-02"],
    }
    return pl.DataFrame({**rows, **changes})


def test_signals_have_a_column_for_each_target(lake, tmp_path):
    report = ingested(lake, tmp_path, SIGNALS)
    assert lake.calls().drop("call_id").rows() == [
        (
            "vip",
            "BTC/USDT",
            datetime(2025, 3, 1, 10, tzinfo=UTC),
            "long",
            38000.0,
            [39000.0, 40000.0, 41000.0],
            37000.0,
        ),
        ("vip", "ETH/USDT", datetime(2025, 3, 1, 11, tzinfo=UTC), "short", 2800.0, [2700.0, 2600.0], 2900.0),
    ]
    assert report.ignored_columns == {}
    assert "1 calls are short: kept, and not simulated" in report.remarks()
    assert any("its calls are taken to be of 'vip', after its name" in remark for remark in report.remarks())


def test_targets_of_parquet_are_numbers(lake, tmp_path):
    frame = pl.read_csv(SIGNALS.encode()).rename(
        {"TakeProfit_1": "TP 1", "TakeProfit_2": "tp2", "TakeProfit_3": "Target-3"}
    )
    frame.write_parquet(tmp_path / "vip.parquet")
    ingested(lake, tmp_path, SIGNALS)
    assert lake.ingest_calls([tmp_path / "vip.parquet"]).unchanged == 2


def test_a_call_has_the_same_name_in_whatever_notation_it_is_written(lake, tmp_path):
    ingested(lake, tmp_path, "caller,mint,called_at\nann,AAA,2025-03-01T12:00:00Z\n")
    again = "time,user,token,entry_price\n1740830400000,ann, AAA ,2\n1740830400000,ann,AAA,2\n"
    report = ingested(lake, tmp_path, again, "b.csv")
    assert (report.changed, report.added, report.repeated) == (1, 0, 1)
    assert ingested(lake, tmp_path, "caller,mint,called_at\nann,AAA,2025-03-01T12:00:01Z\n").added == 1


def test_two_plans_of_one_moment_contradict_each_other(lake, tmp_path):
    with pytest.raises(IngestError, match=r"line 3.*must be unique, also on line 2"):
        ingested(lake, tmp_path, "caller,mint,called_at,entry\nann,A,2025-03-01,1\nann,A,2025-03-01,2\n")


def test_who_calls_is_said_by_an_option_or_a_directory(lake, tmp_path):
    text = "mint,called_at\nAAA,2025-03-01\n"
    with pytest.raises(LakeError, match=r"no column caller: .*--caller NAME"):
        ingested(lake, tmp_path, text)
    ingested(lake, tmp_path, text, caller="Marta")
    assert lake.callers() == ["Marta"]
    assert (caller_of("caller=Marta/x.csv"), caller_of("x.csv")) == ("Marta", None)
    with pytest.raises(LakeError, match="has a column of callers"):
        ingested(lake, tmp_path, "caller,mint,called_at\nann,AAA,2025-03-01\n", caller="Marta")
    with pytest.raises(LakeError, match=r"the caller 'a.x1b' must be 1 to 256 visible characters"):
        ingested(lake, tmp_path, text, caller="a\x1b")


def test_all_targets_come_in_one_column_or_in_one_each(lake, tmp_path):
    with pytest.raises(LakeError, match="a column of all targets and columns of one each"):
        ingested(lake, tmp_path, "caller,mint,called_at,targets,tp1\nann,AAA,2025-03-01,2,2\n")
    with pytest.raises(LakeError, match="2 columns could be target 1"):
        ingested(lake, tmp_path, "caller,mint,called_at,tp_1,tp1\nann,AAA,2025-03-01,2,2\n")


def test_a_target_that_is_no_number_is_named(lake, tmp_path):
    with pytest.raises(IngestError, match="line 2, targets: must be numbers"):
        ingested(lake, tmp_path, "caller,mint,called_at,tp1,tp2\nann,AAA,2025-03-01,2,soon\n")


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_bots_table_counts_a_message_once_in_its_last_state(lake, tmp_path, suffix):
    path = tmp_path / f"user_calls_d.{suffix}"
    getattr(bots_table(), f"write_{suffix}")(path)
    report = lake.ingest_calls([path])
    found = lake.calls().select("call_id", "caller", "called_at", "price_at_call", "market_cap_at_call", "message_id")
    assert found.rows() == [
        (f"-100/1/{MINT}", "Ann", datetime(2025, 1, 1, tzinfo=UTC), 0.2, 2e6, "1"),
        (f"-100/2/{MINT}", "2", datetime(2025, 1, 1, 0, 1, tzinfo=UTC), 0.3, 3e6, "2"),
    ]
    assert report.no_calls == {str(path): {"without a token's address": 1}}
    assert report.repeated == 1
    assert report.ignored_columns == {str(path): ["call_datetime", "trigger_text", "ticker", "run_id"]}
    assert lake.ingest_calls([path]).unchanged == 2


def test_people_have_one_name_and_bots_do_not_call(lake, tmp_path):
    path = tmp_path / "callers.yaml"
    path.write_text("callers:\n  Ann Lee: [Ann, '@ann_calls', 2]\nbots: [Rick]\n")
    table = bots_table(caller_name=["ANN", "ANN", None, "rick"], mint=[MINT] * 4)
    table.write_parquet(tmp_path / "calls.parquet")
    report = lake.ingest_calls([tmp_path / "calls.parquet"], chats=Reading(people=read_people(path)))
    assert lake.calls()["caller"].to_list() == ["Ann Lee", "Ann Lee"]
    assert list(report.no_calls.values()) == [{"of bots": 1}]
    ingested(lake, tmp_path, "caller,mint,called_at\nann_calls,AAA,2025-03-01\n", people=read_people(path))
    assert lake.callers() == ["Ann Lee"]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("callers: {Ann: [x], Bob: [X]}", "'X' is a name of 'Ann', too"),
        ("callers: {Ann: [x]}\nbots: [ann]", "'ann' is a name of the caller 'Ann', too"),
        ("people: {}", "people: unknown field"),
    ],
)
def test_an_alias_file_leaves_no_doubt(tmp_path, text, wrong):
    path = tmp_path / "callers.yaml"
    path.write_text(text)
    with pytest.raises(LabError, match=wrong):
        read_people(path)
