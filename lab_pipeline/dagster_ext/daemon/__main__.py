"""Run the daemon of a lab until it is stopped: python -m lab_pipeline.dagster_ext.daemon run -w workspace.yaml."""

import argparse
from contextlib import suppress

import dagster as dg

from lab_pipeline.dagster_ext.daemon.internals import (
    WorkspaceFileTarget,
    daemon_controller_from_instance,
    setup_interrupt_handlers,
)
from lab_pipeline.dagster_ext.daemon.sensing import daemons
from lab_pipeline.dagster_ext.internals import capture_interrupts


def main() -> None:
    """Do what `dagster-daemon run` does, on the instance of DAGSTER_HOME."""
    parser = argparse.ArgumentParser(prog="lab_pipeline.dagster_ext.daemon", description=__doc__)
    parser.add_argument("command", choices=["run"])
    parser.add_argument("-w", "--workspace", required=True)
    workspace = WorkspaceFileTarget([parser.parse_args().workspace])
    setup_interrupt_handlers()
    with (
        suppress(KeyboardInterrupt),
        capture_interrupts(),
        dg.DagsterInstance.get() as instance,
        daemon_controller_from_instance(
            instance, workspace, gen_daemons=daemons, code_server_log_level="warning"
        ) as controller,
    ):
        controller.check_daemon_loop()


main()
