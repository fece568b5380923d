"""A program that serves: `program.py DIRECTORY`; it ends for the reason that a file `end` in the directory holds.

It loads something later, once somebody writes to a pipe `later` in the directory.
"""

import gc
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

from lab_pipeline.forkserver.server import Awaited, Offer, serve

directory = Path(sys.argv[1])
gc.disable()


def tell(descriptor):
    found = {"arguments": sys.argv[1:], "environment": dict(os.environ), "cwd": str(Path.cwd()), "pid": os.getpid()}
    found |= {"session": os.getsid(0), "title": psutil.Process().cmdline(), "sent": os.read(descriptor, 100).decode()}
    found["collects"] = gc.isenabled()
    found["loaded"] = loaded
    found["open"] = len(list(Path("/proc/self/fd").iterdir()))
    found["begun_with"] = dict(one.split("=", 1) for one in begun_with() if "=" in one)
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stderr.write("to standard error" + "\n")


def begun_with():
    return Path("/proc/self/environ").read_bytes().decode(errors="replace").split("\0")


def leave_another(_):
    sys.stdout.write(f"{subprocess.Popen(['sleep', '60']).pid}\n")


def end(_):
    how = json.loads(sys.argv[1])
    if how == "raise":
        raise ValueError("as asked")
    sys.exit(how)


def reason():
    path = directory / "end"
    return path.read_text() if path.exists() else None


def have_a_thread():
    if (directory / "thread").exists() and threading.active_count() == 1:
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()


loaded = []
targets = {"tell": tell, "sleep": lambda _: time.sleep(60), "leave_another": leave_another, "end": end}
offers = {name: Offer(f"a {name}", target) for name, target in targets.items()}
offers |= {f"lasting_{name}": Offer("", target, lasts=True) for name, target in targets.items()}
if not (directory / "later").exists():
    os.mkfifo(directory / "later")
later = Awaited(os.open(directory / "later", os.O_RDONLY | os.O_NONBLOCK), lambda: loaded.append("something"))
sys.stdout.write(f"ended: {serve(directory, offers, lambda: have_a_thread() or reason(), later)}")
