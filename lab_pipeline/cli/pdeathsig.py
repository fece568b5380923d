"""Run a program that ends with its parent, even if that is killed: `python pdeathsig.py PARENT PROGRAM…`.

A file that needs nothing of the lab, so that it costs a few milliseconds. Where the system cannot do it (it takes
Linux), the program is run all the same, and has to be stopped by hand after its parent was killed.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to its parent, then become the program."""
    parent = int(sys.argv[1])
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before this process was tied to it
            sys.exit(1)
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 - what the supervisor starts


if __name__ == "__main__":
    main()
