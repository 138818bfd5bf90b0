"""Finds programs, starts processes that end with this one, and waits for them."""

import ctypes
import glob
import os
import pwd
import shutil
import signal
import socket
import sys
import time
import urllib.request
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
# Seconds; what takes longer never comes.
PATIENCE = 180


class Stopped(Exception):
    """The test cannot begin or go on; the message says why."""


def program():
    """The site's program: $PROGRAM, or what was built last."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", PROJECT / "target"))
    built = [target / kind / "social-post" for kind in ("release", "debug")]
    built = [Path(os.environ["PROGRAM"]).resolve()] if "PROGRAM" in os.environ else [path for path in built if path.exists()]
    if not built:
        raise Stopped("there is no program yet: run 'cargo build' first")
    return max(built, key=lambda path: path.stat().st_mtime)


def postgres_programs():
    """The directory of `initdb`, `pg_ctl` and `postgres`."""
    places = [os.environ.get("PG_BIN"), *sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)]
    initdb = shutil.which("initdb")
    places += [os.path.dirname(initdb)] if initdb else []
    for place in places:
        if place and os.access(f"{place}/initdb", os.X_OK):
            return Path(place)
    raise Stopped("no Postgres server programs here: install Postgres, or set PG_BIN")


def postgres_owner():
    """The arguments of `Popen` that run a command as the user of Postgres, which does not run as root."""
    if os.geteuid() != 0:
        return {}
    person = pwd.getpwnam("postgres")
    return {"user": person.pw_uid, "group": person.pw_gid, "extra_groups": []}


def dies_with_us(parent=os.getpid()):
    """In a child before it runs: SIGTERM for it when this process ends, however that happens."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)


def until(what, condition, patience=PATIENCE):
    """Waits for the condition and returns what it returned."""
    began = time.monotonic()
    while not (found := condition()):
        if time.monotonic() - began > patience:
            raise Stopped(f"waited {patience} s in vain for {what}")
        time.sleep(0.05)
    return found


def listens(port):
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def ready(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as answer:
            return answer.status == 200
    except OSError:
        return False


def say(*words):
    print(*words, file=sys.stderr, flush=True)
