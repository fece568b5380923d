"""What runs published."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from pathlib import Path as FilePath
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Path, Query, Request, Response

from lab_pipeline.api.downloads import MEDIA_TYPES, send_converted, send_file
from lab_pipeline.api.errors import describe
from lab_pipeline.api.routes.runs import RunId
from lab_pipeline.api.schemas.artifacts import Artifact, ArtifactList, Column, FileFormat
from lab_pipeline.api.stores import LabStores, Stores
from lab_pipeline.domain.errors import FieldError, InvalidConfigError
from lab_pipeline.runs.artifact_storage import Storage
from lab_pipeline.runs.artifacts import ArtifactFile, Publication, UnknownArtifactError

router = APIRouter(tags=["artifacts"])

BYTES: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
DOWNLOAD: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file",
        "content": {media.partition(";")[0]: BYTES for media in MEDIA_TYPES.values()},
    },
    206: {
        "description": "The part of the file that `Range` asks for",
        "content": {media.partition(";")[0]: BYTES for media in MEDIA_TYPES.values()},
    },
    304: {"description": "The client has it already, as `If-None-Match` says"},
}
Place = Callable[[ArtifactFile], str]
Form = Annotated[
    FileFormat | None,
    Query(alias="format", description="Tables can be had as `parquet`, `csv` or `json`; as they are by default."),
]


@router.get("/runs/{runId}/artifacts", summary="List what a run published", responses=describe(404))
def list_artifacts(stores: LabStores, run_id: RunId) -> ArtifactList:
    """Return the files of a run, from its manifest; none before it has published."""
    run = stores.runs.get(run_id)
    if run.published is None:
        return ArtifactList(artifacts=[], next_cursor=None)
    published = run.published
    place = place_in(stores, stores.artifacts.storage, run_id)
    return describe_files(published.files, published.created_at, place, f"/runs/{run_id}/artifacts")


@router.get(
    "/runs/{runId}/artifacts/{name}",
    summary="Download an artifact",
    response_class=Response,
    responses={**describe(404, 416), **DOWNLOAD},
)
async def get_artifact(
    stores: LabStores,
    request: Request,
    run_id: RunId,
    name: Annotated[str, Path(description="As listed, with or without its suffix.", examples=["trades"])],
    form: Form = None,
) -> Response:
    """Send a file, streamed. `ETag` is its sha256, or tells the form too; `Range` and `If-None-Match` work on all."""
    with ExitStack() as place:
        place.enter_context(stores.downloads.one())
        answer = partial(_answer, stores, request, run_id, name, form, place)
        return await to_thread.run_sync(answer, limiter=stores.threads.files)


def _answer(
    stores: Stores, request: Request, run_id: str, name: str, form: FileFormat | None, place: ExitStack
) -> Response:
    run = stores.runs.get(run_id)
    files = run.published.files if run.published else ()
    published = Publication(stores.artifacts.storage, run_id)
    return send_artifact(stores, request, f"run {run_id}", files, published, name, form, place)


def place_in(stores: Stores, storage: Storage, name: str) -> Place:
    """Return what says where each file of a publication is."""
    home = stores.settings.home
    if stores.settings.artifacts is None:
        return lambda file: FilePath(storage.where(name, file)).relative_to(home).as_posix()
    return partial(storage.where, name)


def describe_files(files: Iterable[ArtifactFile], published_at: datetime, place: Place, url: str) -> ArtifactList:
    """Say what was published.

    Args:
        files: of a manifest.
        published_at: when.
        place: of each: its path relative to LAB_HOME, or its address in a bucket.
        url: under which each can be had.
    """
    shown = [
        Artifact(
            name=file.name,
            format=file.format,
            path=place(file),
            rows=file.rows,
            bytes=file.bytes,
            sha256=file.sha256,
            columns=None if file.columns is None else [Column(name=one.name, type=one.type) for one in file.columns],
            created_at=published_at,
            download_url=f"{url}/{file.name}",
        )
        for file in files
    ]
    return ArtifactList(artifacts=shown, next_cursor=None)


def send_artifact(
    stores: Stores,
    request: Request,
    owner: str,
    files: Sequence[ArtifactFile],
    published: Publication,
    name: str,
    form: FileFormat | None,
    place: ExitStack,
) -> Response:
    """Send one of the files of a manifest; what it does not list is not there, whatever a name leads to.

    Raises:
        UnknownArtifactError: naming what the owner has.
        InvalidConfigError: if it is asked for in a form that it cannot have.
        RangeError: if the part that is asked for begins beyond its end.
    """
    file = next((one for one in files if name in (one.name, one.name.rpartition(".")[0])), None)
    if file is None:
        has = ", ".join(one.name for one in files) or "none: it has not published"
        raise UnknownArtifactError(f"{owner} has no artifact '{name}': it has {has}")
    try:
        path = published.path(file)
        if _is_as_it_is(file, form):
            return send_file(request, path, file.name, file.format, file.sha256, place, stores.threads.files)
        assert form is not None  # noqa: S101 - else the file is sent as it is
        return send_converted(request, path, file.name, form, f"{file.sha256}-{form}", place, stores.threads.files)
    except FileNotFoundError:
        raise UnknownArtifactError(f"the artifact '{file.name}' of {owner} is gone") from None


def _is_as_it_is(file: ArtifactFile, form: FileFormat | None) -> bool:
    if form is None or form == file.format:
        return True
    if file.format != FileFormat.PARQUET:
        message = f"{file.name} is {file.format} and no table: leave format out"
        raise InvalidConfigError("the request", [FieldError("format", message)])
    return False
