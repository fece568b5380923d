"""The lab's own requests to the Dagster webserver."""

import json
from collections.abc import Mapping
from typing import Any, Self

import httpx
from pydantic import SecretStr

from lab_pipeline.domain.errors import LabError
from lab_pipeline.doors import reached_at
from lab_pipeline.runs.idempotency import LaunchUnknownError
from lab_pipeline.settings import Settings

LOCATION = "lab_pipeline"
REPOSITORY = "__repository__"
CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 30.0
ALIVE_SECONDS = 2.0
REFUSED = {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN, httpx.codes.MISDIRECTED_REQUEST}
LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on RunConfigValidationInvalid { errors { message } }
    ... on PythonError { message }
    ... on PipelineNotFoundError { message }
    ... on UnauthorizedError { message }
  }
}"""


class DagsterDownError(LabError):
    """The webserver or the code server behind it does not work now; the same may succeed later."""


class LaunchRefusedError(LabError):
    """Dagster refuses to run what it was asked to."""


class Webserver:
    """The Dagster webserver of a lab; usable by many threads."""

    def __init__(self, url: str, token: SecretStr | None) -> None:
        self.url = url
        self._client = httpx.Client(
            base_url=url,
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            headers={} if token is None else {"Authorization": f"Bearer {token.get_secret_value()}"},
            trust_env=False,  # no proxy stands before it
        )

    @classmethod
    def of(cls, settings: Settings, port: int | None = None) -> Self:
        """Return the webserver of a lab, that of this machine at a port if it is given."""
        return cls(webserver_url(settings, port), settings.api_token)

    def launch(
        self,
        job: str,
        run_config: Mapping[str, object],
        tags: Mapping[str, str],
        *,
        parent: tuple[str, str] | None = None,
    ) -> str:
        """Put a run into the queue and return its id; it is recorded as queued then.

        Args:
            job: of the lab's code location.
            run_config: as the launchpad would hold it.
            tags: of the run.
            parent: the run that it repeats, and the first of those repeated.

        Raises:
            DagsterDownError: nothing was queued; if it failed in the middle, as on a full disk, a run may be recorded.
            LaunchUnknownError: the webserver took the request and did not answer.
            LaunchRefusedError: naming what Dagster does not accept.
        """
        metadata: dict[str, object] = {"tags": [{"key": key, "value": value} for key, value in tags.items()]}
        if parent is not None:
            metadata |= {"parentRunId": parent[0], "rootRunId": parent[1]}
        params = {
            "selector": {"repositoryLocationName": LOCATION, "repositoryName": REPOSITORY, "jobName": job},
            "mode": "default",
            "runConfigData": json.dumps(run_config),
            "executionMetadata": metadata,
        }
        answer = self._graphql(LAUNCH, {"params": params})["launchRun"]
        match answer["__typename"]:
            case "LaunchRunSuccess":
                return str(answer["run"]["runId"])
            case "RunConfigValidationInvalid":
                raise LaunchRefusedError("; ".join(error["message"] for error in answer["errors"]))
            case "PipelineNotFoundError":
                raise DagsterDownError(f"Dagster at {self.url} has not loaded the lab's code: see its log")
            case kind:
                reason = str(answer.get("message", kind)).strip().splitlines()[0]
                raise DagsterDownError(f"Dagster at {self.url} could not queue the run: {reason}")

    def is_alive(self) -> bool:
        """Return whether it answers."""
        try:
            return self._client.get("/server_info", timeout=ALIVE_SECONDS).is_success
        except httpx.HTTPError:
            return False

    def close(self) -> None:
        """Disconnect."""
        self._client.close()

    def _graphql(self, query: str, variables: Mapping[str, object]) -> dict[str, Any]:
        try:
            answer = self._client.post("/graphql", json={"query": query, "variables": variables})
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise DagsterDownError(
                f"the Dagster webserver at {self.url} does not answer: `lab up` starts it"
            ) from error
        except httpx.HTTPError as error:
            raise LaunchUnknownError(f"the Dagster webserver at {self.url} broke off: {error}") from error
        if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise DagsterDownError(f"the Dagster webserver at {self.url} answers {answer.status_code}")
        if answer.status_code in REFUSED:
            raise DagsterDownError(f"the Dagster webserver at {self.url} refuses the lab: {answer.text.strip()}")
        document = answer.json() if answer.is_success else {}
        if not document.get("data"):
            raise DagsterDownError(f"what answers at {self.url} is no Dagster webserver that this lab can use")
        data: dict[str, Any] = document["data"]
        return data


def webserver_url(settings: Settings, port: int | None = None) -> str:
    """Return the address at which the webserver of a lab is reached, on this machine if its port is given."""
    if settings.dagster_url is not None and port is None:
        return settings.dagster_url.rstrip("/")
    return reached_at(settings.host, settings.port if port is None else port)
