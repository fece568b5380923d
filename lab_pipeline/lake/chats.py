"""From messages of a chat to calls: which tokens one names, who says it, and what plan goes with it.

A message becomes a call or is counted under the reason why it does not.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, TextIO
from zoneinfo import ZoneInfo

from lab_pipeline.domain.candles import LARGEST, SMALLEST_PRICE
from lab_pipeline.domain.identifiers import LONGEST_IDENTIFIER
from lab_pipeline.domain.options import LONGEST_TEXT
from lab_pipeline.lake.chat_patterns import EVM, NUMBER, SOLANA, Pattern, Patterns, compiled, not_a_zone, read_patterns
from lab_pipeline.lake.errors import LakeError
from lab_pipeline.lake.people import ABot, Directory, People, read_people
from lab_pipeline.lake.telegram import Chat, messages

ALPHABET = {sign: value for value, sign in enumerate("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz")}
SOLANA_BYTES = 32
EXCERPT = 200
"""Characters of a message that is listed as skipped."""
LONGEST_MESSAGE = 5_000
"""Characters of a message that are looked at; Telegram allows 4,096."""
MS_PER_SECOND = 1_000
MS_PER_MINUTE = 60_000
KINDS = ("token", "either", "pool")
"""Groups of the patterns of links: what the address is."""
URL = re.compile(r"(?:https?://|www\.)\S+|(?<![a-z0-9.-])(?:[a-z0-9-]+\.)+[a-z]{2,}/\S+", re.IGNORECASE)
ONE_NUMBER = re.compile(NUMBER, re.IGNORECASE)
COUNTED_ZEROS = re.compile(r"^0\.0(?:([₀-₉]+)|\{(\d+)\})(\d+)")
SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
UNITS = {"k": 1e3, "m": 1e6, "b": 1e9}
ADDRESS = re.compile(f"{SOLANA}|{EVM}")


class Skipped(StrEnum):
    """Why a message is no call."""

    SERVICE = "service message"
    OTHER_CHAT = "chat of another type"
    NO_TEXT = "no text"
    NO_TOKEN = "no token address"  # noqa: S105 - it is none
    NOT_A_TOKEN = "only addresses that are no tokens"  # noqa: S105 - nor this
    POOL = "names a pool, not a token"
    LIST = "names too many tokens"
    BOT = "a bot"
    NO_CALLER = "nobody said it"
    NO_TIME = "no time"


@dataclass(frozen=True)
class Reading:
    """How calls are read.

    Attributes:
        patterns: what is a call in a message; by default those that ship.
        people: who is who.
        caller: who calls, in files that do not say.
        zone: of messages with their local time alone; by default that of the patterns.
        skipped: file that gets every skipped message as a line of JSON.
    """

    patterns: Patterns = field(default_factory=read_patterns)
    people: People = field(default_factory=People)
    caller: str | None = None
    zone: str | None = None
    skipped: Path | None = None

    @classmethod
    def of(cls, patterns: Path | None, people: Path | None, **more: Any) -> "Reading":  # noqa: ANN401 - fields of it
        """Read the files of a lab, where they are.

        Raises:
                LabError: if one cannot be used.
        """
        if (zone := more.get("zone")) is not None and (wrong := not_a_zone(zone)):
            raise LakeError(wrong)
        return cls(
            read_patterns(patterns if patterns is not None and patterns.exists() else None),
            read_people(people) if people is not None and people.exists() else People(),
            **more,
        )


@dataclass(frozen=True)
class Plan:
    """What a message says beside the token; prices in quote currency."""

    direction: str | None = None
    entry_price: float | None = None
    targets: list[float] | None = None
    stop_price: float | None = None
    price_at_call: float | None = None
    market_cap_at_call: float | None = None
    liquidity_at_call: float | None = None


class ChatExport:
    """The calls of an export.

    Attributes:
        skipped: messages that are no calls, by the reason; complete when `calls` has come to its end.
        remarks: what else is to be said, by how often; likewise.
        messages: messages in all.
    """

    def __init__(self, path: Path, name: str, reading: Reading) -> None:
        self._path, self._name, self._reading = path, name, reading
        self._reader = MessageReader(reading.patterns)
        self._people = Directory(reading.people)
        zone = reading.zone or reading.patterns.zone
        self._zone = None if zone is None else ZoneInfo(zone)
        self.skipped: Counter[Skipped] = Counter()
        self.remarks: Counter[str] = Counter()
        self.messages = 0

    def calls(self) -> Iterator[dict[str, Any]]:
        """Yield calls in the order of the file: the lake's columns, times in milliseconds UTC.

        Raises:
            LakeError: if the file is broken or its times cannot be known.
        """
        self.skipped.clear()
        self.remarks.clear()
        self.messages = 0
        if self._reading.skipped is None:
            yield from self._calls(None)
            return
        try:
            listing = self._reading.skipped.open("w", encoding="utf-8")
        except OSError as error:
            raise LakeError(f"{self._reading.skipped} cannot be written: {error.strerror}") from None
        with listing:
            yield from self._calls(listing)

    def _calls(self, listing: TextIO | None) -> Iterator[dict[str, Any]]:
        for chat, message in messages(self._path, self._name):
            self.messages += 1
            found = self._read(chat, message)
            if isinstance(found, Skipped):
                self.skipped[found] += 1
                if listing is not None:
                    listing.write(_listed(chat, message, found))
            else:
                yield from found

    def _read(self, chat: Chat, message: dict[str, Any]) -> list[dict[str, Any]] | Skipped:
        if not chat.alone and chat.type not in self._reading.patterns.chat_types:
            return Skipped.OTHER_CHAT
        if message.get("type") != "message":
            return Skipped.SERVICE
        text, links = text_of(message)
        if not text.strip() and not links:
            return Skipped.NO_TEXT
        tokens = self._reader.tokens(text, links)
        if isinstance(tokens, Skipped):
            return tokens
        try:
            caller = self._caller(message)
        except ABot:
            return Skipped.BOT
        if caller is None:
            return Skipped.NO_CALLER
        called_at = self._moment(chat, message, "date")
        if called_at is None:
            return Skipped.NO_TIME
        edited_at = self._moment(chat, message, "edited")
        plan = self._plan(text, tokens, called_at, edited_at)
        number = str(message.get("id", ""))
        if any(token.may_be_pool for token in tokens):
            self.remarks["calls name what a link gives, which may be a pool and not a token"] += 1
        return [
            {
                "call_id": f"{chat.id}/{number}/{token.address}"[:LONGEST_IDENTIFIER],
                "caller": caller,
                "mint": token.address,
                "called_at": called_at,
                **vars(plan),
                "chain": token.chain,
                "source_url": chat.link(number),
                "message_id": number,
                "edited_at": edited_at,
            }
            for token in tokens
        ]

    def _caller(self, message: dict[str, Any]) -> str | None:
        for source in self._reading.patterns.caller:
            name, identity = message.get(source), message.get(f"{source}_id")
            found = self._people.caller(
                name if isinstance(name, str) else None, None if identity is None else str(identity)
            )
            if found is not None:
                return found
        return None

    def _moment(self, chat: Chat, message: dict[str, Any], name: str) -> int | None:
        """Return a time in milliseconds UTC; of a local time that comes twice the later, so that nothing is early."""
        seconds = message.get(f"{name}_unixtime")
        if seconds is not None:
            return int(seconds) * MS_PER_SECOND if str(seconds).isdecimal() else None
        local = message.get(name)
        if not isinstance(local, str):
            return None
        try:
            moment = datetime.fromisoformat(local)
        except ValueError:
            return None
        if moment.tzinfo is None:
            if self._zone is None:
                raise LakeError(
                    f"{self._name}: message {message.get('id')} of {chat.name or chat.id} has its local time alone, as "
                    "in exports before 2021: say the zone with --zone, such as Europe/Berlin"
                )
            moment = moment.replace(tzinfo=self._zone, fold=1)
        return int(moment.astimezone(UTC).timestamp()) * MS_PER_SECOND

    def _plan(self, text: str, tokens: "Sequence[Token]", called_at: int, edited_at: int | None) -> Plan:
        plan, said = self._reader.plan(text)
        direction = Plan(direction=plan.direction)
        if plan == direction and not said:
            return plan
        if len(tokens) > 1:
            self.remarks["messages name several tokens: their levels are left out"] += 1
            return direction
        if (
            edited_at is not None
            and edited_at - called_at > self._reading.patterns.edited_after_minutes * MS_PER_MINUTE
        ):
            self.remarks["messages were changed later: their levels are left out"] += 1
            return direction
        self.remarks.update(said)
        return plan


@dataclass(frozen=True)
class Token:
    """A token that a message names.

    Attributes:
        address: as it was written.
        chain: its network, or null.
        may_be_pool: whether it comes from a link that may name a pool.
    """

    address: str
    chain: str | None = None
    may_be_pool: bool = False


class _Found:
    """The addresses of a message.

    Attributes:
        by_kind: of each of `KINDS` the tokens, by what equal addresses share.
        ignored: whether one was left out because it is no token.
    """

    def __init__(self, not_tokens: set[str]) -> None:
        self._not_tokens = not_tokens
        self.by_kind: dict[str, dict[str, Token]] = {kind: {} for kind in KINDS}
        self.ignored = False

    def note(self, kind: str, address: str, chain: str | None) -> None:
        """Take an address, if it is one; of several notations the one with the case of its checksum is kept."""
        if not is_address(address):
            return
        key = folded(address)
        if key in self._not_tokens:
            self.ignored = True
            return
        known = self.by_kind[kind].get(key)
        if known is not None and known.address != key:
            address = known.address
        chain = chain or (known.chain if known else None)
        self.by_kind[kind][key] = Token(address, chain, may_be_pool=kind == "either")


class MessageReader:
    """Patterns, compiled, that are held against texts."""

    def __init__(self, patterns: Patterns) -> None:
        self._patterns = patterns
        self._addresses = _compiled(patterns.addresses)
        self._links = _compiled(patterns.links)
        self._levels = {
            name: _compiled(getattr(patterns, name))
            for name in ("entry", "targets", "stop", "price", "market_cap", "liquidity")
        }
        self._words = {name: _compiled(getattr(patterns, name)) for name in ("long", "short")}
        self._not_tokens = {folded(address) for address in patterns.not_tokens}

    def tokens(self, text: str, links: Sequence[str]) -> list[Token] | Skipped:
        """Return the tokens of a message, in the order in which they come, or why there are none to take."""
        if not ADDRESS.search(text) and not any(ADDRESS.search(link) for link in links):
            return Skipped.NO_TOKEN
        found = _Found(self._not_tokens)
        for pattern, regex in self._addresses:
            for match in regex.finditer(URL.sub(" ", text)):
                found.note("token", match["token"], pattern.chain)
        for link in (*URL.findall(text), *links):
            for kind, address, chain in self._named_by(link):
                found.note(kind, address, chain)
        taken = list((found.by_kind["token"] or found.by_kind["either"]).values())
        if not taken:
            said = Skipped.NOT_A_TOKEN if found.ignored else Skipped.NO_TOKEN
            return Skipped.POOL if found.by_kind["pool"] else said
        return taken if len(taken) <= self._patterns.most_tokens else Skipped.LIST

    def _named_by(self, link: str) -> Iterator[tuple[str, str, str | None]]:
        """Yield what a link names, as the first pattern that is found in it says: kind, address and network."""
        for pattern, regex in self._links:
            if (match := regex.search(link)) is not None:
                groups = match.groupdict()
                for kind in KINDS:
                    if groups.get(kind):
                        yield kind, groups[kind], self._chain(groups.get("chain")) or pattern.chain
                return

    def plan(self, text: str) -> tuple[Plan, list[str]]:
        """Return the plan of a message, and what of it could not be taken."""
        text = ADDRESS.sub(" ", URL.sub(" ", text))
        said: list[str] = []
        numbers = {name: self._numbers(name, text) for name in self._levels}
        is_short = any(regex.search(text) for _, regex in self._words["short"])
        is_long = not is_short and any(regex.search(text) for _, regex in self._words["long"])
        entries = [one.value for one in numbers["entry"] if one.unit == ""]
        stop = numbers["stop"][0] if numbers["stop"] else None
        targets = numbers["targets"]
        plain_targets = [one.value for one in targets if one.unit == ""]
        base = max(entries, default=None)
        falls = base is not None and bool(plain_targets) and max(plain_targets) < base
        if stop is not None and stop.unit == "":
            falls |= stop.value > max([*([] if base is None else [base]), *plain_targets], default=stop.value)
        if is_short or (falls and not is_long):
            is_short, base = True, min(entries, default=None)
        prices = [_price(one, base, falls=is_short) for one in targets]
        stop_price = None if stop is None else _price(stop, base, falls=is_short, against=True)
        unread = [one for one in numbers["entry"] if one.unit] or None in prices or (stop and stop_price is None)
        if unread:
            said.append("messages have levels that are no prices (market caps, multiples without an entry): left out")
        taken = [one for one in prices if one is not None]
        plan = Plan(
            direction="short" if is_short else "long" if is_long else None,
            entry_price=base,
            targets=taken or None,
            stop_price=stop_price,
            price_at_call=next((one.value for one in numbers["price"] if one.unit == ""), None),
            market_cap_at_call=next((one.amount for one in numbers["market_cap"] if one.unit not in {"x", "%"}), None),
            liquidity_at_call=next((one.amount for one in numbers["liquidity"] if one.unit not in {"x", "%"}), None),
        )
        if _contradicts(plan):
            said.append("messages have levels that contradict each other: left out")
            plan = replace(plan, entry_price=None, targets=None, stop_price=None)
        return plan, said

    def _chain(self, name: str | None) -> str | None:
        return None if name is None else self._patterns.chains.get(name.lower(), name.lower())

    def _numbers(self, level: str, text: str) -> "list[Number]":
        """Return the numbers of one kind of level; what a pattern took is not seen by the next."""
        found: list[tuple[int, list[Number]]] = []
        for pattern, regex in self._levels[level]:
            item = None if pattern.item is None else compiled(pattern.item)
            for match in regex.finditer(text):
                said = match["prices"]
                parts = [said] if item is None else [one["prices"] for one in item.finditer(said)]
                numbers = [number_of(one[0]) for part in parts for one in ONE_NUMBER.finditer(part)]
                found.append((match.start(), [one for one in numbers if one is not None]))
            text = regex.sub(lambda taken: " " * len(taken[0]), text)
        return [number for _, numbers in sorted(found, key=lambda one: one[0]) for number in numbers]


@dataclass(frozen=True)
class Number:
    """A number with what stands behind it: nothing, `k`, `m`, `b`, `x` or `%`."""

    value: float
    unit: str

    @property
    def amount(self) -> float:
        """What a number of money is, its unit counted in."""
        return self.value * UNITS.get(self.unit, 1.0)


def number_of(text: str) -> Number | None:
    """Read a number as `chat_patterns.NUMBER` finds it; null if no price or amount can be so large or small.

    >>> number_of("$1,234.5"), number_of("0.0₅12"), number_of("1.5k")
    (Number(value=1234.5, unit=''), Number(value=1.2e-06, unit=''), Number(value=1.5, unit='k'))
    """
    bare = "".join(text.lower().split()).removeprefix("$").replace(",", "")
    unit = bare[-1] if bare[-1] in "kmbx%" else ""
    digits = bare.removesuffix(unit)
    if counted := COUNTED_ZEROS.match(digits):
        zeros = int(counted[1].translate(SUBSCRIPTS) if counted[1] else counted[2])
        if zeros > -int(f"{SMALLEST_PRICE:e}".partition("e")[2]):
            return None
        digits = f"0.{'0' * zeros}{counted[3]}"
    value = float(digits)
    return Number(value, unit) if SMALLEST_PRICE <= value <= LARGEST else None


def text_of(message: dict[str, Any]) -> tuple[str, list[str]]:
    """Return what a message shows, and the targets of links that it does not show."""
    parts = message.get("text")
    shown = parts if isinstance(parts, list) else [parts]
    text = "".join(_text_of_part(part) for part in shown)
    entities = message.get("text_entities")
    if not text and isinstance(entities, list):
        text = "".join(_text_of_part(part) for part in entities)
    parts_with_links = [*shown, *(entities if isinstance(entities, list) else [])]
    links = [part["href"] for part in parts_with_links if isinstance(part, dict) and isinstance(part.get("href"), str)]
    return text[:LONGEST_MESSAGE], list(dict.fromkeys(link[:LONGEST_TEXT] for link in links))


def is_address(text: str) -> bool:
    """Return whether a text is the address of an account: base58 of 32 bytes, or 0x and 40 hexadecimal digits.

    >>> is_address("So11111111111111111111111111111111111111112"), is_address("So1111")
    (True, False)
    """
    if re.fullmatch(EVM, text):
        return True
    if not re.fullmatch(SOLANA, text):
        return False
    number = 0
    for sign in text:
        number = number * len(ALPHABET) + ALPHABET[sign]
    zeros = len(text) - len(text.lstrip("1"))
    return zeros + (number.bit_length() + 7) // 8 == SOLANA_BYTES


def folded(address: str) -> str:
    """Return what equal addresses share: hexadecimal ones are written in any case."""
    return address.lower() if address.startswith("0x") else address


def _text_of_part(part: object) -> str:
    if isinstance(part, dict):
        part = part.get("text")
    return part if isinstance(part, str) else ""


def _compiled(patterns: Sequence[Pattern]) -> list[tuple[Pattern, re.Pattern[str]]]:
    return [(pattern, compiled(pattern.pattern)) for pattern in patterns]


def _price(number: Number, base: float | None, *, falls: bool, against: bool = False) -> float | None:
    """Return the price that a level is; null where it counts from an entry that is not said, or is a market cap.

    Args:
        number: the level.
        base: price of the entry.
        falls: whether the plan is one to sell.
        against: whether the level is the stop, which a percentage lies against the plan.
    """
    match number.unit:
        case "":
            return number.value
        case "%" if base is not None:
            part = number.value / 100 * (-1 if falls != against else 1)
            return _usable(base * (1 + part))
        case "x" if base is not None:
            return _usable(base / number.value if falls else base * number.value)
        case _:
            return None


def _usable(price: float) -> float | None:
    return price if SMALLEST_PRICE <= price <= LARGEST else None


def _contradicts(plan: Plan) -> bool:
    """Return whether levels cannot all be meant: a stop beyond entry or targets, as the plan's side has it."""
    sign = -1 if plan.direction == "short" else 1
    stop = None if plan.stop_price is None else plan.stop_price * sign
    entry = None if plan.entry_price is None else plan.entry_price * sign
    targets = [one * sign for one in plan.targets or ()]
    if stop is not None and ((entry is not None and stop >= entry) or (targets and stop >= max(targets))):
        return True
    return bool(entry is not None and targets and max(targets) <= entry)


def _listed(chat: Chat, message: dict[str, Any], reason: Skipped) -> str:
    text, _ = text_of(message)
    said = {
        "chat": chat.name,
        "chatId": chat.id,
        "messageId": message.get("id"),
        "date": message.get("date"),
        "reason": str(reason),
        "text": text[:EXCERPT],
    }
    return json.dumps(said) + "\n"
