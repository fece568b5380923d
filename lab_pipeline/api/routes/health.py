"""Whether the lab works."""

import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime

from anyio import to_thread
from fastapi import APIRouter, Request
from sqlalchemy.exc import SQLAlchemyError

from lab_pipeline.api.errors import UnavailableError
from lab_pipeline.api.schemas.health import Checks, Health
from lab_pipeline.api.stores import LabStores, Stores
from lab_pipeline.clickhouse.client import status
from lab_pipeline.dagster_ext.instance import is_silent
from lab_pipeline.domain.backtest import iso
from lab_pipeline.domain.errors import FieldError, LabError
from lab_pipeline.storage.duck_file import DuckFile

OK = "ok"
LOW_DISK_BYTES = 100 * 2**20
"""Below so little, runs fail soon."""
QUEUE_DAEMON = "QUEUED_RUN_COORDINATOR"

router = APIRouter(tags=["health"])


@router.get("/api/health", summary="Whether everything that the lab needs works")
async def get_health(request: Request, stores: LabStores) -> Health:
    """Look at Dagster, ClickHouse, catalog, artifacts and the room on the disk. 503 names each that does not work.

    This needs no token; without it, where there is one, the answer says no more than that something does not work.
    """
    found = await to_thread.run_sync(look, stores, limiter=stores.threads.health)
    broken = [FieldError(f"checks.{name}", said) for name, said in found.items() if said != OK]
    if broken and not request.state.trusted:
        raise UnavailableError("not everything works; send the token to see what does not")
    if broken:
        raise UnavailableError("not everything works: " + "; ".join(map(str, broken)), broken)
    return Health(status=OK, service="lab", checks=Checks(**found))


def look(stores: Stores) -> dict[str, str]:
    """Look at everything that the lab needs: what is said of each, `ok` where all is well."""
    checks: dict[str, Callable[[Stores], str]] = {
        "dagster": _dagster,
        "clickhouse": _clickhouse,
        "catalog": _catalog,
        "artifacts": _artifacts,
        "disk": _disk,
    }
    return {name: _said(check, stores) for name, check in checks.items()}


def _said(check: Callable[[Stores], str], stores: Stores) -> str:
    try:
        return check(stores)
    except (LabError, OSError) as error:
        return str(error)
    except SQLAlchemyError:
        return "Dagster's storage cannot be read"


def _dagster(stores: Stores) -> str:
    heartbeat = stores.instance.get_daemon_heartbeats().get(QUEUE_DAEMON)
    if not stores.webserver.is_alive():
        return f"the webserver at {stores.webserver.url} does not answer"
    if heartbeat is None:
        return "the daemon has never run: nothing takes runs out of the queue"
    if is_silent(heartbeat, time.time()):
        last = iso(datetime.fromtimestamp(heartbeat.timestamp, UTC))
        return f"the daemon has been silent, its last sign of life is of {last}: nothing takes runs out of the queue"
    return OK


def _clickhouse(stores: Stores) -> str:
    seen = status(stores.clickhouse.config)
    return "the server does not answer" if seen.state == "unreachable" else OK


def _catalog(stores: Stores) -> str:
    with DuckFile.at(stores.settings.catalog_path).transaction(write=False, timeout=5) as connection:
        connection.execute("SELECT count(*) FROM strategies")
    return OK


def _artifacts(stores: Stores) -> str:
    stores.artifacts.storage.require()
    return OK


def _disk(stores: Stores) -> str:
    home = stores.settings.home
    free = shutil.disk_usage(home).free
    return OK if free >= LOW_DISK_BYTES else f"the disk of {home} is almost full ({free:,} bytes free): make room"
