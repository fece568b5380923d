"""Locks, renames, fsyncs and what an error of the disk means are written once: in `lab_pipeline.files`."""

import ast
from pathlib import Path

import lab_pipeline

PACKAGE = Path(lab_pipeline.__file__).parent
OF_THE_KIT = {"fcntl", "os.replace", "os.rename", "os.fsync", "os.fdatasync", "Path.replace", "Path.rename"}
DISK_ERRORS = {"ENOSPC", "EDQUOT", "EROFS", "EXDEV"}
ELSEWHERE = {
    "forkserver/server.py": "a socket has no content; who finds it can connect",
    "lake/adoption.py": "finishes what an earlier version of the lab was killed in, and syncs the directory",
    "lake/store.py": "many files at once: the commit syncs each directory once",
    "lake/inbox.py": "a file that is taken is no promise: after a power cut it may lie where it was dropped",
}


def is_of_a_path(call: ast.Call) -> bool:
    """Tell `path.replace(other)` from `text.replace(a, b)`, `time.replace(hour=0)` and `values.replace(MEANINGS)`."""
    given = call.args[0] if len(call.args) == 1 and not call.keywords else None
    is_mapping = isinstance(given, ast.Dict | ast.DictComp) or (isinstance(given, ast.Name) and given.id.isupper())
    return given is not None and not is_mapping


def own_handling(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Attribute):
            if isinstance(node.value, ast.Name):
                found.add(f"{node.value.id}.{node.attr}")
            if node.attr in DISK_ERRORS:
                found.add("disk error")
        elif isinstance(node, ast.Call):
            function = node.func
            if isinstance(function, ast.Attribute) and function.attr in {"replace", "rename"} and is_of_a_path(node):
                found.add(f"Path.{function.attr}")
    return found & {*OF_THE_KIT, "disk error"}


def test_nobody_else_locks_syncs_or_replaces_files_or_reads_errors_of_the_disk():
    modules = [path for path in PACKAGE.rglob("*.py") if not path.is_relative_to(PACKAGE / "files")]
    found = {str(path.relative_to(PACKAGE)): own for path in modules if (own := own_handling(path))}
    assert found.keys() == ELSEWHERE.keys(), found
    assert set.union(*found.values()) <= {"Path.rename", "Path.replace"}, found
