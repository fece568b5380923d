"""What a sensor declares that it waits for: the lab's own daemon lets it tick when that changes."""

WAITS_FOR = "lab/waits_for"
FILES = "files"
"""In the inbox."""
CALLS = "calls"
"""In the lake, and candles."""
RUNS = "runs"
"""Of any job: their records and events."""
