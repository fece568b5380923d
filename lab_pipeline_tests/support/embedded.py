"""The embedded ClickHouse server of tests."""

import importlib.util
from contextlib import contextmanager

import pytest

from lab_pipeline.clickhouse.gateway.launch import stop_server

HAS_CHDB = importlib.util.find_spec("chdb") is not None


def skip_without_chdb():
    if not HAS_CHDB:
        pytest.skip("chdb is not installed: pip install 'lab-pipeline[embedded]'")


@contextmanager
def stopped_at_the_end(config):
    try:
        yield config
    finally:
        stop_server(config)
