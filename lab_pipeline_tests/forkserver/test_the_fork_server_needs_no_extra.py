"""`make up` installs no extra but the embedded ClickHouse: what the fork server loads must do without the others."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
LOAD = """
import sys
from importlib.abc import MetaPathFinder

class Absent(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

absent = set(sys.argv[1:])
sys.meta_path.insert(0, Absent())
from lab_pipeline.cli import fork_server
fork_server.load()
assert not absent & sys.modules.keys()
"""


def test_the_fork_server_loads_where_no_other_extra_is_installed(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    extras = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]
    distributions = {
        re.split(r"[\[>=<]", requirement)[0]
        for extra, requirements in extras.items()
        if extra != "embedded"
        for requirement in requirements
    }
    absent = [module for module, names in packages_distributions().items() if distributions & set(names)]
    assert {"hypothesis", "vectorbt"} <= set(absent)
    loaded = subprocess.run([sys.executable, "-c", LOAD, *absent], check=False, capture_output=True, text=True)
    assert loaded.returncode == 0, loaded.stderr[-2000:]
