"""The site under test: the program with its own Postgres, or over a server that is started here."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import urllib.parse
from pathlib import Path

from ledger.process import Stopped, dies_with_us, free_port, postgres_owner, postgres_programs, ready, until

# Seconds. The program promises ten for its shutdown.
STOP_LIMIT = 15
# What the doctor says of a site for tests: chosen on purpose, or a matter of this machine.
EXPECTED_FINDINGS = {"rate-limits", "base-url", "disk"}


class Postgres:
    """A server for drills that are about more than one program. It ends with this process."""

    def __init__(self, directory, log):
        self.programs, self.data, self.log = postgres_programs(), Path(directory), log
        self.socket = tempfile.mkdtemp(prefix="postgres-")
        self.owner, self.child = postgres_owner(), None
        place = urllib.parse.quote(self.socket, safe="")
        self.url = f"postgres://social_post@localhost/social_post?host={place}"

    def start(self):
        if self.owner:
            self.data.mkdir(parents=True)
            for place in (self.data, self.socket):
                os.chown(place, self.owner["user"], self.owner["group"])
        with open(self.log, "ab") as log:
            made = subprocess.run(
                [self.programs / "initdb", "--no-sync", "-A", "trust", "-U", "postgres", "-D", self.data],
                cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self.owner,
            )
            if made.returncode:
                raise Stopped(f"initdb failed: see {self.log}")
            self.child = subprocess.Popen(
                [self.programs / "postgres", "-D", self.data, "-c", f"unix_socket_directories={self.socket}", "-c", "listen_addresses="],
                cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=dies_with_us, start_new_session=True, **self.owner,
            )
        until("Postgres", lambda: self.says("select 1"))
        for sql in ("create role social_post login", "create database social_post owner social_post"):
            if not self.says(sql):
                raise Stopped(f"cannot {sql}")

    def says(self, sql):
        command = [self.programs / "psql", "-X", "-h", self.socket, "-U", "postgres", "-c", sql]
        return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0

    def stop(self):
        if self.child and self.child.poll() is None:
            # Ends its connections at once.
            self.child.send_signal(signal.SIGINT)
            try:
                self.child.wait(20)
            except subprocess.TimeoutExpired:
                self.child.kill()
        shutil.rmtree(self.socket, ignore_errors=True)


class Site:
    """One process of the program, with its data below `directory`."""

    def __init__(self, directory, program, origin=None, settings=None, wrap=(), stderr=None):
        self.directory, self.program, self.wrap, self.stderr = Path(directory), program, list(wrap), stderr
        self.directory.mkdir(parents=True, exist_ok=True)
        # Postgres runs as another user, who has to reach its data.
        self.directory.chmod(0o755)
        self.data = self.directory / "data"
        self.log = self.directory / "site.log"
        self.port, self.child = free_port(), None
        self.connect = f"127.0.0.1:{self.port}"
        self.origin = origin or f"http://{self.connect}"
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "PG_BIN") if name in os.environ}
        self.settings = {
            **kept, "DATA_DIR": str(self.data), "LISTEN_ADDR": self.connect, "BASE_URL": self.origin,
            "RATE_LIMITS": "off", "NO_COLOR": "1", **(settings or {}),
        }

    def start(self):
        """Returns once it is ready."""
        with open(self.log, "ab") as log:
            self.child = subprocess.Popen(
                [*self.wrap, str(self.program), "serve"], cwd=self.directory, env=self.settings, stdin=subprocess.DEVNULL,
                stdout=log, stderr=self.stderr if self.stderr is not None else log, preexec_fn=dies_with_us, start_new_session=True,
            )
        until(f"the program (see {self.log})", lambda: self.child.poll() is not None or ready(self.port))
        if self.child.poll() is not None:
            raise Stopped(f"the program ended with {self.child.returncode}: {self.log_text()[-500:]}")

    def kill(self):
        self.child.kill()
        self.child.wait()

    def stop(self):
        """Ends it with SIGTERM: its exit code, or None if it had to be killed."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
        try:
            return self.child.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def clean_up(self):
        """Ends the program, and its Postgres where the program could not."""
        if self.child and self.child.poll() is None:
            self.stop()
        for pid in self.postgres_processes():
            signal_process(pid, signal.SIGCONT)
        if pid := self.postmaster():
            signal_process(pid, signal.SIGQUIT)
            try:
                until("Postgres to end", lambda: not is_alive(pid), 10)
            except Stopped:
                for one in self.postgres_processes():
                    signal_process(one, signal.SIGKILL)

    def run(self, *arguments, settings=None):
        """Another command of the program, to its end."""
        command = [str(self.program), *map(str, arguments)]
        return subprocess.run(
            command, cwd=self.directory, env={**self.settings, **(settings or {})}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=180,
        )

    def doctor(self):
        """What the doctor finds wrong, a line each."""
        try:
            done = self.run("doctor")
        except subprocess.TimeoutExpired:
            return ["doctor did not end within 180 s"]
        problems = re.findall(r"^problem: ([a-z-]+): (.*)$", done.stdout, re.M)
        lines = [f"doctor: {check}: {what}" for check, what in problems if check not in EXPECTED_FINDINGS]
        if done.returncode not in (0, 3):
            lines.append(f"doctor ended with {done.returncode}: {done.stderr[-300:]}")
        return lines

    def log_text(self):
        return self.log.read_text(errors="replace")

    def rss(self):
        """The program's memory in MB."""
        try:
            status = Path(f"/proc/{self.child.pid}/status").read_text()
            return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) // 1024
        except (OSError, TypeError):
            return 0

    def open_files(self):
        try:
            return len(os.listdir(f"/proc/{self.child.pid}/fd"))
        except OSError:
            return 0

    # --- The program's own Postgres ---

    @property
    def cluster(self):
        return (self.data / "postgres").resolve()

    def postmaster(self):
        try:
            pid = int((self.cluster / "postmaster.pid").read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return None
        return pid if "postgres" in command_line(pid) else None

    def postgres_processes(self):
        pid = self.postmaster()
        return [pid, *children(pid)] if pid else []

    def backends(self):
        """The server processes of the program's connections."""
        return [pid for pid in self.postgres_processes() if command_line(pid).startswith("postgres: social_post")]

    def accepts(self):
        """Whether Postgres takes a new connection."""
        return self.query("select 1")

    def query(self, sql):
        """Whether a statement succeeds on a new connection of Postgres' own user."""
        sockets = (self.cluster / "postmaster.pid").read_text().splitlines()[4:5] if self.postmaster() else []
        if not sockets:
            return False
        command = [postgres_programs() / "psql", "-XAtq", "-h", self.cluster / sockets[0], "-U", "postgres", "-d", "postgres", "-c", sql]
        owner = postgres_owner()
        try:
            return subprocess.run(command, cwd="/", capture_output=True, timeout=5, **owner).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def pg_ctl_stop(self, mode):
        """As an operator would, without waiting for the end."""
        command = [postgres_programs() / "pg_ctl", "stop", "-W", "-m", mode, "-D", self.cluster]
        subprocess.run(command, cwd="/", check=True, capture_output=True, **postgres_owner())


def command_line(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def children(pid):
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def signal_process(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
