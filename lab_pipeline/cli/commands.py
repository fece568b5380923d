"""The list of all commands, so that `lab --help` can show them and import none."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Listed:
    """A command, or a group of them.

    Attributes:
        task: what people are about when they need it; `lab --help` has a heading for each.
        help: what it is for, as its own help begins.
        modules: of this package, which add it to the command line.
    """

    task: str
    help: str
    modules: tuple[str, ...]


BEGIN, BRING, TRY, SEE, OWN, PARTS = (
    "Begin",
    "Bring in candles and calls",
    "Try rules",
    "See what came of it",
    "Look after the lab",
    "Parts of the lab, one by one",
)
COMMANDS = {
    "demo": Listed(
        BEGIN,
        "Generate a token market, load it into the lake, run a backtest on it through Dagster, and sweep its exits.",
        ("demo",),
    ),
    "up": Listed(
        BEGIN,
        "Run the Dagster UI, the HTTP API, the daemon (queue, schedules, sensors) and the code server until Ctrl-C.",
        ("up",),
    ),
    "open": Listed(BEGIN, "Open the lab's pages in a browser: the first, or that of a run or sweep.", ("open",)),
    "init": Listed(
        BEGIN,
        "Write a small Dagster project that adds assets, schedules and strategies of your own to the lab.",
        ("init",),
    ),
    "ingest": Listed(BRING, "Ingest files into the lake: all rows of a file or none.", ("ingest",)),
    "fetch": Listed(
        BRING, "Fetch candles from where they are: what calls need and the lake lacks; and calls.", ("fetch",)
    ),
    "lake": Listed(BRING, "What the lake has, and what looks wrong in it.", ("lake",)),
    "strategies": Listed(TRY, "Named, versioned strategies.", ("strategies",)),
    "backtest": Listed(
        TRY, "Run a backtest through Dagster, in the foreground; the run is in the UI like any other.", ("backtest",)
    ),
    "sweep": Listed(
        TRY,
        "Many sets of parameters on the same calls, and how far the best can be believed.",
        ("sweep", "sweep_results"),
    ),
    "runs": Listed(SEE, "Queued, running and finished backtests.", ("runs", "logs")),
    "show": Listed(SEE, "Write one call of a run on its candles, as a page of its own or as a picture.", ("show",)),
    "compare": Listed(
        SEE,
        "Compare runs: what each made beyond the first, call by call, and what differs in what was asked.",
        ("compare",),
    ),
    "artifacts": Listed(SEE, "Files published by runs.", ("artifacts",)),
    "leaderboard": Listed(SEE, "Show the best runs, strategies or callers: filter first, then rank.", ("statistics",)),
    "statistics": Listed(
        SEE,
        "Show statistics over all completed runs: totals, net returns by group, distributions, correlations.",
        ("statistics",),
    ),
    "doctor": Listed(
        OWN, "Check every part of the lab, one line each; exit status 1 if one needs attention.", ("health",)
    ),
    "settings": Listed(OWN, "Print every setting with its value and where the value comes from.", ("health",)),
    "gc": Listed(
        OWN,
        "Delete old runs and sweeps with all that they left; pinned ones, leaders and what was promoted stay.",
        ("gc",),
    ),
    "backup": Listed(
        OWN,
        "Add a snapshot of the home to a backup while everything runs; only new contents are written.",
        ("backup",),
    ),
    "restore": Listed(
        OWN,
        "Restore a snapshot as LAB_HOME, which must be new or empty, with its rows and logs in ClickHouse.",
        ("backup",),
    ),
    "migrate": Listed(OWN, "Import runs of the old lab, or move Dagster's storage.", ("migrate",)),
    "api": Listed(PARTS, "Serve the HTTP API alone; `lab up` serves it beside Dagster.", ("api",)),
    "daemon": Listed(PARTS, "Run the daemon (queue, schedules, sensors) alone until Ctrl-C.", ("up",)),
    "webserver": Listed(
        PARTS,
        "Serve the Dagster UI alone until Ctrl-C, behind the lab's guard; `lab up` serves it beside everything else.",
        ("up",),
    ),
    "mcp": Listed(
        PARTS,
        "Serve the lab as tools for agents (MCP) on standard input and output; they change nothing by default.",
        ("mcp",),
    ),
    "clickhouse": Listed(PARTS, "The store of metrics, fills and logs.", ("clickhouse",)),
}
"""By name, in the order of `lab --help`: task by task."""
