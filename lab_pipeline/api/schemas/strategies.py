"""Strategies over HTTP."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field, JsonValue

from lab_pipeline.api.schemas.base import Answer, Moment, Problem
from lab_pipeline.domain.model import Document
from lab_pipeline.domain.strategy import Description, Name, Strategy, StrategyConfig, Tags
from lab_pipeline.runs.strategies import StoredStrategy

EXAMPLE_CONFIG: dict[str, JsonValue] = {
    "exit": {"targets": [{"multiple": 2.0, "fraction": 0.5}], "stopLoss": 0.3},
    "costs": {"feeBps": 30},
}


class NewStrategy(Document):
    """A strategy to store: as a new version, if its configuration is new."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"id": "half-at-two", "name": "Half at 2x", "config": EXAMPLE_CONFIG}]}
    )

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
    """Letters, digits, `-` and `_`; the name under which runs refer to it."""
    name: Name = ""
    """What people call it."""
    description: Description = ""
    """What it does, in a sentence."""
    tags: Annotated[Tags, Field(strict=False)] = ()
    """Words to find it by."""
    config: StrategyConfig
    """Everything that decides the trades; it never changes once stored."""

    def strategy(self) -> Strategy:
        """Return the strategy as the lab keeps it."""
        words = {"id": self.id, "name": self.name, "description": self.description, "tags": list(self.tags)}
        return Strategy.parse({**self.config.to_json_dict(), **words})


class StrategyChange(Document):
    """What to change about a strategy; what is left out or null stays as it is."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"description": "Half at 2x, rest on a stop."}]})

    name: Name | None = None
    """What people call it."""
    description: Description | None = None
    """What it does, in a sentence."""
    tags: Annotated[Tags | None, Field(strict=False)] = None
    """Words to find it by; they replace those there are."""
    is_active: bool | None = None
    """Whether it is in use."""


class ConfigToCheck(Document):
    """A configuration to check; nothing is stored."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"config": {"exit": {"stopLoss": 1.5}}}]})

    config: Annotated[dict[str, JsonValue], Field(max_length=100)]
    """A strategy's configuration, right or wrong."""


class Checked(Answer):
    """What is wrong with a configuration."""

    valid: bool
    """Whether it could be stored."""
    errors: list[Problem]
    """Every field that is wrong, by its path in the configuration; empty if it is valid."""


class StrategyVersion(Answer):
    """One version of a strategy."""

    version: str
    """A counter: `1`, `2`, ..."""
    config_hash: str
    """sha256 (hex) of the configuration as canonical JSON."""
    created_at: Moment
    """When it was stored, UTC."""


class StrategyAnswer(StrategyVersion):
    """A strategy in one of its versions."""

    id: str
    """The name under which runs refer to it."""
    name: str
    """What people call it."""
    description: str
    """What it does."""
    tags: list[str]
    """Words to find it by."""
    is_active: bool
    """Whether it is in use; a mark for people and schedules, an inactive one still runs when asked for."""
    config: StrategyConfig
    """Everything that decides the trades."""

    @classmethod
    def fields(cls, stored: StoredStrategy) -> dict[str, Any]:
        """Return what an answer says of a version."""
        strategy = stored.strategy
        return {
            "id": strategy.id,
            "version": stored.version,
            "name": strategy.name,
            "description": strategy.description,
            "tags": list(strategy.tags),
            "is_active": stored.is_active,
            "config": strategy.config,
            "config_hash": stored.config_hash,
            "created_at": stored.created_at,
        }


class StrategyDetail(StrategyAnswer):
    """A strategy in one of its versions, and which others there are."""

    versions: list[StrategyVersion]
    """Every version, oldest first."""


class StrategyPage(Answer):
    """Strategies in their latest versions, in the order of their ids."""

    strategies: list[StrategyAnswer]
    """The strategies of this page."""
    next_cursor: str | None
    """Leads to the next page; null on the last."""
