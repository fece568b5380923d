"""Read what Telegram Desktop exports, one chat or all of them, message by message however large the file is."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import ijson  # type: ignore[import-untyped]  # it ships no types
from ijson.common import ObjectBuilder  # type: ignore[import-untyped]

from lab_pipeline.lake.errors import LakeError

HEAD_BYTES = 1 << 16
CHAT_TYPE = re.compile(
    rb'"type"\s*:\s*"(?:(?:personal|bot)_chat|saved_messages|replies|(?:private|public)_(?:group|supergroup|channel))"'
)
ONE_CHAT = re.compile(rb'"messages"\s*:\s*\[')
ALL_CHATS = re.compile(rb'"(?:chats|left_chats|personal_information)"\s*:\s*\{')
ESCAPE = re.compile(rb"\\(\\|x([0-9a-fA-F]{2}))")
"""What Telegram writes for control characters, which JSON does not know; a backslash that is escaped is passed over."""
ESCAPE_BYTES = len(r"\x0b")
CHANNELS = ("public_channel", "private_channel", "public_supergroup", "private_supergroup")
"""Types of chats whose messages have a link that opens them."""


@dataclass(frozen=True)
class Chat:
    """A chat of an export.

    Attributes:
        id: of the chat, which stays when it is renamed.
        name: as it is shown.
        type: such as ``public_channel``.
        alone: whether the export is of this chat alone.
    """

    id: str
    name: str
    type: str
    alone: bool

    def link(self, message: str) -> str | None:
        """Return the link that opens a message, for who is in the chat."""
        return f"https://t.me/c/{self.id}/{message}" if self.type in CHANNELS and self.id.isdecimal() else None


def is_export(path: Path) -> bool:
    """Return whether a file begins as an export in JSON does."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
        return False
    return bool((ONE_CHAT.search(head) and CHAT_TYPE.search(head)) or ALL_CHATS.search(head))


def messages(path: Path, name: str) -> Iterator[tuple[Chat, dict[str, Any]]]:
    """Yield every message with its chat, in the order of the file; memory holds one message.

    Args:
        path: of the export.
        name: how errors call it.

    Raises:
        LakeError: if it is no JSON, ends too early, or has a chat without its messages' list.
    """
    with path.open("rb") as file:
        events = ijson.basic_parse(_Repaired(file), use_float=True)
        try:
            yield from _walk(events)
        except ijson.IncompleteJSONError as error:
            raise LakeError(f"{name} is a broken or incomplete export: {' '.join(str(error).split())[:200]}") from None
        except ijson.JSONError as error:
            raise LakeError(f"{name} is not JSON: {' '.join(str(error).split())[:200]}") from None


def _walk(events: Iterator[tuple[str, Any]]) -> Iterator[tuple[Chat, dict[str, Any]]]:
    """Follow the events down to the messages; `opened` has the key of every map and array that is open."""
    opened: list[str | None] = []
    key: str | None = None
    facts: dict[str, Any] = {}
    for event, value in events:
        if event == "map_key":
            key = value
            continue
        if event in {"start_map", "start_array"}:
            if event == "start_map" and opened and opened[-1] == "messages" and _is_chat(opened[:-1]):
                yield _chat(facts, alone=len(opened) == len(("root", "messages"))), _message(events)
                continue
            opened.append(key)
            if event == "start_map" and _is_chat(opened):
                facts = {}
        elif event in {"end_map", "end_array"}:
            opened.pop()
        elif key in {"id", "name", "type"} and _is_chat(opened):
            facts[key] = value
        key = None


def _is_chat(opened: list[str | None]) -> bool:
    """Return whether the innermost map is a chat: the whole export, or one of a list."""
    return opened == [None] or (opened[1:] in (["chats", "list", None], ["left_chats", "list", None]))


def _chat(facts: dict[str, Any], *, alone: bool) -> Chat:
    name = facts.get("name")
    return Chat(str(facts.get("id", "")), name if isinstance(name, str) else "", str(facts.get("type", "")), alone)


def _message(events: Iterator[tuple[str, Any]]) -> dict[str, Any]:
    """Build the message whose map has just been opened."""
    builder = ObjectBuilder()
    builder.event("start_map", None)
    depth = 1
    while depth:
        event, value = next(events)
        depth += (event in {"start_map", "start_array"}) - (event in {"end_map", "end_array"})
        builder.event(event, value)
    message: dict[str, Any] = builder.value
    return message


class _Repaired:
    """A file in which escapes that JSON does not know are written as it does."""

    def __init__(self, file: BufferedReader) -> None:
        self._file = file

    def read(self, size: int) -> bytes:
        chunk = self._file.read(size)
        while b"\\" in chunk[-ESCAPE_BYTES:] and (more := self._file.read(1)):  # an escape is not cut in two
            chunk += more
        if b"\\x" not in chunk:
            return chunk
        return ESCAPE.sub(lambda found: found[0] if found[2] is None else b"\\u00" + found[2], chunk)
