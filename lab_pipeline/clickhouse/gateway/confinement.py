"""Landlock: the kernel keeps this process from files and addresses that it has no business with.

Whatever the engine can be talked into, it then reads and writes the store alone. Linux has it since 5.13, for TCP since
6.7; elsewhere the engine's grants are all there is.
"""

import ctypes
import os
import sys
from collections.abc import Iterable
from pathlib import Path

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same on every architecture
ONLY_VERSION = 1
RULE_PATH_BENEATH = 1
NO_NEW_PRIVILEGES = 38

EXECUTE, WRITE_FILE, READ_FILE, READ_DIRECTORY = 1 << 0, 1 << 1, 1 << 2, 1 << 3
FIRST_RIGHTS = (1 << 13) - 1
REFER, TRUNCATE, DEVICE = 1 << 13, 1 << 14, 1 << 15
RIGHTS_SINCE = {2: REFER, 3: TRUNCATE, 5: DEVICE}
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | DEVICE
NETWORK_SINCE = 4
BIND, CONNECT = 1 << 0, 1 << 1

SYSTEM = ("/usr", "/lib", "/lib64")
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")
OF_USE = ("/proc/meminfo", "/proc/self/statm", "/proc/self/task", "/sys/fs/cgroup", "/sys/devices/system/cpu")
"""What the engine measures itself by. A thread's directory shows the environment, so that must hold no secret."""


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("rights", ctypes.c_uint64), ("directory", ctypes.c_int32))


def confine(store: Iterable[Path], code: Iterable[Path]) -> bool:
    """Give up, for this thread and those it starts, all files but these, and all new addresses.

    What is open stays open: a socket that is to listen is bound before.

    Args:
        store: what may be read and written.
        code: what may be read and executed, besides the system's libraries.

    Returns:
        Whether the kernel can do it.

    Raises:
        OSError: if it can, but does not.
    """
    version = _version()
    if version < 1:
        return False
    files = FIRST_RIGHTS
    for since, right in RIGHTS_SINCE.items():
        files |= right if version >= since else 0
    rules = _Ruleset(files, BIND | CONNECT if version >= NETWORK_SINCE else 0)
    ruleset = _call(CREATE_RULESET, ctypes.byref(rules), ctypes.sizeof(rules), 0)
    try:
        for path in store:
            _allow(ruleset, path, files & ~EXECUTE & ~DEVICE)
        for path in (*map(Path, SYSTEM), *code):
            _allow(ruleset, path, EXECUTE | READ_FILE | READ_DIRECTORY)
        for place in OF_USE:
            _allow(ruleset, Path(place), READ_FILE | READ_DIRECTORY)
        for place in DEVICES:
            _allow(ruleset, Path(place), READ_FILE | WRITE_FILE)
        if _libc().prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")
        _call(RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return True


def _version() -> int:
    if sys.platform != "linux":
        return 0
    try:
        return _call(CREATE_RULESET, None, 0, ONLY_VERSION)
    except OSError:  # the kernel is older, or was started without it
        return 0


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        allowed = rights if path.is_dir() else rights & OF_FILES
        _call(ADD_RULE, ruleset, RULE_PATH_BENEATH, ctypes.byref(_Beneath(allowed, opened)), 0)
    finally:
        os.close(opened)


def _call(number: int, *arguments: object) -> int:
    answer = int(_libc().syscall(number, *arguments))
    if answer < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return answer


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
