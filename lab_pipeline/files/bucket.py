"""A bucket of an object store: what it does, and what is wrong with it in words that say what to do.

Credentials, region and endpoint come from the `AWS_` variables, as for every other program on the machine.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lab_pipeline.domain.errors import LabError, shortened

if TYPE_CHECKING:
    from obstore.store import S3Store

ADDRESS = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])((?:/[A-Za-z0-9!_.*'()=-]+)*)/?")
"""Names that every store and every URL takes as they are."""
PIECE_BYTES = 32 << 20
"""Of a download, by one request: whoever takes long for a large file is not cut off by `REQUEST`."""
CONNECT = timedelta(seconds=5)
REQUEST = timedelta(seconds=60)
RETRIES = 4
RETRY_FOR = timedelta(seconds=15)
"""After which an error is one: people wait for it."""
WHO_AM_I = "/latest/api/token"
"""What a client asks its cloud for, if no variable says who it is."""
REFUSED = re.compile(r"AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|InvalidToken")
Answer = TypeVar("Answer")


class BucketError(LabError):
    """A bucket cannot be reached, does not exist, or refuses access; says which, where and what to do."""


@dataclass(frozen=True)
class StoredObject:
    """What a store says of an object.

    Attributes:
        key: relative to the address of the bucket.
        size: bytes.
        tag: that changes with its content.
        changed_at: when it was written.
    """

    key: str
    size: int
    tag: str
    changed_at: datetime


@dataclass(frozen=True)
class Bucket:
    """A place in a bucket, `s3://NAME/PREFIX`. Every method raises BucketError if the store does not do what it ought.

    Attributes:
        address: of it.
    """

    address: str

    def url(self, key: str) -> str:
        """Return the address of an object."""
        return f"{self.address.rstrip('/')}/{key}"

    def require(self) -> None:
        """Raise an error if objects cannot be listed; that there is none is fine."""
        next(self.objects(""), None)

    def look(self, key: str) -> StoredObject | None:
        """Return what the store says of an object, or None if there is none."""
        import obstore  # noqa: PLC0415 - seldom needed, as everywhere here

        # A HEAD has no body, so that it could not be told whether the object or the bucket is missing.
        try:
            meta = self._asked(lambda: obstore.get(self._store, key, options={"range": (0, 1)}).meta)
        except FileNotFoundError:
            return None
        return StoredObject(key, meta["size"], meta["e_tag"] or "", meta["last_modified"])

    def read(self, key: str) -> bytes:
        """Return a small object.

        Raises:
            FileNotFoundError: if there is none.
        """
        import obstore  # noqa: PLC0415

        return self._asked(lambda: bytes(obstore.get(self._store, key).bytes()))

    def pieces(self, key: str, size: int) -> Iterator[bytes]:
        """Iterate over the content of an object of a known size.

        Raises:
            FileNotFoundError: if there is none.
        """
        for start in range(0, size, PIECE_BYTES):
            end = min(start + PIECE_BYTES, size)
            yield self._asked(partial(self._part, key, start, end))

    def _part(self, key: str, start: int, end: int) -> bytes:
        import obstore  # noqa: PLC0415

        return bytes(obstore.get_range(self._store, key, start=start, end=end))

    def write(self, key: str, content: bytes | Path) -> None:
        """Write an object, or replace it; a large file goes in parts."""
        import obstore  # noqa: PLC0415

        self._asked(lambda: obstore.put(self._store, key, content))

    def create(self, key: str, content: bytes) -> bool:
        """Write a small object unless there is one, and return whether it is this one that is there now."""
        import obstore  # noqa: PLC0415
        from obstore.exceptions import AlreadyExistsError  # noqa: PLC0415

        try:
            self._asked(lambda: obstore.put(self._store, key, content, mode="create", use_multipart=False))
        except AlreadyExistsError:
            return False
        return True

    def copy(self, key: str, target: str) -> None:
        """Copy an object within the bucket.

        Raises:
            FileNotFoundError: if there is none.
        """
        import obstore  # noqa: PLC0415

        self._asked(lambda: obstore.copy(self._store, key, target))

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; one that is not there is no error."""
        import obstore  # noqa: PLC0415

        if some := list(keys):
            self._asked(lambda: obstore.delete(self._store, some))

    def objects(self, directory: str) -> Iterator[StoredObject]:
        """Iterate over the objects under a directory."""
        import obstore  # noqa: PLC0415

        found = self._asked(lambda: obstore.list(self._store, directory or None))
        while some := self._asked(lambda: next(found, None)):
            for one in some:
                yield StoredObject(one["path"], one["size"], one["e_tag"] or "", one["last_modified"])

    def directories(self, directory: str) -> list[str]:
        """Return the names of what is under a directory and has something under it."""
        import obstore  # noqa: PLC0415

        found = self._asked(lambda: obstore.list_with_delimiter(self._store, directory))
        return [prefix.rstrip("/").rpartition("/")[2] for prefix in found["common_prefixes"]]

    @cached_property
    def _store(self) -> "S3Store":
        from obstore.store import S3Store  # noqa: PLC0415

        found = ADDRESS.fullmatch(self.address)
        assert found is not None  # noqa: S101 - settings take nothing else
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
        return S3Store(
            found[1],
            prefix=found[2].strip("/") or None,
            client_options={
                "allow_http": endpoint.startswith("http://"),
                "connect_timeout": CONNECT,
                "timeout": REQUEST,
            },
            retry_config={"max_retries": RETRIES, "retry_timeout": RETRY_FOR},
            config={"endpoint": endpoint} if endpoint else None,
        )

    def _asked(self, ask: Callable[[], Answer]) -> Answer:
        from obstore.exceptions import AlreadyExistsError, BaseError  # noqa: PLC0415

        try:
            return ask()
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise self._error(error) from None
            raise FileNotFoundError(f"there is no such object in {self.address}") from None
        except AlreadyExistsError:
            raise
        except (BaseError, OSError) as error:
            raise self._error(error) from None

    def _error(self, error: Exception) -> BucketError:
        from obstore.exceptions import PermissionDeniedError, UnauthenticatedError  # noqa: PLC0415

        said = str(error)
        if "NoSuchBucket" in said:
            return BucketError(f"{self.address}: there is no such bucket: create it, or correct the address")
        if WHO_AM_I in said:
            return BucketError(
                f"{self.address}: no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for this process"
            )
        if isinstance(error, PermissionDeniedError | UnauthenticatedError) or REFUSED.search(said):
            return BucketError(
                f"{self.address}: access was refused: check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION, "
                "and that they may list, read, write and delete there"
            )
        reason = shortened(said.partition("\n")[0])
        return BucketError(
            f"{self.address} does not answer as it ought: check the network, the store and AWS_ENDPOINT_URL ({reason})"
        )
