"""Runs that have event logs and nothing else."""

from uuid import uuid4

import dagster as dg
from dagster._core.test_utils import create_run_for_test


def start_run(instance, status=dg.DagsterRunStatus.STARTED):
    return create_run_for_test(instance, run_id=str(uuid4()), job_name="backtest", status=status).run_id


def stored(instance, run_id):
    return [record.storage_id for record in instance.get_records_for_run(run_id).records]
