"""The new messages of a chat as a sensor: they are put into the inbox as an export of them would be."""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Self

import dagster as dg
from pydantic import BaseModel, Field, model_validator

from lab_pipeline.dagster_ext.ticks import TESTED, is_tick
from lab_pipeline.fetch.chat import DIGEST, Heard, Place, WaitError, listen, telethon_client
from lab_pipeline.files.atomic import write_whole
from lab_pipeline.operations.lab import Lab

GROUP = "source"


class Asked(BaseModel):
    """What `dg scaffold defs` asks for."""

    chat: str = Field(description="Name, link or number of the chat: @gems, https://t.me/gems, -1001234567890.")
    start: str = Field(description="First day of whose messages calls are made: 2025-01-31.")


class Scaffolder(dg.Scaffolder[Asked]):
    """Writes the YAML, named as its directory."""

    @classmethod
    def get_scaffold_params(cls) -> type[Asked]:
        """Return what is asked for."""
        return Asked

    def scaffold(self, request: dg.ScaffoldRequest[Asked]) -> None:
        """Write it."""
        dg.scaffold_component(request, {"name": request.target_path.name, **request.params.model_dump()})


@dg.scaffold_with(Scaffolder)
class ChatSource(dg.Component, dg.Model, dg.Resolvable):
    """The new messages of a Telegram chat, once its sensor is switched on.

    The sensor puts them into the inbox, from where they become calls by the rules for exports; its cursor has the id of
    the last one. Each lot is a materialization of the asset `source/NAME`.
    """

    name: str = Field(description="Of the asset, `source/NAME`; letters, digits and `_`.", pattern=r"^[A-Za-z0-9_]+$")
    chat: str = Field(description="Name, link or number of the chat: `@gems`, `https://t.me/gems`, `-1001234567890`.")
    start: str = Field(description="First day of whose messages calls are made: `2025-01-31`.")
    seconds: int = Field(default=60, ge=5, le=86_400, description="Between two looks at the chat.")
    edited_minutes: float = Field(
        default=60, ge=0, le=1_000_000, description="Minutes for which a message is looked at again after it was sent."
    )
    messages: int = Field(default=1_000, ge=1, le=10_000, description="New messages that one look takes at the most.")
    running: bool = Field(default=False, description="Whether the sensor is on before anybody switches it.")

    @model_validator(mode="after")
    def _begins_some_day(self) -> Self:
        self._begin()
        return self

    def _begin(self) -> datetime:
        return datetime.combine(datetime.fromisoformat(self.start).date(), datetime.min.time(), UTC)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:  # noqa: ARG002 - Dagster's signature
        """Return the asset and the sensor."""
        key = dg.AssetKey([GROUP, self.name])

        @dg.sensor(
            name=f"source_{self.name}_sensor",
            minimum_interval_seconds=self.seconds,
            default_status=dg.DefaultSensorStatus.RUNNING if self.running else dg.DefaultSensorStatus.STOPPED,
            description=f"Puts the new messages of {self.chat} into the inbox, and those that were edited again.",
        )
        def hear(context: dg.SensorEvaluationContext, lab: dg.ResourceParam[Lab]) -> dg.SensorResult:
            place, until = _read(context.cursor)
            if (left := until - datetime.now(UTC).timestamp()) > 0:
                return dg.SensorResult(skip_reason=f"telegram asked to come back in {left:,.0f} seconds")
            try:
                heard = listen(
                    lambda: telethon_client(lab.settings),
                    self.chat,
                    place,
                    start=self._begin(),
                    may_change=timedelta(minutes=self.edited_minutes),
                    most=self.messages,
                )
            except WaitError as error:
                until = datetime.now(UTC).timestamp() + error.seconds
                return dg.SensorResult(skip_reason=str(error), cursor=_written(place, until))
            cursor, count = _written(heard.place), f"{len(heard.messages):,} messages, {heard.edited:,} of them edited"
            if not heard.messages:
                return dg.SensorResult(skip_reason=f"nothing new after message {heard.place.last}", cursor=cursor)
            if not is_tick(context):
                return dg.SensorResult(skip_reason=f"{count}; {TESTED}", cursor=cursor)
            file = _deliver(heard, self.name, lab)
            context.log.info(f"{count}, are in the inbox as {file}")
            counts = {"messages": len(heard.messages), "edited": heard.edited, "last message": heard.place.last}
            metadata = {name: dg.MetadataValue.int(number) for name, number in counts.items()}
            return dg.SensorResult(
                skip_reason=f"{count}: in the inbox as {file}",
                cursor=cursor,
                asset_events=[dg.AssetMaterialization(key, metadata=metadata)],
            )

        asset = dg.AssetSpec(
            key,
            group_name=GROUP,
            kinds={"json"},
            description=f"Messages of {self.chat}, which become calls by way of the inbox.",
        )
        return dg.Definitions(assets=[asset], sensors=[hear])


def _deliver(heard: Heard, name: str, lab: Lab) -> str:
    """Put messages into the inbox, where the file is there as a whole or not at all, and return what it is called."""
    inbox, export = lab.settings.inbox_dir, json.dumps(heard.export).encode()
    inbox.mkdir(parents=True, exist_ok=True)
    content = hashlib.sha256(export).hexdigest()[:DIGEST]  # another lot of the same messages must not take its place
    file = f"{name}-{heard.messages[0]['id']}-{heard.messages[-1]['id']}-{content}.json"
    write_whole(inbox / file, export)
    return file


def _read(cursor: str | None) -> tuple[Place, float]:
    """Return how far the chat was heard, and until when Telegram is not to be asked, in seconds since 1970."""
    text, _, until = (cursor or "").rpartition("@")
    try:
        return Place.parse(text), float(until or 0)
    except ValueError:
        return Place(), 0.0


def _written(place: Place, until: float = 0.0) -> str:
    return f"{place.written()}@{until:.0f}"
