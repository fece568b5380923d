"""Ingest files in a process of its own that may be killed at a given step; a program that tests start.

Usage: ingest_process.py LAKE STEP FILE...
STEP is the change of a name in the lake that it does not live to see, or after all of those the return of the commit;
0 for none. Writes the number of steps.
"""

import os
import signal
import sys
from pathlib import Path

from lab_pipeline.lake import Lake, LakeError, tables

LAKE, LAST_STEP, FILES = sys.argv[1], int(sys.argv[2]), [Path(name) for name in sys.argv[3:]]
steps = 0


def step():
    global steps  # noqa: PLW0603 - an audit hook has no other place to count
    steps += 1
    if steps == LAST_STEP:
        os.kill(os.getpid(), signal.SIGKILL)


def count(event, arguments):
    if event in {"os.rename", "os.remove", "os.rmdir", "os.mkdir"} and LAKE in str(arguments[0]):
        step()


def committing(*arguments, **options):
    commit(*arguments, **options)
    step()


commit, tables._write = tables._write, committing  # noqa: SLF001 - the library's own calls raise no event
sys.addaudithook(count)
try:
    Lake(LAKE).ingest_candles(FILES, "1m")
except LakeError as error:
    sys.exit(str(error))
sys.stdout.write(str(steps))
