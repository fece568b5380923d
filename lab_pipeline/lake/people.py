"""Who is who: one name for every caller, whatever names and ids a caller goes by, and which of them are bots."""

import re
import unicodedata
from pathlib import Path
from typing import Annotated, Any

import yaml  # type: ignore[import-untyped]  # it ships no types
from pydantic import BeforeValidator, Field, model_validator

from lab_pipeline.domain.identifiers import IDENTIFIER_RULE, LONGEST_IDENTIFIER, UNSEEN, is_identifier
from lab_pipeline.domain.model import Document, problem_at
from lab_pipeline.lake.errors import LakeError

MOST_PEOPLE = 100_000
ID_PREFIX = re.compile("^(?:user|channel|chat)(?=[0-9]+$)")
"""Before the number of somebody in a Telegram export."""
LARGEST_FILE = 1 << 24
"""Bytes of a YAML file that is read."""
Known = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if isinstance(value, int) else value),  # ids are written as numbers, too
    Field(min_length=1, max_length=LONGEST_IDENTIFIER),
]
Names = Annotated[tuple[Known, ...], Field(max_length=MOST_PEOPLE)]


class People(Document):
    """An alias file: `callers` maps one name to all others, `bots` names those who only repeat."""

    callers: Annotated[dict[Known, Names], Field(max_length=MOST_PEOPLE)] = Field(default_factory=dict)
    """By the name that a caller is to have, other names and ids of the same one."""
    bots: Names = ()
    """Names and ids whose messages are no calls."""

    @model_validator(mode="after")
    def _is_certain(self) -> "People":
        owners: dict[str, str] = {}
        for name, others in self.callers.items():
            if not is_identifier(name):
                raise problem_at("callers", f"{name!r} {IDENTIFIER_RULE}")
            for other in (name, *others):
                if owners.setdefault(_folded(other), name) != name:
                    raise problem_at(f"callers.{name}", f"{other!r} is a name of {owners[_folded(other)]!r}, too")
        for bot in self.bots:
            if _folded(bot) in owners:
                raise problem_at("bots", f"{bot!r} is a name of the caller {owners[_folded(bot)]!r}, too")
        return self

    def lookup(self) -> dict[str, str | None]:
        """Return the caller of every name and id, in small letters and without an @ before them; null for a bot."""
        found: dict[str, str | None] = {
            _folded(other): name for name, others in self.callers.items() for other in (name, *others)
        }
        return found | {_folded(bot): None for bot in self.bots}


class Directory:
    """Who goes by which name: an alias file as it is asked, a name at a time."""

    def __init__(self, people: People) -> None:
        self._known = people.lookup()

    def __bool__(self) -> bool:
        return bool(self._known)

    def caller(self, name: str | None, identity: str | None) -> str | None:
        """Return the name that somebody in a chat is to have: by the id if that is known, else by the name.

        Args:
            name: as it is shown, or null.
            identity: an id that stays when the name changes, or null.

        Returns:
            A usable name, or null if there is none.

        Raises:
            ABot: if it is a bot.
        """
        found = self._look_up(name, identity)
        return found or (readable_name(name) if name else None) or identity

    def alias(self, name: str | None, identity: str | None) -> str | None:
        """Return the same of somebody in a table, whose name stays as it is if nothing is known of it."""
        return self._look_up(name, identity) or name or identity

    def _look_up(self, name: str | None, identity: str | None) -> str | None:
        for one in (identity, identity and ID_PREFIX.sub("", identity), name):
            if one is not None and _folded(one) in self._known:
                found = self._known[_folded(one)]
                if found is None:
                    raise ABot(one)
                return found
        return None


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # it ships no types
    """A safe loader to which addresses and names are text: YAML would take 0x and digits, or No, for something else."""


_Loader.yaml_implicit_resolvers = {}
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile("^(?:null|~|)$"), ["n", "~", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile("^-?[0-9]{1,15}$"), list("-0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^-?[0-9]{1,15}\.[0-9]+$"), list("-0123456789"))


class ABot(Exception):  # noqa: N818 - a case of its own, which nobody gets to see as an error
    """Somebody is a bot."""


def read_people(path: Path) -> People:
    """Read an alias file.

    Raises:
        LakeError: if it is not one, naming the path of what is wrong in it.
    """
    return People.parse(read_yaml(path), subject=str(path))


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a mapping from a YAML file.

    Raises:
        LakeError: if it cannot be read or is no mapping.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise LakeError(f"{path} is larger than {LARGEST_FILE >> 20} MB")
        found = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - it is a safe one
    except OSError as error:
        raise LakeError(f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise LakeError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise LakeError(f"{path} must be a mapping, such as `callers:` with names below it")
    return found


def readable_name(name: str) -> str | None:
    """Return a shown name as one that may name a caller: without what cannot be seen; null if nothing is left."""
    seen = "".join(
        " " if one.isspace() else one for one in name if one.isspace() or unicodedata.category(one) not in UNSEEN
    )
    short = " ".join(seen.split())[:LONGEST_IDENTIFIER].strip()
    return short if is_identifier(short) else None


def _folded(name: str) -> str:
    return name.strip().removeprefix("@").casefold()
