"""An object store on loopback, as others write one: moto's S3."""

import itertools
import urllib.request
from contextlib import contextmanager

import pytest

PREFIX = "some/lab"
"""What a lab keeps is not at the root of its bucket: others keep something there, too."""
_numbers = itertools.count(1)


class ObjectStore:
    """A server with buckets.

    Attributes:
        url: of the server.
        environment: variables with which clients find it and are let in.
    """

    def __init__(self, url):
        self.url = url
        self.environment = {
            "AWS_ENDPOINT_URL": url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": "hush",
        }

    def make_bucket(self):
        """Return the name of a new bucket."""
        name = f"bucket-{next(_numbers)}"
        request = urllib.request.Request(f"{self.url}/{name}", method="PUT")  # noqa: S310 - of loopback
        urllib.request.urlopen(request, timeout=30).close()  # noqa: S310
        return name


@contextmanager
def serving_objects():
    """Listen on a free port of loopback."""
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 - takes a second to import, which few tests need

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield ObjectStore(f"http://{host}:{port}")
    finally:
        server.stop()


def use_only(store, monkeypatch):
    """Let clients know of this store alone, whatever the user of these tests has elsewhere."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "AWS_ENDPOINT", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def object_store():
    """A server with buckets, one for all tests of a process."""
    with serving_objects() as store:
        yield store


@pytest.fixture
def bucket(object_store, monkeypatch):
    """The address of a place in a bucket of the test's own, with the environment that leads there."""
    use_only(object_store, monkeypatch)
    return f"s3://{object_store.make_bucket()}/{PREFIX}"
