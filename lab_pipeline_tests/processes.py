"""Which processes belong to a lab."""

import os
from pathlib import Path


def of_home(home: Path) -> dict[int, str]:
    """Return the command lines of the living processes whose environment names this home, but for this one."""
    found = {}
    mark = f"LAB_HOME={home}\0".encode()
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            mine = mark in (directory / "environ").read_bytes()
            command = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has ended
            continue
        if mine and command and int(directory.name) != os.getpid():
            found[int(directory.name)] = command
    return found
