"""A Postgres of our own for tests, from whatever Debian's packages or a PATH offer."""

import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest


def binaries():
    """Return the directory of initdb and pg_ctl, or None."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    found = shutil.which("initdb")
    for directory in [*installed, *([Path(found).resolve().parent] if found else [])]:
        if (directory / "initdb").exists() and (directory / "pg_ctl").exists():
            return directory
    return None


@contextmanager
def cluster():
    """Run a cluster that listens on a socket alone; yields what makes a new database and returns its URL."""
    pytest.importorskip(
        "dagster_postgres", reason="dagster-postgres is not installed: pip install 'lab-pipeline[postgres]'"
    )
    psycopg2 = pytest.importorskip("psycopg2")
    programs = binaries()
    if programs is None:
        pytest.skip("no Postgres: apt-get install postgresql")
    user = {"user": _unprivileged()} if os.getuid() == 0 else {}
    home = Path(tempfile.mkdtemp(prefix="lab-postgres-"))
    data = home / "data"
    options = f"-c listen_addresses= -c unix_socket_directories={home} -c fsync=off"
    try:
        if user:
            shutil.chown(home, user["user"])
        quiet = {"stdout": subprocess.DEVNULL, "cwd": "/", **user}
        subprocess.run([programs / "initdb", "-D", data, "-U", "lab", "-A", "trust", "--no-sync"], check=True, **quiet)
        subprocess.run(
            [programs / "pg_ctl", "-D", data, "-l", home / "log", "-w", "-o", options, "start"], check=True, **quiet
        )

        def database():
            name = f"lab_{uuid4().hex[:12]}"
            connection = psycopg2.connect(host=str(home), user="lab", dbname="postgres")
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(f"CREATE DATABASE {name}")
            connection.close()
            return f"postgresql+psycopg2://lab@/{name}?host={home}"

        try:
            yield database
        finally:
            subprocess.run([programs / "pg_ctl", "-D", data, "-m", "immediate", "stop"], check=True, **quiet)
    finally:
        shutil.rmtree(home)


def _unprivileged():
    """Return a user that Postgres may run as, which root is not."""
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"
