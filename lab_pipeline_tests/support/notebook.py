"""Execute a notebook as its kernel would, without one: cell by cell in IPython, and write down what is displayed.

Run as a program, it prints a list of what each code cell displays, a dictionary of text by MIME type for each.
"""

import json
import os
import subprocess
import sys
from pathlib import Path


def executed(path, directory, **environment):
    """Return what the code cells of a notebook display, in order; an error in one fails the test with its traceback."""
    command = [sys.executable, "-m", "lab_pipeline_tests.support.notebook", str(path)]
    variables = {**os.environ, "IPYTHONDIR": str(directory / "ipython"), **environment}
    variables["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).resolve().parents[2]), *sys.path])
    done = subprocess.run(command, cwd=directory, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return json.loads(done.stdout)


def cells(path):
    """Return the text of the code cells."""
    found = json.loads(Path(path).read_text())["cells"]
    return ["".join(cell["source"]) for cell in found if cell["cell_type"] == "code"]


def main(path):
    """Execute the cells and print what they display."""
    from IPython.core.interactiveshell import InteractiveShell  # noqa: PLC0415 - the program alone needs it
    from IPython.utils.capture import capture_output  # noqa: PLC0415 - as above
    from traitlets.config import Config  # noqa: PLC0415 - as above

    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    displayed = []
    for text in cells(path):
        with capture_output() as captured:
            result = shell.run_cell(text, store_history=False)
        if not result.success:
            print(captured.stdout, captured.stderr, file=sys.stderr)  # noqa: T201 - the error of the cell
            result.raise_error()
        shown = [] if result.result is None else [shell.display_formatter.format(result.result)[0]]
        displayed.append(shown[0] if shown else {})
    print(json.dumps(displayed))  # noqa: T201 - what it is for


if __name__ == "__main__":
    main(sys.argv[1])
