import gzip
import json
import subprocess
import sys
from datetime import UTC, datetime

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from lab_pipeline.domain.errors import LabError
from lab_pipeline.lake import Lake, LakeError
from lab_pipeline.lake.chat_patterns import read_patterns
from lab_pipeline.lake.chats import MessageReader, Reading, Skipped, Token, is_address, number_of
from lab_pipeline.lake.inbox import kind_of
from lab_pipeline.lake.layout import CALLS
from lab_pipeline.lake.telegram import is_export

MINT = "7GCihgDB8fe6KNjn2MYtkzZcRjQy3t9GHdC8uHYmW2hr"
OTHER = "9n4nbM75f5Ui33ZbPYXn59EwSgE8CGsHtAeTH5YFeJ9E"
POOL = "DezXAZ8z7PnrnRJjz3wXBoRgixCa6xjnB7YaB1pPB263"
EVM = "0x6982508145454Ce325dDbE47a25d4ec3d2311933"
WSOL = "So11111111111111111111111111111111111111112"
READER = MessageReader(read_patterns())


def message(number, text, **more):
    known = {"id": number, "type": "message", "date": "2025-01-01T02:00:00", "date_unixtime": str(1735689600 + number)}
    return {**known, "from": "Marta", "from_id": "user1", "text": text, "text_entities": [], **more}


def chat(*messages, **more):
    return {"name": "Gems", "type": "public_channel", "id": 123, **more, "messages": list(messages)}


@pytest.fixture
def lake(tmp_path):
    return Lake(tmp_path / "lake")


def ingested(lake, tmp_path, export, **reading):
    path = tmp_path / "result.json"
    path.write_text(export if isinstance(export, str) else json.dumps(export, indent=1, ensure_ascii=False))
    return lake.ingest_calls([path], chats=Reading(**reading))


def test_a_message_with_a_token_is_a_call(lake, tmp_path):
    text = ["Ape now ", {"type": "code", "text": MINT}, "\nEntry: 0.5\nTP1: 1\nTP2: 2\nSL: 0.25\nMC: $120k"]
    report = ingested(lake, tmp_path, chat(message(7, text), message(8, "gm"), {"id": 9, "type": "service"}))
    assert (report.rows, report.added) == (1, 1)
    assert report.no_calls == {str(tmp_path / "result.json"): {"no token address": 1, "service message": 1}}
    assert lake.calls().row(0, named=True) == {
        "call_id": f"123/7/{MINT}",
        "caller": "Marta",
        "mint": MINT,
        "called_at": datetime(2025, 1, 1, 0, 0, 7, tzinfo=UTC),
        "entry_price": 0.5,
        "targets": [1.0, 2.0],
        "stop_price": 0.25,
        "market_cap_at_call": 120_000.0,
        "chain": "solana",
        "source_url": "https://t.me/c/123/7",
        "message_id": "7",
    }
    assert ingested(lake, tmp_path, chat(message(7, text))).unchanged == 1


def test_an_export_of_all_chats_is_read_but_for_private_ones(lake, tmp_path):
    chats = [
        chat(message(1, MINT)),
        chat(message(1, OTHER), id=5, name="Ann", type="personal_chat"),
        chat(message(1, OTHER, **{"from": None, "from_id": "channel9"}), id=6, type="private_supergroup"),
    ]
    left = [chat(message(4, EVM), id=7, type="private_group")]
    export = {"about": "…", "personal_information": {"user_id": 1, "name": "Me", "messages": [{"id": 3}]}}
    export |= {"chats": {"about": "…", "list": chats}, "left_chats": {"list": left}, "contacts": {"list": [{"id": 3}]}}
    report = ingested(lake, tmp_path, export)
    assert lake.calls().select("call_id", "caller").sort("call_id").rows() == [
        (f"123/1/{MINT}", "Marta"),
        (f"6/1/{OTHER}", "channel9"),
        (f"7/4/{EVM}", "Marta"),
    ]
    assert list(report.no_calls.values()) == [{"chat of another type": 1}]


def test_a_packed_export_is_known_by_its_first_bytes(lake, tmp_path):
    path = tmp_path / "in the inbox"
    path.write_bytes(gzip.compress(json.dumps(chat(message(1, MINT))).encode()))
    assert kind_of(path, "in the inbox") == (CALLS, None)
    assert lake.ingest_calls([path]).added == 1


def test_escapes_that_only_telegram_writes_are_read(lake, tmp_path):
    text = json.dumps(chat(message(1, f"A\\\\x0b {MINT} ~")))
    ingested(lake, tmp_path, text.replace("~", "\\x0b" * 40_000))  # longer than what is read at once
    assert lake.calls()["mint"].to_list() == [MINT]


@pytest.mark.parametrize("cut", [0.5, 0.99])
def test_an_export_that_ends_early_is_refused_whole(lake, tmp_path, cut):
    whole = json.dumps(chat(*(message(number, MINT) for number in range(50))))
    with pytest.raises(LakeError, match=r"result\.json is a broken or incomplete export: "):
        ingested(lake, tmp_path, whole[: int(len(whole) * cut)])
    assert lake.calls().is_empty()


@pytest.mark.parametrize("text", ["[]", "{}", '{"messages": []}', '{"type": "public_channel"}', "a,b\n1,2\n"])
def test_other_json_is_no_export(tmp_path, text):
    (tmp_path / "x").write_text(text)
    assert not is_export(tmp_path / "x")


@pytest.mark.parametrize(
    ("text", "links", "found"),
    [
        (f"buy {MINT}!", [], [Token(MINT, "solana")]),
        (f"ca:{EVM}", [], [Token(EVM)]),
        (f"https://dexscreener.com/base/{EVM.lower()} {EVM}", [], [Token(EVM)]),
        (f"https://birdeye.so/token/{MINT}?chain=solana", [], [Token(MINT)]),
        ("chart", [f"https://pump.fun/coin/{MINT}"], [Token(MINT, "solana")]),
        ("chart", [f"https://dexscreener.com/solana/{POOL}"], [Token(POOL, "solana", may_be_pool=True)]),
        (f"{MINT} dexscreener.com/solana/{POOL}", [], [Token(MINT, "solana")]),
        ("chart", [f"https://photon-sol.tinyastro.io/en/lp/{POOL}"], Skipped.POOL),
        ("buy", [f"https://t.me/some_bot?start=ref_ab_ca_{MINT}"], [Token(MINT, may_be_pool=True)]),
        (f"{MINT} {MINT} and {OTHER}", [], [Token(MINT, "solana"), Token(OTHER, "solana")]),
        (f"{MINT} {OTHER} {POOL} {EVM}", [], Skipped.LIST),
        (f"pay with {WSOL}", [], Skipped.NOT_A_TOKEN),
        (f"https://solscan.io/account/{MINT}", [], Skipped.NO_TOKEN),
        ("0x" + "ab" * 32, [], Skipped.NO_TOKEN),  # a transaction
        (MINT + MINT, [], Skipped.NO_TOKEN),
        ("A" * 40, [], Skipped.NO_TOKEN),  # base58, of too few bytes
        ("gm", [], Skipped.NO_TOKEN),
    ],
)
def test_tokens_of_a_message(text, links, found):
    assert READER.tokens(text, links) == found


@pytest.mark.parametrize(
    ("text", "entry", "targets", "stop", "direction"),
    [
        ("Entry: 0.5 TP: 1 / 2 / 3 SL: 0.4", 0.5, [1, 2, 3], 0.4, None),
        ("LONG\nEntry 1.0 - 1.2\nTarget 1: 1.5\nTarget 2: 2\nStop loss: 0.9", 1.2, [1.5, 2], 0.9, "long"),
        ("#SHORT Entry: 1.0 - 1.2\nTP1 0.9\nTP2 0.8\nSL 1.3", 1.0, [0.9, 0.8], 1.3, "short"),
        ("Entry: 100\nTargets: 90, 80\nStop: 110", 100, [90, 80], 110, "short"),
        ("Targets: 90, 80\nStop: 110", None, [90, 80], 110, "short"),
        ("Targets:\n1) 1.5\n2) $2.0\nEntry: $1,000.5", 1000.5, [1.5, 2], None, "short"),
        ("Buy at 0.0₄12, targets 2x, 5x, sl -50%", 0.000012, [0.000024, 0.00006], 0.000006, None),
        ("short entry 10 tp 20% sl 10%", 10, [8], 11, "short"),
        ("Targets:\n1) 1.5\n2) $2.0", None, [1.5, 2], None, None),
        ("TP 2x and 5x", None, None, None, None),
        ("TP1: 500k", None, None, None, None),
        ("long, entry 1, tp 2, sl 3", None, None, None, "long"),
        ("in short: a long term hold", None, None, None, None),
        ("no levels, 3 reasons, 100% legit", None, None, None, None),
        ("Take profit at 1.5.", None, [1.5], None, None),
    ],
)
def test_levels_of_a_message(text, entry, targets, stop, direction):
    plan, _ = READER.plan(text)
    assert (plan.entry_price, plan.stop_price, plan.direction) == (entry, stop and pytest.approx(stop), direction)
    assert plan.targets == (targets and pytest.approx(targets))


def test_levels_that_cannot_be_taken_are_reported(lake, tmp_path):
    late = {"edited_unixtime": str(1735689600 + 3600)}
    report = ingested(
        lake,
        tmp_path,
        chat(
            message(1, f"{MINT} TP1: 500k"),
            message(2, f"{MINT} TP: 2", **late),
            message(3, f"{MINT} {OTHER} TP: 2"),
            message(4, f"{MINT} long entry 1 tp 2 sl 3"),
        ),
    )
    assert "targets" not in lake.calls().columns
    assert lake.calls()["edited_at"].drop_nulls().to_list() == [datetime(2025, 1, 1, 1, tzinfo=UTC)]
    (said,) = report.notes.values()
    assert len(said) == 4
    assert all(one.startswith("1 messages ") for one in said)


def test_a_short_call_is_kept_and_said_to_be_one(lake, tmp_path):
    report = ingested(lake, tmp_path, chat(message(1, f"Short {MINT} entry 1 tp 0.5")))
    assert lake.calls()["direction"].to_list() == ["short"]
    assert "1 calls are short: kept, and not simulated" in report.remarks()


def test_the_caller_is_the_author_or_else_who_was_forwarded_or_else_the_sender(lake, tmp_path):
    ingested(
        lake,
        tmp_path,
        chat(
            message(1, MINT, author="Ann", forwarded_from="Bob"),
            message(2, MINT, forwarded_from="Bob\u200e \x00"),
            message(3, MINT),
            message(4, MINT, **{"from": "\u200e", "from_id": "user4"}),
        ),
    )
    assert lake.calls()["caller"].to_list() == ["Ann", "Bob", "Marta", "user4"]


def test_a_local_time_needs_a_zone(lake, tmp_path):
    old = message(1, MINT, date="2019-10-27T02:30:00")  # comes twice in Berlin: the later, so that nothing is early
    del old["date_unixtime"]
    with pytest.raises(LakeError, match=r"message 1 of Gems has its local time alone.*--zone"):
        ingested(lake, tmp_path, chat(old))
    ingested(lake, tmp_path, chat(old), zone="Europe/Berlin")
    assert lake.calls()["called_at"].to_list() == [datetime(2019, 10, 27, 1, 30, tzinfo=UTC)]
    with pytest.raises(LabError, match="'Mars' is no time zone"):
        Reading.of(None, None, zone="Mars")


def test_what_was_skipped_is_listed_on_request(lake, tmp_path):
    ingested(lake, tmp_path, chat(message(1, "gm\x1b"), message(2, MINT)), skipped=tmp_path / "skipped.jsonl")
    (line,) = (tmp_path / "skipped.jsonl").read_text().splitlines()
    assert json.loads(line) == {
        "chat": "Gems", "chatId": "123", "messageId": 1, "date": "2025-01-01T02:00:00", "reason": "no token address",
        "text": "gm\x1b",
    }  # fmt: skip


def test_patterns_of_ones_own_come_before_those_that_ship(lake, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "mostTokens: 1\ncaller: [from]\nnotTokens: [" + OTHER + "]\n"
        "targets:\n  - {pattern: 'Ziel\\s*(?P<prices>{numbers})'}\n"
        "links:\n  - {pattern: 'my\\.site/(?P<token>{solana})', chain: solana}\n"
    )
    patterns = read_patterns(path)
    reader = MessageReader(patterns)
    assert reader.plan("Ziel 2 / 3")[0].targets == [2, 3]
    assert reader.plan("TP: 2")[0].targets == [2]
    assert reader.tokens(f"{OTHER} https://my.site/{MINT}", []) == [Token(MINT, "solana")]
    assert reader.tokens(f"{MINT} {POOL}", []) == Skipped.LIST
    ingested(lake, tmp_path, chat(message(1, MINT, author="Ann")), patterns=patterns)
    assert lake.calls()["caller"].to_list() == ["Marta"]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("targets: [{pattern: '('}]", r"targets\[0\]\.pattern.*no regular expression"),
        ("mostTokens: 0", "mostTokens"),
        ("targts: []", "targts: unknown field"),
        ("zone: Mars", "zone: .*'Mars' is no time zone"),
        ("- a", "must be a mapping"),
        ("a: [", "is not YAML"),
    ],
)
def test_wrong_patterns_are_named_by_their_path(tmp_path, text, wrong):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(LabError, match=wrong):
        read_patterns(path)


@settings(deadline=None)
@given(st.binary(min_size=32, max_size=32))
def test_every_account_is_an_address(raw):
    alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
    number, text = int.from_bytes(raw), ""
    while number:
        number, digit = divmod(number, 58)
        text = alphabet[digit] + text
    text = "1" * (len(raw) - len(raw.lstrip(b"\0"))) + text
    assert is_address(text)
    assert not is_address(text + "22")


@settings(deadline=None)
@given(st.text(max_size=300), st.lists(st.text(max_size=60), max_size=3))
def test_no_text_is_too_strange_to_be_read(text, links):
    READER.tokens(text, links)
    READER.plan(text)


@settings(deadline=None)
@given(st.decimals(min_value="1e-12", max_value="1e12", allow_nan=False, places=12).filter(lambda one: one > 0))
def test_a_price_is_read_as_it_is_written(price):
    assert number_of(f"{price:f}").value == float(price)
    plan, _ = READER.plan(f"Entry: {price:f}\nTP1: {price * 2:f}")
    assert (plan.entry_price, plan.targets) == (float(price), [float(price * 2)])


MEASURED = """
import resource, sys
from pathlib import Path
from lab_pipeline.lake.chats import ChatExport, Reading
export = ChatExport(Path(sys.argv[1]), "x", Reading())
print(sum(1 for _ in export.calls()), export.messages, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_an_export(tmp_path):
    """They reach gigabytes: one of twenty times the messages takes as much."""
    peaks = {}
    for count in (2_000, 40_000):
        path = tmp_path / f"{count}.json"
        with path.open("w") as file:
            file.write('{"name": "x", "type": "public_channel", "id": 1, "messages": [')
            for number in range(count):
                text = MINT if number % 1000 == 0 else "gm " * 300
                file.write(("," if number else "") + json.dumps(message(number, text)))
            file.write("]}")
        ended = subprocess.run([sys.executable, "-c", MEASURED, path], capture_output=True, text=True, check=True)
        calls, messages, peaks[count] = map(int, ended.stdout.split())
        assert (calls, messages) == (count // 1000, count)
    assert path.stat().st_size > 35_000_000
    assert peaks[40_000] < peaks[2_000] + 15, "megabytes"
