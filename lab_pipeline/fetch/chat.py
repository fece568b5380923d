"""New messages of a chat, in the form in which Telegram Desktop exports them: they are read as any export is.

Messages that were delivered may be edited. So those of the latest while are read again with what is new, and are
delivered once more if they differ.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, Self

from lab_pipeline.domain.text import shown
from lab_pipeline.fetch.errors import FetchError
from lab_pipeline.settings import PREFIX, Settings

LONGEST_SECONDS = 45.0
"""For one look at a chat: Dagster gives a sensor a minute."""
NEEDED = ("telegram_api_id", "telegram_api_hash", "telegram_session")
DIGEST = 12
"""Hexadecimal digits that tell what a message said."""
PEERS = {"user_id": "user", "channel_id": "channel", "chat_id": "chat"}
"""How an export begins the id of a peer, by where Telegram keeps it."""


class Client(Protocol):
    """What is asked of Telegram: a part of Telethon's client."""

    async def connect(self) -> None:
        """Connect with the session."""

    async def disconnect(self) -> None:
        """Let go of the connection."""

    async def is_user_authorized(self) -> bool:
        """Return whether the session is still somebody's."""

    async def get_dialogs(self) -> Any:  # noqa: ANN401 - Telethon's, as below
        """Load the chats of the user: a chat is found by its number only after that."""

    async def get_entity(self, entity: str | int) -> Any:  # noqa: ANN401
        """Return a chat by its name, link or number."""

    def iter_messages(self, entity: Any, **which: Any) -> AsyncIterator[Any]:  # noqa: ANN401
        """Iterate over messages of a chat."""


class WaitError(FetchError):
    """Telegram wants not to be asked for a while.

    Attributes:
        seconds: for how long.
    """

    may_pass = True

    def __init__(self, seconds: float) -> None:
        super().__init__(f"telegram asks to come back in {seconds:,.0f} seconds")
        self.seconds = seconds


@dataclass(frozen=True)
class Place:
    """How far a chat has been heard.

    Attributes:
        last: id of the last message that was delivered; 0 before the first.
        again: id of the first message that may still be edited.
        known: from there on, what was delivered of messages that had been edited: a digest, by id.
    """

    last: int = 0
    again: int = 0
    known: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str | None) -> Self:
        """Read what `written` wrote; anything else is the beginning."""
        try:
            found = json.loads(text or "{}")
            place = cls(int(found["last"]), int(found["again"]), {str(k): str(v) for k, v in found["known"].items()})
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return cls()
        return place if place.again >= 0 and place.last >= 0 else cls()

    def written(self) -> str:
        """Return the place as text."""
        return json.dumps(vars(self))


@dataclass(frozen=True)
class Heard:
    """What a look at a chat has found.

    Attributes:
        export: name, type and id of the chat, and the messages to deliver, as an export has them.
        edited: how many of them were delivered before, and edited since.
        place: from where to go on once they are delivered.
    """

    export: dict[str, Any]
    edited: int
    place: Place

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages to deliver."""
        found: list[dict[str, Any]] = self.export["messages"]
        return found


def telethon_client(settings: Settings) -> Client:
    """Make a client of the user whose session the settings hold.

    Raises:
        FetchError: if a setting or the library is missing, or the session is none.
    """
    if missing := [PREFIX + name.upper() for name in NEEDED if getattr(settings, name) is None]:
        raise FetchError(f"a chat's new messages need {', '.join(missing)}")
    try:
        from telethon import TelegramClient  # type: ignore[import-not-found, import-untyped, unused-ignore]  # noqa: PLC0415 - an extra
        from telethon.sessions import StringSession  # type: ignore[import-not-found, import-untyped, unused-ignore]  # noqa: PLC0415
    except ModuleNotFoundError:
        raise FetchError("a chat's new messages need the library: pip install 'lab-pipeline[telegram]'") from None
    _, api_hash, session = (getattr(settings, name) for name in NEEDED)
    try:
        known = StringSession(session.get_secret_value())
    except Exception:  # noqa: BLE001 - whatever it raises for what is no session
        raise FetchError(f"{PREFIX}TELEGRAM_SESSION is no session string of Telethon: make one") from None
    client: Client = TelegramClient(
        known,
        settings.telegram_api_id,
        api_hash.get_secret_value(),
        flood_sleep_threshold=0,
        receive_updates=False,
        connection_retries=1,
        request_retries=1,
    )
    return client


def listen(
    make: Callable[[], Client], chat: str, place: Place, *, start: datetime, may_change: timedelta, most: int
) -> Heard:
    """Return what is new in a chat, and what was edited of late.

    Args:
        make: makes the client, which is closed again.
        chat: name, link or number.
        place: how far it has been heard.
        start: of the earliest message, UTC.
        may_change: for so long after it was sent a message is looked at again.
        most: new messages, the oldest first; the rest comes with the next look.

    Raises:
        FetchError: if Telegram does not answer, the session is refused or there is no such chat.
    """

    async def limited() -> Heard:
        client = make()
        async with asyncio.timeout(LONGEST_SECONDS):
            try:
                await client.connect()
                return await _listen(client, chat, place, start=start, fixed=datetime.now(UTC) - may_change, most=most)
            finally:
                await client.disconnect()

    try:
        return asyncio.run(limited())
    except TimeoutError:
        raise FetchError(f"telegram does not answer within {LONGEST_SECONDS:.0f} seconds") from None
    except OSError as error:
        raise FetchError(f"telegram cannot be reached: {error}") from None
    except FetchError:
        raise
    except Exception as error:
        if (seconds := getattr(error, "seconds", None)) is not None:  # Telethon's errors of too many requests
            raise WaitError(float(seconds)) from None
        if type(error).__module__.startswith("telethon."):
            raise FetchError(f"telegram refuses: {shown(str(error))}") from None
        raise


async def _listen(client: Client, chat: str, place: Place, *, start: datetime, fixed: datetime, most: int) -> Heard:
    if not await client.is_user_authorized():
        raise FetchError(f"telegram does not know the session in {PREFIX}TELEGRAM_SESSION any more: make another")
    number = chat.removeprefix("-").isdecimal()
    if number:
        await client.get_dialogs()
    try:
        entity = await client.get_entity(int(chat) if number else chat)
    except ValueError as error:  # Telethon's, for what it does not find
        raise FetchError(f"telegram finds no chat {shown(chat)}: {shown(str(error))}") from None
    where = {"min_id": min(place.again - 1, place.last)} if place.last else {"offset_date": start}
    found, again, known = [], 0, {}
    last, new = place.last, 0
    async for message in client.iter_messages(entity, reverse=True, **where):
        if message.date < start:
            continue
        is_new = message.id > place.last
        if is_new and new == most:
            break
        said = exported(message)
        digest = hashlib.sha256(json.dumps(said).encode()).hexdigest()[:DIGEST]
        is_edited = "edited_unixtime" in said
        if is_new or (is_edited and place.known.get(str(message.id)) != digest):
            found.append(said)
        new, last = new + is_new, max(last, message.id)
        if message.date >= fixed:
            again = again or message.id
            if is_edited:
                known[str(message.id)] = digest
    export = {"name": name_of(entity), "type": type_of(entity), "id": entity.id, "messages": found}
    return Heard(export, edited=len(found) - new, place=Place(last, again or last + 1, known))


def exported(message: Any) -> dict[str, Any]:  # noqa: ANN401 - one of Telethon's
    """Return a message as an export has it."""
    said: dict[str, Any] = {
        "id": message.id,
        "type": "service" if message.action is not None else "message",
        "date": f"{message.date:%Y-%m-%dT%H:%M:%S}",
        "date_unixtime": str(int(message.date.timestamp())),
        "from": name_of(message.sender) or None,
        "from_id": id_of(message.from_id or message.peer_id),
        "text": message.message or "",
        "text_entities": [
            {"type": "text_link", "text": text, "href": entity.url}
            for entity, text in (message.get_entities_text() if message.entities else ())
            if getattr(entity, "url", None)
        ],
    }
    if message.edit_date is not None and not message.edit_hide:  # hidden: its reactions changed, or its buttons
        said["edited_unixtime"] = str(int(message.edit_date.timestamp()))
    if message.post_author:
        said["author"] = message.post_author
    if (origin := message.forward) is not None:
        said["forwarded_from"] = origin.from_name or name_of(origin.chat or origin.sender) or None
        said["forwarded_from_id"] = id_of(origin.from_id)
    return said


def name_of(entity: Any) -> str:  # noqa: ANN401 - one of Telethon's, or none
    """Return what somebody or some chat is called; empty if that is not known."""
    title = getattr(entity, "title", None)
    return title or " ".join(filter(None, (getattr(entity, part, None) for part in ("first_name", "last_name"))))


def id_of(peer: Any) -> str | None:  # noqa: ANN401 - one of Telethon's, or none
    """Return the id of a peer as an export writes it; null if there is none."""
    found = [f"{kind}{number}" for name, kind in PEERS.items() if (number := getattr(peer, name, None)) is not None]
    return found[0] if found else None


def type_of(entity: Any) -> str:  # noqa: ANN401 - one of Telethon's
    """Return what an export calls a chat."""
    if hasattr(entity, "broadcast"):
        reach = "public" if entity.username else "private"
        return f"{reach}_channel" if entity.broadcast else f"{reach}_supergroup"
    if hasattr(entity, "title"):
        return "private_group"
    return "bot_chat" if getattr(entity, "bot", False) else "personal_chat"
