"""Dagster's SQLite schedule storage, in a directory of any name."""

from collections.abc import Mapping
from typing import Any, Self, cast

from dagster import Field, StringSource
from dagster._config.config_schema import UserConfigSchema
from dagster._core.storage.schedules import SqliteScheduleStorage
from dagster._serdes import ConfigurableClassData

from lab_pipeline.storage.plain_path import plain
from lab_pipeline.storage.run_storage import under_dagster_home

SCHEDULES_DIRECTORY = "schedules"
"""Under DAGSTER_HOME, where Dagster keeps schedules."""


class AnyPathScheduleStorage(SqliteScheduleStorage):
    """Keep schedules, sensors and their ticks where and as Dagster does, whatever the directories above are called.

    .. code-block:: YAML

        schedule_storage:
          module: lab_pipeline.storage.schedule_storage
          class: AnyPathScheduleStorage

    ``base_dir`` is absolute, or relative to ``DAGSTER_HOME``.
    """

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """Describe the ``config`` block of dagster.yaml."""
        return {"base_dir": Field(StringSource, is_required=False, default_value=SCHEDULES_DIRECTORY)}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """Build the storage from a validated ``config`` block."""
        directory = under_dagster_home(config_value["base_dir"])
        directory.mkdir(parents=True, exist_ok=True)
        return cast("Self", cls.from_local(plain(directory), inst_data))
