"""What the speed of a shared DuckDB file hangs on, in one place."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SharingPolicy:
    """How processes share a file, and what the speed of the run storage hangs on.

    Wanted, beside SQLite, of eight processes: 0.95 of its calls and 1.5 times its p95 with a pause of 0.1 s between
    calls, 0.7 of its calls without one. docs/performance.md shows what each part adds.

    Attributes:
        linger_seconds: a process whose transactions follow one another within this time stays attached between them,
            which spares most of their cost; after it, without another transaction, it gives the file up.
        turn_seconds: when another process waits, for how long one that is attached may go on.
        rest_seconds: when another process waits, how long one that is attached may do nothing.
        poll_seconds: how often the thread that ends this looks: what a process that waits loses at most.
        log_bytes: of the write-ahead log, from which on it is worth a checkpoint: every attachment replays the log,
            every checkpoint rewrites row groups. A thread does it after the transaction, where nobody waits for it.
        log_bytes_at_rest: the same where a burst has ended and no process waits: it costs nobody any time then.
        log_bytes_at_most: where nobody ever rests, whoever makes the log this long shortens it before going on.
        shorten_within_seconds: for so long that thread waits for other processes; if they keep it out, one of them will
            shorten the log.
        slow_compression: choosing this method takes two thirds of a checkpoint's time, so it is not tried where a
            process waits; the next checkpoint that has the time compresses, as long as rows are added to the groups.
        row_group_rows: DuckDB rewrites whole row groups at a checkpoint; the smallest it allows bounds the worst call,
            a change of an old run. Not kept in the file: every attachment says it.
    """

    linger_seconds: float = 0.025
    turn_seconds: float = 0.15
    rest_seconds: float = 0.004
    poll_seconds: float = 0.001
    log_bytes: int = 12 * 1024
    log_bytes_at_rest: int = 4 * 1024
    log_bytes_at_most: int = 48 * 1024
    shorten_within_seconds: float = 0.5
    slow_compression: str = "dict_fsst"
    row_group_rows: int = 2048
