import subprocess
import sys

SCRIPT = """
import sys
from pathlib import Path
from lab_pipeline.lake import Lake
Lake(Path(sys.argv[1])).calls()
print([name for name in ("pandera", "numba", "dagster", "matplotlib") if name in sys.modules])
"""


def test_reading_imports_nothing_heavy(tmp_path):
    done = subprocess.run([sys.executable, "-c", SCRIPT, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
