"""Health over HTTP."""

from pydantic import ConfigDict

from lab_pipeline.api.schemas.base import Answer


class Checks(Answer):
    """What was looked at, each in a word or a sentence."""

    dagster: str
    """The webserver answers, the daemon has been heard of lately, the record of runs can be read."""
    clickhouse: str
    """The server answers; an embedded one may also be asleep until it is needed."""
    catalog: str
    """The file of strategies and statistics can be read."""
    artifacts: str
    """The directory of artifacts can be read."""
    disk: str
    """The disk of the home has 100 MiB free."""


class Health(Answer):
    """All is well; where it is not, the answer is an error that says what is wrong."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "status": "ok",
                    "service": "lab",
                    "checks": {"dagster": "ok", "clickhouse": "ok", "catalog": "ok", "artifacts": "ok", "disk": "ok"},
                }
            ]
        }
    )

    status: str
    """`ok`."""
    service: str
    """`lab`."""
    checks: Checks
    """One for each thing that the lab needs."""
