"""numba keeps machine code where it may write; where it may not, the engine works all the same."""

import subprocess
import sys

import pytest

PROGRAM = """
import numba.core.caching as caching
caching.CacheImpl._locator_classes = {locators}
from lab_pipeline.engine.compiled import compiled

@compiled
def doubled(value: float) -> float:
    return 2.0 * value

print(doubled(21.0), type(doubled._cache).__name__)
"""


@pytest.mark.parametrize(
    ("locators", "cache"), [("[]", "NullCache"), ("[caching.UserProvidedCacheLocator]", "FunctionCache")]
)
def test_with_and_without_a_place(tmp_path, locators, cache):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(locators=locators))
    environment = {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
    ended = subprocess.run(
        [sys.executable, str(program)], env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert ended.stderr == ""
    assert ended.stdout.split() == ["42.0", cache]
    assert (tmp_path / "cache").exists() == (cache == "FunctionCache")


TYPED = """
from typing import NamedTuple
from lab_pipeline.engine.compiled import compiled

class {name}(NamedTuple):
    value: float

@compiled
def doubled(number: {name}) -> float:
    return 2.0 * number.value

print(doubled({name}(21.0)))
"""


def test_code_of_an_earlier_version_whose_types_had_other_names_is_compiled_again(tmp_path):
    module = tmp_path / "typed.py"
    environment = {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
    for name in ("Number", "Figure"):
        module.write_text(TYPED.format(name=name))
        ended = subprocess.run(
            [sys.executable, "-c", "import typed"],
            env={**environment, "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert (ended.stdout, ended.stderr) == ("42.0\n", "")
