"""A signal may come while the program that waits for it holds any lock."""

import subprocess
import sys

WAITS = """
import signal
from lab_pipeline.cli.stop_signal import StopSignal

for after in range(1, 401):
    heard = StopSignal().handles(signal.SIGALRM)
    signal.setitimer(signal.ITIMER_REAL, after * 5e-6)
    while not heard.wait(1e-6):
        pass
print(heard.is_set())
"""


def test_it_ends_the_wait_wherever_it_interrupts_it():
    ended = subprocess.run([sys.executable, "-c", WAITS], check=False, capture_output=True, text=True, timeout=60)
    assert (ended.stdout, ended.stderr) == ("True\n", "")
