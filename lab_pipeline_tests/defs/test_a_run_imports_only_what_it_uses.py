import subprocess
import sys

SCRIPT = """
import sys
from lab_pipeline.operations.backtest_config import BacktestConfig
from lab_pipeline.cli.jobs import run_backtest_job
from lab_pipeline.dagster_ext.instance import open_instance
from lab_pipeline.settings import load_settings
with open_instance(load_settings()) as instance:
    assert run_backtest_job(instance, BacktestConfig(strategy="ladder", timeframe="1m")).error is None
unwanted = {"hypothesis", "matplotlib", "PIL", "pandera", "scipy.special", "scipy.stats", "scipy.spatial"}
print(unwanted & set(sys.modules))  # numba looks at the version of scipy, which imports none of its parts
"""


def test_the_process_of_a_backtest_has_nothing_for_drawing_tests_or_incoming_rows(lab):
    settings, _ = lab
    assert settings.home.is_dir(), "its variables are those of this process"
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
