"""`ChatSource`: new messages of a chat go into the inbox as an export of them would, and become calls once."""

import json
import re
import sys
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import dagster as dg
import pytest
from pydantic import ValidationError
from telethon.errors import AuthKeyUnregisteredError, FloodWaitError
from telethon.tl import types

from lab_pipeline.components import ChatSource, chat_source
from lab_pipeline.domain.errors import LabError
from lab_pipeline.fetch import FetchError
from lab_pipeline.fetch.chat import Place, telethon_client
from lab_pipeline.lake.chats import Reading
from lab_pipeline.lake.people import People
from lab_pipeline.operations.lab import Lab
from lab_pipeline.settings import Settings, load_settings

MINT = "7GCihgDB8fe6KNjn2MYtkzZcRjQy3t9GHdC8uHYmW2hr"
OTHER = "9n4nbM75f5Ui33ZbPYXn59EwSgE8CGsHtAeTH5YFeJ9E"
GEMS = types.Channel(id=123, title="Gems", photo=None, date=None, broadcast=True, username="gems")
MARTA = types.User(id=7, first_name="Marta", last_name="L")
FIELDS = {"name": "gems", "chat": "@gems", "start": "2025-01-01"}
NOW = datetime.now(UTC).replace(microsecond=0)
CLIENT = SimpleNamespace(_self_id=0, _mb_entity_cache={})
"""As much of a client as a message of Telethon's looks at."""


def message(number, text="", *, minutes=5, edited=None, **more):
    """Return a message of Telethon's, sent some minutes ago; in a channel unless `from_id` says who sent it."""
    made = types.Message(
        id=number,
        peer_id=types.PeerChannel(GEMS.id),
        date=NOW - timedelta(minutes=minutes),
        message=text,
        edit_date=edited,
        post="from_id" not in more,
        **more,
    )
    made._finish_init(CLIENT, {-1000000000123: GEMS, MARTA.id: MARTA}, None)  # noqa: SLF001 - as its client does
    return made


class Recorded:
    """Telegram as it was recorded: a chat, and how it misbehaves.

    Attributes:
        messages: of the chat, by id.
        fault: raised in place of an answer.
        asked: what was asked for.
        known: whether the session is still somebody's.
    """

    def __init__(self):
        self.messages, self.fault, self.asked, self.known, self.closed = [], None, [], True, 0

    async def connect(self):
        self.asked.append("connect")

    async def disconnect(self):
        self.closed += 1

    async def is_user_authorized(self):
        return self.known

    async def get_dialogs(self):
        self.asked.append("dialogs")

    async def get_entity(self, entity):
        if entity in {"@gems", -1000000000123}:
            return GEMS
        raise ValueError(f'No user has "{entity}" as username')

    async def iter_messages(self, entity, *, reverse, min_id=0, offset_date=None):
        assert (entity, reverse) == (GEMS, True)
        self.asked.append(min_id)
        if self.fault is not None:
            raise self.fault
        for one in sorted(self.messages, key=lambda one: one.id):
            if one.id > min_id and (offset_date is None or one.date > offset_date):
                yield one


@pytest.fixture
def telegram(monkeypatch):
    recorded = Recorded()
    monkeypatch.setattr(chat_source, "telethon_client", lambda _: recorded)
    return recorded


class World:
    """A lab and a chat: ticks of its sensor, and what the inbox makes of what they bring."""

    def __init__(self, instance):
        self.instance, self.cursor = instance, None

    def tick(self, **changed):
        (sensor,) = ChatSource(**{**FIELDS, **changed}).build_defs(None).sensors
        with (
            Lab(load_settings(), self.instance) as lab,
            dg.build_sensor_context(self.instance, self.cursor, resources={"lab": lab}) as context,
        ):
            said = sensor.evaluate_tick(context)
        self.cursor = said.cursor or self.cursor
        return said

    def files(self):
        return sorted(load_settings().inbox_dir.glob("*.json"))

    def ingest(self, **reading):
        """Take what is in the inbox, as its job does, and return what came of each file."""
        lake, found = Lab(load_settings(), self.instance).lake, []
        for path in self.files():
            found.append(lake.ingest_calls([path], chats=Reading(**reading)))
            path.unlink()
        return found

    def calls(self):
        return Lab(load_settings(), self.instance).lake.calls()


@pytest.fixture
def world(tmp_path, monkeypatch, telegram):  # noqa: ARG001 - in place of Telegram
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    monkeypatch.setattr(chat_source, "is_tick", lambda _: True)
    with dg.DagsterInstance.ephemeral() as instance:
        yield World(instance)


def test_new_messages_become_calls_and_the_cursor_has_the_last(world, telegram):
    telegram.messages = [message(1, f"{MINT} Entry: 0.5 TP: 1 SL: 0.4"), message(2, "gm")]
    assert world.tick().skip_message.startswith("2 messages, 0 of them edited: in the inbox as gems-1-2-")
    (report,) = world.ingest()
    assert list(report.no_calls.values()) == [{"no token address": 1}]
    assert world.calls().row(0, named=True) == {
        "call_id": f"123/1/{MINT}",
        "caller": "Gems",
        "mint": MINT,
        "called_at": NOW - timedelta(minutes=5),
        "entry_price": 0.5,
        "targets": [1.0],
        "stop_price": 0.4,
        "chain": "solana",
        "source_url": "https://t.me/c/123/1",
        "message_id": "1",
    }
    assert world.tick().skip_message == "nothing new after message 2"
    telegram.messages.append(message(3, OTHER, minutes=0))
    world.tick()
    world.ingest()
    assert world.calls()["mint"].to_list() == [MINT, OTHER]
    assert json.loads(world.cursor.partition("@")[0])["last"] == 3
    assert telegram.closed == telegram.asked.count("connect") == 3


def test_an_export_of_the_chat_changes_nothing(world, telegram, tmp_path):
    telegram.messages = [message(1, MINT)]
    world.tick()
    world.ingest()
    sent = int((NOW - timedelta(minutes=5)).timestamp())
    said = {"id": 1, "type": "message", "date": "2025-01-01T02:00:00", "date_unixtime": str(sent), "from": "Gems"}
    said |= {"from_id": "channel123", "text": [{"type": "code", "text": MINT}], "text_entities": []}
    export = {"name": "Gems", "type": "public_channel", "id": 123, "messages": [said]}
    (tmp_path / "result.json").write_text(json.dumps(export))
    report = Lab(load_settings(), world.instance).lake.ingest_calls([tmp_path / "result.json"], chats=Reading())
    assert (report.added, report.changed, report.unchanged) == (0, 0, 1)


def test_an_edited_message_is_delivered_again_and_updates_the_call(world, telegram):
    telegram.messages = [message(1, f"{MINT} TP: 1"), message(2, OTHER)]
    world.tick()
    world.ingest()
    edited = NOW - timedelta(minutes=4)
    telegram.messages[0] = message(1, f"{MINT} TP: 3", edited=edited)
    assert world.tick().skip_message.startswith("1 messages, 1 of them edited")
    (report,) = world.ingest()
    assert (report.rows, report.changed) == (1, 1)
    (call,) = world.calls().filter(mint=MINT).select("targets", "edited_at").rows()
    assert call == ([3.0], edited)
    assert world.tick().skip_message == "nothing new after message 2"


def test_an_edit_of_before_the_first_look_is_delivered_once(world, telegram):
    telegram.messages = [message(1, MINT, edited=NOW)]
    world.tick()
    assert world.tick().skip_message == "nothing new after message 1"


def test_a_message_that_is_old_enough_is_not_looked_at_again(world, telegram):
    telegram.messages = [message(1, MINT, minutes=300), message(2, OTHER, minutes=5)]
    world.tick()
    world.tick()
    assert telegram.asked[-1] == 1
    world.tick(edited_minutes=1)
    world.tick(edited_minutes=1)
    assert telegram.asked[-1] == 2


def test_what_waits_in_the_inbox_is_not_replaced_by_what_was_edited(world, telegram):
    telegram.messages = [message(1, f"{MINT} TP: 1"), message(2, OTHER), message(3, "gm")]
    world.tick()
    telegram.messages[0] = message(1, f"{MINT} TP: 2", edited=NOW)
    telegram.messages[2] = message(3, "gn", edited=NOW)
    world.tick()
    assert len(world.files()) == 2
    world.ingest()
    assert world.calls()["mint"].sort().to_list() == sorted([MINT, OTHER])


def test_a_tick_that_dies_before_its_cursor_is_kept_doubles_nothing(world, telegram):
    telegram.messages = [message(1, MINT), message(2, OTHER)]
    world.tick()
    world.ingest()
    world.cursor = None
    world.tick()
    (report,) = world.ingest()
    assert (report.added, report.changed, report.unchanged) == (0, 0, 2)
    assert world.calls().height == 2


def test_a_long_history_comes_in_lots_oldest_first(world, telegram):
    telegram.messages = [message(number, MINT, minutes=1000 - number) for number in range(1, 8)]
    lots = []
    for _ in range(4):
        world.tick(messages=3)
        lots += [[one["id"] for one in json.loads(path.read_text())["messages"]] for path in world.files()]
        world.ingest()
    assert lots == [[1, 2, 3], [4, 5, 6], [7]]


def test_nothing_of_before_the_first_day(world, telegram):
    telegram.messages = [message(1, MINT, minutes=3 * 1440), message(2, OTHER)]
    world.tick(start=f"{NOW - timedelta(days=1):%Y-%m-%d}")
    world.ingest()
    assert world.calls()["mint"].to_list() == [OTHER]


def test_sender_forward_author_and_hidden_links_are_those_of_an_export(world, telegram):
    forwarded = types.MessageFwdHeader(date=NOW, from_name="Rick")
    link = types.MessageEntityTextUrl(offset=3, length=5, url=f"https://pump.fun/coin/{MINT}")
    telegram.messages = [
        message(1, MINT, from_id=types.PeerUser(MARTA.id)),
        message(2, OTHER, from_id=types.PeerUser(MARTA.id), fwd_from=forwarded),
        message(3, "😀 chart", post_author="Ann", entities=[link]),
        message(4, edited=NOW, edit_hide=True, action=types.MessageActionPinMessage()),
    ]
    world.tick()
    (path,) = world.files()
    said = json.loads(path.read_text())["messages"]
    assert [(one["from"], one["from_id"]) for one in said[:2]] == [("Marta L", "user7")] * 2
    assert said[1]["forwarded_from"] == "Rick"
    assert said[2]["text_entities"] == [{"type": "text_link", "text": "chart", "href": link.url}]
    assert (said[3]["type"], "edited_unixtime" in said[3]) == ("service", False)
    world.ingest(people=People(callers={"Marta": ("7",)}))
    assert world.calls().sort("message_id").select("message_id", "caller", "mint").rows() == [
        ("1", "Marta", MINT),
        ("2", "Rick", OTHER),
        ("3", "Ann", MINT),
    ]


def test_a_chat_by_its_number_is_looked_for_among_those_of_the_user(world, telegram):
    telegram.messages = [message(1, MINT)]
    world.tick(chat="-1000000000123")
    assert telegram.asked[:2] == ["connect", "dialogs"]
    assert len(world.files()) == 1


def test_telegram_is_left_alone_for_as_long_as_it_asks(world, telegram):
    telegram.fault = FloodWaitError(None, 300)
    assert world.tick().skip_message == "telegram asks to come back in 300 seconds"
    asked = len(telegram.asked)
    assert re.fullmatch(r"telegram asked to come back in (300|299) seconds", world.tick().skip_message)
    assert len(telegram.asked) == asked


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (ConnectionError("no route"), "telegram cannot be reached: no route"),
        (AuthKeyUnregisteredError(None), "telegram refuses: "),
    ],
)
def test_an_error_is_one_sentence_and_nothing_is_delivered(world, telegram, fault, says):
    telegram.fault = fault
    with pytest.raises(FetchError, match=f"^{says}"):
        world.tick()
    assert world.files() == []
    assert telegram.closed == 1


def test_a_session_that_is_over_and_a_chat_that_is_none_are_named(world, telegram):
    with pytest.raises(FetchError, match=r"^telegram finds no chat '@nobody'"):
        world.tick(chat="@nobody")
    telegram.known = False
    with pytest.raises(FetchError, match="does not know the session in LAB_TELEGRAM_SESSION any more"):
        world.tick()


def test_a_test_of_the_sensor_puts_nothing_into_the_inbox(world, telegram, monkeypatch):
    monkeypatch.setattr(chat_source, "is_tick", lambda _: False)
    telegram.messages = [message(1, MINT)]
    assert "a test: nothing was done" in world.tick().skip_message
    assert world.files() == []


@pytest.mark.parametrize("cursor", ["", "foreign", "[" * 50_000, "{}@x", '{"last": -1, "again": 0, "known": {}}@0'])
def test_no_cursor_stops_the_sensor(world, telegram, cursor):
    telegram.messages = [message(1, MINT)]
    world.cursor = cursor
    world.tick()
    assert len(world.files()) == 1


def test_it_is_off_until_it_is_switched_on_and_says_what_it_brought(world, telegram):
    defined = ChatSource(**FIELDS).build_defs(None)
    (sensor,), (asset,) = defined.sensors, defined.assets
    assert (sensor.name, sensor.default_status) == ("source_gems_sensor", dg.DefaultSensorStatus.STOPPED)
    assert asset.key == dg.AssetKey(["source", "gems"])
    assert ChatSource(**FIELDS, running=True).build_defs(None).sensors[0].default_status.value == "RUNNING"
    telegram.messages = [message(1, MINT)]
    (event,) = world.tick().asset_events
    assert {name: one.value for name, one in event.metadata.items()} == {
        "messages": 1,
        "edited": 0,
        "last message": 1,
    }


def test_what_is_missing_is_named(monkeypatch, tmp_path):
    with pytest.raises(LabError, match="need LAB_TELEGRAM_API_ID, LAB_TELEGRAM_API_HASH, LAB_TELEGRAM_SESSION"):
        telethon_client(Settings(home=tmp_path))
    told = Settings(home=tmp_path, telegram_api_id=1, telegram_api_hash="h", telegram_session="no session")
    assert "no session" not in repr(told)
    with pytest.raises(LabError, match="LAB_TELEGRAM_SESSION is no session string"):
        telethon_client(told)
    monkeypatch.setitem(sys.modules, "telethon", None)
    with pytest.raises(LabError, match=r"pip install 'lab-pipeline\[telegram\]'"):
        telethon_client(told)


@pytest.mark.parametrize(
    ("changed", "wrong"), [({"start": "March"}, "Invalid isoformat"), ({"name": "my gems"}, "name")]
)
def test_what_cannot_be_is_named_before_anything_runs(changed, wrong):
    with pytest.raises(ValidationError, match=wrong):
        ChatSource(**{**FIELDS, **changed})


def test_a_place_is_read_as_it_was_written():
    place = Place(7, 5, {"6": "abc"})
    assert Place.parse(place.written()) == place
