"""The benchmark's own Postgres cluster, with production's durability, and the data sets in it."""

import concurrent.futures
import glob
import hashlib
import json
import os
import pwd
import re
import shutil
import signal
import tempfile
import time
from pathlib import Path

from system import Failure, free_port, run, say, start, stop

HERE = Path(__file__).resolve().parent.parent
ROOT = HERE.parent
SETTINGS = {
    "shared_buffers": "1GB", "effective_cache_size": "8GB", "max_wal_size": "4GB", "random_page_cost": "1.1",
    "max_connections": "400", "autovacuum_naptime": "20s",
    # To find out which statements a request executes: see `Database.statements`.
    "logging_collector": "on", "log_destination": "jsonlog", "log_directory": "log", "log_filename": "log",
    "log_rotation_age": "0", "log_rotation_size": "0",
}
# While generating data only: an interrupted generation starts again.
IN_HASTE = {"fsync": "off", "full_page_writes": "off", "autovacuum": "off"}


def programs():
    """The directory of the Postgres programs."""
    from_path = shutil.which("postgres")
    places = [os.environ.get("PG_BIN"), from_path and os.path.dirname(from_path)]
    for pattern in ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/libexec/postgresql*",
                    "/opt/homebrew/opt/postgresql@*/bin", "/usr/local/opt/postgresql@*/bin"):
        places += sorted(glob.glob(pattern), reverse=True)
    wanted = ("initdb", "postgres", "psql", "pgbench")
    for place in filter(None, places):
        if all(os.access(os.path.join(place, name), os.X_OK) for name in wanted):
            return Path(place)
    raise Failure(f"no directory has all of {', '.join(wanted)}: install Postgres with its contrib programs, or set PG_BIN")


class Cluster:
    def __init__(self, folder):
        self.bin = programs()
        self.folder = folder / "postgres"
        self.socket = Path(tempfile.mkdtemp(prefix="social-post-bench-"))
        self.port = free_port()
        self.process = None
        # Postgres does not run as root.
        self.owner = None
        if os.geteuid() == 0:
            try:
                self.owner = pwd.getpwnam("postgres")
            except KeyError:
                self.owner = pwd.getpwnam("nobody")
            os.chown(self.socket, self.owner.pw_uid, self.owner.pw_gid)

    def _as_owner(self):
        if self.owner is None:
            return {}
        return {"user": self.owner.pw_uid, "group": self.owner.pw_gid, "extra_groups": [], "cwd": "/"}

    def make(self):
        if (self.folder / "PG_VERSION").exists():
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        if self.owner:
            os.chown(self.folder, self.owner.pw_uid, self.owner.pw_gid)
        try:
            run([self.bin / "initdb", "-D", self.folder, "-U", "postgres", "-A", "trust", "-E", "UTF8",
                 "--locale=C.UTF-8", "--no-sync"], 120, **self._as_owner())
        except PermissionError:
            raise Failure(f"the user {self.owner.pw_name} cannot enter {self.folder}: "
                          "set CARGO_TARGET_DIR to a directory that every user may enter") from None

    def start(self, in_haste=False):
        self._end_leftover()
        settings = {**SETTINGS, **(IN_HASTE if in_haste else {}), "listen_addresses": "127.0.0.1",
                    "port": self.port, "unix_socket_directories": self.socket}
        command = [self.bin / "postgres", "-D", self.folder]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        self.process = start(command, self.socket / "start.log", **self._as_owner())
        # A fast shutdown: sessions are ended, nothing is lost.
        self.process.gentle = signal.SIGINT
        until = time.monotonic() + 120
        while True:
            try:
                self.sql("select 1")
                return
            except Failure as failure:
                if self.process.poll() is not None or time.monotonic() > until:
                    words = (self.socket / "start.log").read_text().strip().splitlines()
                    raise Failure(f"Postgres does not start: {words[-1] if words else failure}") from None
                time.sleep(0.1)

    def _end_leftover(self):
        """A run that was killed may have left its Postgres running."""
        try:
            pid = int((self.folder / "postmaster.pid").read_text().splitlines()[0])
            if os.readlink(f"/proc/{pid}/cwd") == str(self.folder):
                say(f"stopping the Postgres that an earlier run left behind (process {pid})")
                os.kill(pid, signal.SIGINT)
                until = time.monotonic() + 60
                while os.path.exists(f"/proc/{pid}") and time.monotonic() < until:
                    time.sleep(0.2)
        except (OSError, ValueError, IndexError):
            pass

    def stop(self):
        if self.process:
            stop(self.process, signal.SIGINT, 120)
            self.process = None

    def close(self):
        self.stop()
        shutil.rmtree(self.socket, ignore_errors=True)

    def rest(self):
        """Waits up to five minutes until autovacuum has finished the work left by earlier measurements."""
        until = time.monotonic() + 300
        while time.monotonic() < until and self.sql("select 1 from pg_stat_activity where backend_type = 'autovacuum worker'"):
            time.sleep(2)

    def url(self, database):
        return f"postgres://postgres@localhost:{self.port}/{database}?host={self.socket}"

    def psql(self, database, seconds, *arguments, **variables):
        command = [self.bin / "psql", "--no-psqlrc", "-qAt", "-v", "ON_ERROR_STOP=1", "-h", self.socket,
                   "-p", self.port, "-U", "postgres", "-d", database]
        for name, value in variables.items():
            command += ["-v", f"{name}={value}"]
        return run([*command, *arguments], seconds, env={**os.environ, "PGCONNECT_TIMEOUT": "10"})

    def sql(self, statement, database="postgres", seconds=600):
        """The rows, as lists of text."""
        answer = self.psql(database, seconds, "-F", "\t", "-c", statement)
        return [line.split("\t") for line in answer.splitlines()]

    def version(self):
        return self.sql("show server_version")[0][0].split(" ")[0]


class Database:
    """The data set of one size."""

    def __init__(self, cluster, posts):
        self.cluster, self.posts = cluster, posts
        self.people = min(max(posts // 20, 1000), 100_000)
        parts = sorted(ROOT.glob("migrations/*.up.sql")) + [HERE / "sql" / f"{name}.sql" for name in ("before", "posts", "after")] + [HERE / "words.txt"]
        made_of = hashlib.sha256(b"".join(part.read_bytes() for part in parts)).hexdigest()[:8]
        self.name = f"posts_{posts}_{made_of}"

    def sql(self, statement, seconds=600):
        return self.cluster.sql(statement, self.name, seconds)

    def exists(self):
        return [self.name] in self.cluster.sql("select datname from pg_database")

    def make(self, program, environment):
        """Takes about 5 minutes per million posts on two cores; kept for the next run."""
        begun, cluster, draft = time.monotonic(), self.cluster, "posts_draft"
        for (old,) in cluster.sql(f"select datname from pg_database where starts_with(datname, 'posts_{self.posts}_') or datname = '{draft}'"):
            cluster.sql(f'drop database "{old}" with (force)')
        # The rows and their indexes, the write-ahead log, and temporary files of sorts.
        need = self.posts * 5_500 + 5_000_000_000
        if shutil.disk_usage(cluster.folder).free < need:
            raise Failure(f"{self.posts:,} posts need {need / 1e9:.0f} GB of disk below {cluster.folder}")
        cluster.sql(f"create database {draft}")
        run([program, "migrate", "up"], 120, env={**environment, "DATABASE_URL": cluster.url(draft)}, cwd=cluster.socket)
        words = " ".join((HERE / "words.txt").read_text().split())
        numbers = {"posts": self.posts, "users": self.people, "words": words, "now": time.strftime("%Y-%m-%d %H:%M:%S%z"),
                   # A prime that divides neither number.
                   "stride": next(p for p in (7919, 104_729, 1_299_709) if self.posts % p and self.people % p)}

        def step(file, **more):
            cluster.psql(draft, 3600, "-f", HERE / "sql" / file, **numbers, **more)

        step("before.sql")
        share = 25_000
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda first: step("posts.sql", first=first, last=min(first + share - 1, self.posts)),
                          range(1, self.posts + 1, share)))
        step("after.sql")
        cluster.sql(f'alter database {draft} rename to "{self.name}"')
        say(f"made {self.posts:,} posts in {time.monotonic() - begun:.0f} seconds: {self.size()}")

    def size(self):
        votes, size = self.sql("select sum(score), pg_size_pretty(pg_database_size(current_database())) from post_ranks")[0]
        return f"{self.people:,} people, {int(votes):,} votes, {size}"

    def reset(self):
        self.cluster.psql(self.name, 1800, "-f", HERE / "sql" / "reset.sql", users=self.people)

    def mismatches(self):
        """The number of posts that the benchmark voted for and whose score differs from the number of their votes."""
        return int(self.sql(f"""
            select count(*) from post_ranks r
            where post_id in (select post_id from votes where user_id > {self.people})
                and score <> (select count(*) from votes v where v.post_id = r.post_id)""")[0][0])

    def statements(self, ask):
        """The statements the site executes while `ask` runs, each with its values, from the server's own log."""
        log = self.cluster.folder / "log" / "log.json"

        def switch(value):
            self.cluster.sql(f"alter system set log_statement = '{value}'")
            self.cluster.sql("select pg_reload_conf()")
            time.sleep(0.3)

        switch("all")
        try:
            begin = log.stat().st_size
            ask()
            time.sleep(0.3)
        finally:
            switch("none")
        found = []
        with open(log) as lines:
            lines.seek(begin)
            for line in lines:
                entry = json.loads(line)
                text = re.match(r"execute [^:]*: (.*)", entry.get("message", ""), re.S)
                if entry.get("application_name") == "social-post" and entry.get("dbname") == self.name and text:
                    found.append((text[1], _values(entry.get("detail", ""))))
        return found


def _values(detail):
    """`parameters: $1 = '5', $2 = NULL` as a dictionary; `None` for NULL."""
    pairs = re.findall(r"\$(\d+) = (?:(NULL)|'((?:[^']|'')*)')", detail)
    return {int(n): None if null else text.replace("''", "'") for n, null, text in pairs}


def as_pgbench(statements, names):
    """A pgbench script of the same statements, and the values it needs: those in `names` as variables, all others
    as constants."""
    script, constants = [], {}
    for number, (text, values) in enumerate(statements):
        def variable(match):
            value = values[int(match[1])]
            if value is None:
                return "null"
            if value in names:
                return f":{names[value]}"
            constants[f"s{number}p{match[1]}"] = value
            return f":s{number}p{match[1]}"
        script.append(re.sub(r"\$(\d+)", variable, text.strip().rstrip(";")) + ";")
    return "\n".join(script) + "\n", constants
