"""Python processes that a test starts and hears."""

import subprocess
from typing import Protocol

import pytest


class StartPython(Protocol):
    def __call__(self, code: str, *arguments: object) -> subprocess.Popen[str]: ...


def said(process: subprocess.Popen[str]) -> str:
    """Wait for the next line that a process prints."""
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    if not line:
        assert process.stderr is not None
        pytest.fail(f"the process ended: {process.stderr.read()}")
    return line
