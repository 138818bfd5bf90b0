"""The servers that are measured: the site, its responses from memory, and the FastAPI app; and accounts to use them."""

import base64
import concurrent.futures
import http.client
import json
import os
import re
import secrets
import time
from urllib.parse import urlencode

from load import FORM, Request
from system import Failure, cpu, free_port, run, start, stop

PASSWORD = "violet kettle 9 harbour"


class Server:
    """A server on its own port."""

    def __init__(self, cluster, folder):
        self.cluster, self.folder, self.port = cluster, folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / f"{type(self).__name__.lower()}-{self.port}.log"
        self.process = None

    def begin(self, command, ready, environment=None, cwd=None):
        """Starts it; returns the seconds until its first response."""
        self.ready = ready
        begun = time.monotonic()
        self.process = start(command, self.log, env={**os.environ, **(environment or {})}, cwd=cwd or self.folder)
        while True:
            try:
                if self.send(ready).status < 500:
                    return time.monotonic() - begun
            except OSError:
                pass
            if self.process.poll() is not None or time.monotonic() > begun + 60:
                words = self.log.read_text().strip().splitlines()
                raise Failure(f"{command[0]} does not respond: {words[-1] if words else 'its log is empty'}")
            time.sleep(0.002)

    def send(self, request, connection=None):
        """The whole response, with `content` and `seconds`."""
        own = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        begun = time.perf_counter()
        try:
            own.request(request.method, request.path, request.body or None, request.headers)
            answer = own.getresponse()
            answer.content = answer.read()
            answer.seconds = time.perf_counter() - begun
            return answer
        finally:
            if connection is None:
                own.close()

    def settle(self):
        """Waits up to a minute until abandoned requests are finished: password hashes that no client waits for any more
        would slow down the next measurement."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                is_quick = self.send(self.ready).seconds < 0.1
            except OSError:
                is_quick = False
            # A server that responds at once may still be hashing.
            used = cpu(self.process.pid)
            time.sleep(0.1)
            if is_quick and cpu(self.process.pid) - used < 0.03:
                return

    def get(self, path, **headers):
        return self.send(Request(path, headers=headers))

    def forget_log(self):
        """Truncates the log: a line per request comes to gigabytes."""
        os.truncate(self.log, 0)

    def stop(self):
        if self.process:
            stop(self.process)
            self.process = None


class Site(Server):
    """The program with one database."""

    def __init__(self, program, database, folder):
        super().__init__(database.cluster, folder)
        self.program, self.database = program, database
        self.environment = {
            "DATABASE_URL": self.cluster.url(database.name), "RATE_LIMITS": "off", "JWT_SECRET": secrets.token_hex(32),
            "BASE_URL": self.url,
        }

    def start(self):
        return self.begin([self.program, "--listen", f"127.0.0.1:{self.port}"], Request("/"), self.environment)

    def pool(self):
        """The number of its connections to the database."""
        return int(self.database.sql("select count(*) from pg_stat_activity where datname = current_database() "
                                     "and application_name = 'social-post'")[0][0])

    def sign_up(self, name):
        """Creates an account; returns its session cookie."""
        fields = {"username": name, "email": f"{name}@example.org", "password": PASSWORD}
        for _ in range(30):
            answer = self.send(Request("/signup", "POST", FORM, urlencode(fields)))
            for cookie in answer.headers.get_all("set-cookie") or []:
                if found := re.match(r"((?:__Host-)?sid=[^;]+)", cookie):
                    return found[1]
            if answer.status != 503:
                break
            # Busy: the machine does other work.
            time.sleep(1)
        raise Failure(f"the site returned {answer.status} to a sign-up and set no session")

    def people(self, count):
        """Accounts that are logged in: name, id and cookie of each."""
        mark = f"{time.time_ns() // 1_000_000:x}"
        names = [f"bench-{mark}-{n}" for n in range(count)]
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            cookies = list(pool.map(self.sign_up, names))
        ids = dict(self.database.sql(f"select username, id from users where username like 'bench-{mark}-%'"))
        return [(name, int(ids[name]), cookie) for name, cookie in zip(names, cookies)]

    def walk(self, pages):
        """The URLs of the pages after the front page, up to that many."""
        found, path = [], "/"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        while len(found) < pages:
            older = re.search(rb'href="(/\?after=[^"]+)"', self.send(Request(path), connection).content)
            if not older:
                break
            path = older[1].decode().replace("&amp;", "&")
            found.append(path)
        connection.close()
        return found


class Memory(Server):
    """Responses of a site, repeated from memory by the site's own accept loop."""

    def __init__(self, program, cluster, folder):
        super().__init__(cluster, folder)
        self.program = program

    def start(self, site, requests):
        answers = []
        for request in requests:
            answer = site.send(request)
            # The server adds these itself.
            headers = [pair for pair in answer.headers.items() if pair[0].lower() not in ("date", "content-length", "transfer-encoding")]
            answers.append({"path": request.path, "encoding": request.headers.get("Accept-Encoding", ""),
                            "headers": headers, "body": base64.b64encode(answer.content).decode()})
        file = self.folder / "answers.json"
        file.write_text(json.dumps(answers))
        return self.begin([self.program, f"127.0.0.1:{self.port}", file], Request("/"))


class Peer(Server):
    """The FastAPI app in a folder with `venv/` and `fastapi/`, over the same database."""

    def __init__(self, place, database, folder):
        super().__init__(database.cluster, folder)
        self.python, self.app, self.database = place / "venv/bin/python", place / "fastapi", database
        if not self.python.exists() or not self.app.exists():
            raise Failure(f"{place} has no venv/bin/python or no fastapi/: see its README")
        self.environment = {
            "DATABASE_HOSTNAME": "127.0.0.1", "DATABASE_PORT": str(self.cluster.port), "DATABASE_NAME": database.name,
            "DATABASE_USERNAME": "postgres", "DATABASE_SCHEMA": "peer",
            # Its default of five would be a handicap: it has 40 threads.
            "DB_POOL": "40",
        }

    def start(self):
        database = self.database
        self.clear()
        database.cluster.psql(database.name, 1800, "-f", os.path.join(os.path.dirname(__file__), "../sql/peer.sql"))
        run([self.python, "seed_passwords.py", "peer"], 60, cwd=self.app, env={**os.environ, **self.environment})
        command = [self.python, "-m", "gunicorn", "app.main:app", "-w", os.cpu_count(), "-k", "uvicorn_worker.UvicornWorker",
                   "-b", f"127.0.0.1:{self.port}", "--log-level", "warning"]
        return self.begin(command, Request("/hello"), self.environment, self.app)

    def tokens(self, count):
        """Tokens of the users 1 to `count`."""
        def token(n):
            fields = urlencode({"username": f"user{n}@example.com", "password": "password1"})
            answer = self.send(Request("/login", "POST", {"Content-Type": "application/x-www-form-urlencoded"}, fields))
            return json.loads(answer.content)["access_token"]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            return list(pool.map(token, range(1, count + 1)))

    def clear(self):
        self.database.sql("drop schema if exists peer cascade; drop schema if exists app cascade")
