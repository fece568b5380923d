import os
import subprocess
import sys
import textwrap

import psutil
import pytest
from dagster._core.storage.compute_log_manager import ComputeIOType
from dagster._core.test_utils import instance_for_test

from lab_pipeline.storage.compute_logs import OwnComputeLogManager

CLASS = {"module": OwnComputeLogManager.__module__, "class": OwnComputeLogManager.__name__}
KEY = ["run", "compute_logs", "step"]
PROGRAM = """
    import os, sys
    from lab_pipeline.storage.compute_logs import OwnComputeLogManager
    with OwnComputeLogManager(sys.argv[1]).capture_logs(["run", "compute_logs", "step"]):
        print("printed")
        os.write(2, b"from below Python\\n" + b"x" * 300_000)
    print("after")
"""


@pytest.fixture
def manager(tmp_path):
    return OwnComputeLogManager(str(tmp_path))


def printing(directory, **streams):
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(PROGRAM), str(directory)], **streams)


def test_all_that_is_printed_is_in_the_files_and_where_it_was_printed_to(manager, tmp_path):
    out, err = printing(tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE).communicate()
    assert out == b"printed\nafter\n"
    assert err == b"from below Python\n" + b"x" * 300_000
    data = manager.get_log_data(KEY)
    assert data.stdout == b"printed\n"
    assert data.stderr == err
    assert manager.is_capture_complete(KEY)


def test_that_nobody_reads_where_it_was_printed_to_ends_no_op(manager, tmp_path):
    reading, writing = os.pipe()
    process = printing(tmp_path, stdout=subprocess.DEVNULL, stderr=writing)
    os.close(writing)
    os.close(reading)
    assert process.wait() == 0
    assert manager.get_log_data_for_type(KEY, ComputeIOType.STDERR, 0, None)[0].startswith(b"from below")


def test_no_process_is_started_for_it(manager):
    before = psutil.Process().children()
    with manager.capture_logs(KEY):
        assert psutil.Process().children() == before


def test_it_is_where_dagster_keeps_it():
    with instance_for_test(overrides={"compute_logs": CLASS}) as instance:
        path = instance.compute_log_manager.get_captured_local_path(KEY, "out")
        assert path == f"{instance.root_directory}/storage/run/compute_logs/step.out"
