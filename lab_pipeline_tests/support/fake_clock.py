"""A time of day that a test puts, for processes that it starts; their machine's own count goes on as it is.

libfaketime would be the library for it, but leaves Python's sleep, by the machine's count, with an invalid argument.
"""

import shutil
import subprocess
from datetime import UTC, datetime

import pytest

SOURCE = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long ahead(void) {
    char text[32] = {0};
    const char *path = getenv("CLOCK_FILE");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return 0;
    long length = read(file, text, sizeof text - 1);
    close(file);
    return length > 0 ? atol(text) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += ahead();
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec precise;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (now) *now = precise.tv_sec;
    return precise.tv_sec;
}
"""


class Clock:
    """The time of day of the processes that have `environment`."""

    def __init__(self, directory):
        self._file = directory / "seconds-ahead"
        library = directory / "clock.so"
        self.environment = {"LD_PRELOAD": str(library), "CLOCK_FILE": str(self._file)}
        self.show(datetime.now(UTC))
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("there is no C compiler")
        (directory / "clock.c").write_text(SOURCE)
        command = [compiler, "-shared", "-fPIC", "-O2", "-Wall", "-Werror", directory / "clock.c", "-o", library]
        subprocess.run(command, check=True)

    def show(self, time):
        """Let it be a time, to the second."""
        draft = self._file.with_suffix(".new")
        draft.write_text(f"{round((time - datetime.now(UTC)).total_seconds())}\n")
        draft.replace(self._file)
