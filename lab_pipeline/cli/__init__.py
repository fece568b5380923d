"""`lab`: the command line. Each module adds the commands of one noun."""

import sys

from lab_pipeline.cli import forked


def main() -> None:
    """Run a command: in a process of the fork server, which has loaded all that it needs, or else in this one."""
    status = forked.carry_out(sys.argv[1:]) if set(sys.argv[1:2]) & forked.COMMANDS else None
    if status is not None:
        sys.exit(status)
    from lab_pipeline.cli.app import carry_out

    carry_out()
