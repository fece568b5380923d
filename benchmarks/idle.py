"""What a lab costs that nobody uses: `lab up` beside a stock Dagster (daemon, webserver, code server).

Run: python -m benchmarks.idle [--seconds 300] [--settle 150] [--fsyncs 20]

For two minutes sensors tick as if something had happened, then they rest, and tick every five minutes: so long is
measured by default. Both run in these same minutes, each in a home of its own with nothing to do. Processes are found
by their home, so that what a service starts counts, too. Memory is the proportional share (PSS): pages that processes
share count once. With `--fsyncs` strace counts the fsyncs of both for so many more seconds, when the rest is measured.
"""

import argparse
import re
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it ships no types

from benchmarks.running import lab, stock

CPU_LIMIT, WRITES_LIMIT, MEMORY_LIMIT = 1.5, 1.5, 2.5


@dataclass(frozen=True)
class Use:
    """What a process has used so far, and holds now.

    Attributes:
        cpu: seconds, user and system.
        written: bytes that reached the disk's queue.
        calls: of write and its kind.
        pss: bytes.
    """

    cpu: float
    written: int
    calls: int
    pss: int


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=300.0)
    options.add_argument("--settle", type=float, default=150.0, help="after the start, before anything is measured")
    options.add_argument("--fsyncs", type=float, default=0.0, help="seconds to count fsyncs for")
    asked = options.parse_args()
    with ExitStack() as stack:
        homes = {}
        for name, start in (("lab", lab), ("stock", stock)):
            homes[name] = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"idle-{name}-")))
            stack.enter_context(start(homes[name]))
        time.sleep(asked.settle)
        before = {name: {process: used(process) for process in of(home)} for name, home in homes.items()}
        time.sleep(asked.seconds)
        sums = {name: report(name, before[name], asked.seconds) for name in homes}
        syncs = {name: fsyncs(of(home), asked.fsyncs) for name, home in homes.items()} if asked.fsyncs else {}
    print(f"\n{'':22}{'lab':>10}{'stock':>10}{'ratio':>8}{'limit':>8}")
    rows = [
        ("processor, % of a core", "cpu", CPU_LIMIT, 100 / asked.seconds),
        ("written, MB a minute", "written", WRITES_LIMIT, 60e-6 / asked.seconds),
        ("write calls a minute", "calls", None, 60 / asked.seconds),
        ("memory (PSS), MB", "pss", MEMORY_LIMIT, 1e-6),
    ]
    for title, field, limit, factor in rows:
        print_row(title, limit, *(getattr(sums[name], field) * factor for name in ("lab", "stock")))
    if syncs:
        print_row("fsyncs a minute", None, *(60 / asked.fsyncs * syncs[name] for name in ("lab", "stock")))


def print_row(title: str, limit: float | None, ours: float, peer: float) -> None:
    ratio = f"{ours / peer:.2f}" if peer else "-"
    print(f"{title:22}{ours:>10.1f}{peer:>10.1f}{ratio:>8}{'' if limit is None else f'{limit:g}':>8}")


def of(home: Path) -> list[psutil.Process]:
    """Return the processes that work on a home."""
    found = []
    for process in psutil.process_iter():
        try:
            environment, command = process.environ(), process.cmdline()
        except psutil.Error:
            continue
        # ClickHouse gets nothing but its place, as an argument.
        if str(home) in (environment.get("LAB_HOME"), environment.get("DAGSTER_HOME")) or str(home) in " ".join(
            command
        ):
            found.append(process)
    return found


def used(process: psutil.Process) -> Use:
    times, io = process.cpu_times(), process.io_counters()
    return Use(times.user + times.system, io.write_bytes, io.write_count, process.memory_full_info().pss)


def report(name: str, before: dict[psutil.Process, Use], seconds: float) -> Use:
    """Print what each process used since, and return the sums."""
    print(f"\n{name:44}{'% core':>8}{'MB/min':>8}{'writes/min':>12}{'PSS MB':>8}")
    sums = Use(0.0, 0, 0, 0)
    for process, was in before.items():
        try:
            now, command = used(process), " ".join(process.cmdline()).split()
        except psutil.Error:
            continue  # it has ended
        use = Use(now.cpu - was.cpu, now.written - was.written, now.calls - was.calls, now.pss)
        sums = Use(sums.cpu + use.cpu, sums.written + use.written, sums.calls + use.calls, sums.pss + use.pss)
        title = " ".join(Path(word).name for word in command[:6] if not word.startswith("-"))[:43]
        per_minute = 60 / seconds
        print(
            f"{title:44}{100 * use.cpu / seconds:>8.2f}{use.written * per_minute / 1e6:>8.2f}"
            f"{use.calls * per_minute:>12,.0f}{use.pss / 1e6:>8.0f}"
        )
    return sums


def fsyncs(processes: list[psutil.Process], seconds: float) -> int:
    """Count the calls that wait for the disk, of all these processes."""
    strace = shutil.which("strace")
    if strace is None:
        raise RuntimeError("strace is not installed")
    attached = [word for process in processes for word in ("-p", str(process.pid))]
    with tempfile.NamedTemporaryFile("r") as counted:
        command = [strace, "-c", "-f", "-q", "-e", "trace=fsync,fdatasync", "-o", counted.name, *attached]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as tracer:
            time.sleep(seconds)
            tracer.send_signal(signal.SIGINT)
        lines = counted.read().splitlines()
    return sum(int(line.split()[3]) for line in lines if re.search(r"\bf(data)?sync$", line))


if __name__ == "__main__":
    main()
