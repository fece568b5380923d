"""The list of all commands, so that `lab --help` can show them and import none."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Listed:
    """A command, or a group of them.

    Attributes:
        help: what it is for, as its own help begins.
        modules: of this package, which add it to the command line.
    """

    help: str
    modules: tuple[str, ...]


COMMANDS = {
    "demo": Listed(
        "Generate a token market, load it into the lake, run a backtest on it through Dagster, and sweep its exits.",
        ("demo",),
    ),
    "up": Listed(
        "Run the Dagster UI, the HTTP API, the daemon (queue, schedules, sensors) and the code server until Ctrl-C.",
        ("up",),
    ),
    "init": Listed(
        "Write a small Dagster project that adds assets, schedules and strategies of your own to the lab.", ("init",)
    ),
    "ingest": Listed("Ingest files into the lake: all rows of a file or none.", ("ingest",)),
    "fetch": Listed("Fetch candles from where they are: what calls need and the lake lacks; and calls.", ("fetch",)),
    "lake": Listed("What the lake has, and what looks wrong in it.", ("lake",)),
    "strategies": Listed("Named, versioned strategies.", ("strategies",)),
    "backtest": Listed(
        "Run a backtest through Dagster, in the foreground; the run is in the UI like any other.", ("backtest",)
    ),
    "sweep": Listed(
        "Many sets of parameters on the same calls, and how far the best can be believed.", ("sweep", "sweep_results")
    ),
    "runs": Listed("Queued, running and finished backtests.", ("runs", "logs")),
    "artifacts": Listed("Files published by runs.", ("artifacts",)),
    "statistics": Listed(
        "Show statistics over all completed runs: totals, net returns by group, distributions, correlations.",
        ("statistics",),
    ),
    "leaderboard": Listed("Show the best runs, strategies or callers: filter first, then rank.", ("statistics",)),
    "settings": Listed("Print every setting with its value and where the value comes from.", ("health",)),
    "doctor": Listed("Check every part of the lab, one line each; exit status 1 if one needs attention.", ("health",)),
    "gc": Listed(
        "Delete old runs and sweeps with all that they left; pinned ones, leaders and what was promoted stay.", ("gc",)
    ),
    "backup": Listed(
        "Add a snapshot of the home to a backup while everything runs; only new contents are written.",
        ("backup",),
    ),
    "restore": Listed(
        "Restore a snapshot as LAB_HOME, which must be new or empty, with its rows and logs in ClickHouse.",
        ("backup",),
    ),
    "api": Listed("Serve the HTTP API alone; `lab up` serves it beside Dagster.", ("api",)),
    "daemon": Listed(
        "Run the daemon (queue, schedules, sensors) alone until Ctrl-C.",
        ("up",),
    ),
    "webserver": Listed(
        "Serve the Dagster UI alone until Ctrl-C, behind the lab's guard; `lab up` serves it beside everything else.",
        ("up",),
    ),
    "clickhouse": Listed("The store of metrics, fills and logs.", ("clickhouse",)),
    "migrate": Listed("Import runs of the old lab, or move Dagster's storage.", ("migrate",)),
}
"""By name, in the order of `lab --help`."""
