"""A lab with some runs in it, made in this process: no webserver, no daemon."""

from lab_pipeline.cli.jobs import run_backtest_job
from lab_pipeline.dagster_ext.graphql import DagsterDownError
from lab_pipeline.definitions import defs
from lab_pipeline.operations.backtest_config import BacktestConfig

RANGE = {"start": "2018-01-10T00:00:00Z", "end": "2018-01-30T00:00:00Z"}
REQUEST = {"strategyId": "ladder", "timeframe": "1m", "range": RANGE}


class StandInWebserver:
    """Records runs as waiting, as the webserver does; can be told to be down, or to lose its answers."""

    url = "http://127.0.0.1:3000"

    def __init__(self, instance):
        self.instance = instance
        self.down = False
        self.lose = None
        self.launched = []

    def launch(self, job, run_config, tags, *, parent=None):
        if self.down:
            raise DagsterDownError("the Dagster webserver does not answer")
        extra = {} if parent is None else {"dagster/parent_run_id": parent[0], "dagster/root_run_id": parent[1]}
        run = self.instance.create_run_for_job(
            job_def=defs().resolve_job_def(job),
            run_config=run_config,
            tags={**tags, **extra},
            parent_run_id=parent and parent[0],
            root_run_id=parent and parent[1],
        )
        self.launched.append(run.run_id)
        if self.lose is not None:
            raise self.lose
        return run.run_id

    def is_alive(self):
        return not self.down

    def close(self):
        return


def finished(instance, **config):
    """Run a backtest to its end and return its id."""
    return run_backtest_job(instance, BacktestConfig(**{"strategy": "ladder", "timeframe": "1m", **config})).run_id


def finish(instance, run_id):
    """Mark a run that never began as done."""
    instance.report_run_canceled(instance.get_run_by_id(run_id))


def wipe(instance):
    for run in instance.get_runs():
        instance.delete_run(run.run_id)
