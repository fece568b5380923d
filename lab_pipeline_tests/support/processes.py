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


def processes(home, *words):
    """Return the processes of a home whose command lines have these words, but for its ClickHouse."""
    return [
        pid
        for pid, command in of_home(home).items()
        if all(word in command for word in words) and "gateway" not in command
    ]


def cpu_seconds(pid):
    """Return what a process has used; nothing if it has ended: a child of it bears its name until it is a program."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return int(fields[11]) / os.sysconf("SC_CLK_TCK")
