"""Connections that misbehave: they hang up, dribble, idle or hold a stream, many at once, in a thread of their own."""

import asyncio
import json
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.parse
from collections import Counter
from pathlib import Path

from ledger.client import TIMEOUT, Server
from ledger.ledger import REFUSED, UNKNOWN
from ledger.process import dies_with_us

LOGIN_FORM = "application/x-www-form-urlencoded"


def head(server, method, path, length=None, content_type=LOGIN_FORM, **headers):
    """The head of a request as bytes."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {server.host}", f"Origin: {server.origin}"]
    if length is not None:
        lines += [f"Content-Type: {content_type}", f"Content-Length: {length}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Storm(threading.Thread):
    """`count` clients that each do `one(number)` again and again until `stop()`."""

    # At most so many begin each second, so that a start is not a burst.
    PER_SECOND = 1000

    def __init__(self, server, count):
        super().__init__(daemon=True)
        self.server, self.size, self.outcomes = server, count, Counter()
        # Connections that are open, and events that came over them, where the storm counts them.
        self.held, self.events = 0, 0
        self.halt = threading.Event()
        self.mistake = None

    def run(self):
        asyncio.run(self.main())

    async def main(self):
        tasks = [asyncio.create_task(self.life(number)) for number in range(self.size)]
        while not self.halt.is_set():
            await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def life(self, number):
        await asyncio.sleep(number / self.PER_SECOND)
        while not self.halt.is_set():
            try:
                await self.one(number)
            except (OSError, asyncio.IncompleteReadError) as err:
                self.outcomes[type(err).__name__] += 1
                await asyncio.sleep(0.2)
            except Exception as err:
                self.mistake = f"{type(err).__name__}: {err}"
                raise

    async def one(self, number):
        raise NotImplementedError

    async def connect(self, number):
        """From an address of its own below 127, so that local ports do not run out."""
        source = (f"127.1.{1 + number // 250 % 250}.{1 + number % 250}", 0)
        return await asyncio.open_connection(*self.server.address, local_addr=source)

    def stop(self):
        self.halt.set()
        self.join()


class HangUps(Storm):
    """Sends a random part of a request and hangs up; or sends all of it and reads a random part of the answer.

    `person` writes through its own session. A request that was cut must have no effect, a complete one may.
    """

    def __init__(self, server, count, crowd, people):
        super().__init__(server, count)
        self.crowd, self.people, self.chance = crowd, people, random.Random()

    def request(self, person):
        """The bytes, and the list of writes that it would add to, with the value."""
        ledger, session = self.crowd.ledger, person.credentials["page"].secret
        what = self.chance.choice(("read", "post", "vote", "post by the API"))
        if what == "read":
            return head(self.server, "GET", self.chance.choice(("/", "/new", "/search?q=ledger", self.crowd.stage[0])), Cookie=session), [], None
        if what == "vote":
            # Each person votes for a post of its own choice only, so that the order of its votes is known.
            body = b"value=1"
            post = self.chance.choice(self.crowd.stage)
            return head(self.server, "POST", f"{post}/vote", len(body), Cookie=session) + body, ledger.vote(person.name, post).writes, True
        title, text = self.crowd.new_title(), "Revision 0."
        post = ledger.post(person.name, title, text)
        if what == "post":
            body = urllib.parse.urlencode({"title": title, "url": "", "body": text}).encode()
            return head(self.server, "POST", "/posts", len(body), Cookie=session) + body, post.attempts, title
        body = json.dumps({"title": title, "body": text}).encode()
        token = person.credentials["api"].secret
        return head(self.server, "POST", "/api/v1/posts", len(body), "application/json", Authorization=f"Bearer {token}") + body, post.attempts, title

    async def one(self, number):
        ledger, person = self.crowd.ledger, self.people[number]
        request, writes, value = self.request(person)
        is_whole = self.chance.random() < 0.5
        length = len(request) if is_whole else self.chance.randrange(len(request))
        write = ledger.intend("hang-up", writes, value, by=person.name, of=len(request), sent=length)
        # Only what is never sent completely is known to have no effect.
        ledger.settle("hang-up", write, UNKNOWN if is_whole else REFUSED, by=person.name)
        reader, writer = await self.connect(number)
        writer.write(request[:length])
        await writer.drain()
        if is_whole and self.chance.random() < 0.7:
            async with asyncio.timeout(TIMEOUT):
                await reader.read(self.chance.randrange(1, 4000))
        else:
            await asyncio.sleep(self.chance.random() * 0.01)
        if self.chance.random() < 0.5:
            # A reset instead of an orderly end.
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()
        self.outcomes["whole" if is_whole else "cut"] += 1
        await asyncio.sleep(0.05)


class SlowBodies(Storm):
    """Bodies that arrive a byte a second, bodies that stop short of their end, and reads that announce a body."""

    async def one(self, number):
        kind = number % 4
        reader, writer = await self.connect(number)
        try:
            if kind == 0:
                path = random.choice(("/login", "/signup", "/api/v1/login"))
                writer.write(head(self.server, "POST", path, 4000) + b"login=")
                await self.until_answered(reader, writer, b"a")
            elif kind == 1:
                writer.write(head(self.server, "POST", "/login", 500_000) + b"a" * 499_900)
                await writer.drain()
                await self.until_answered(reader, writer, None)
            elif kind == 2:
                writer.write(head(self.server, "GET", random.choice(("/new", "/", "/top")), 1))
                await self.until_answered(reader, writer, None)
            else:
                writer.write(head(self.server, "POST", "/api/v1/users", 400_000, "application/json") + b'{"username":"')
                await self.until_answered(reader, writer, b"a" * 1000)
        finally:
            writer.close()

    async def until_answered(self, reader, writer, drop):
        """Sends `drop` each second until the site answers or hangs up."""
        answer = asyncio.ensure_future(reader.readline())
        while not (await asyncio.wait({answer}, timeout=1))[0]:
            if drop and not writer.is_closing():
                writer.write(drop)
        line = answer.result()
        self.outcomes[line.split()[1].decode() if line.startswith(b"HTTP") else "closed"] += 1


class Idle(Storm):
    """Keep-alive connections that ask once and then hold still until the site closes them."""

    async def one(self, number):
        reader, writer = await self.connect(number)
        try:
            writer.write(head(self.server, "GET", "/healthz"))
            await reader.readuntil(b"\r\n\r\n")
            self.held += 1
            try:
                while await reader.read(4096):
                    pass
            finally:
                self.held -= 1
            self.outcomes["closed"] += 1
        finally:
            writer.close()
        # All begin anew together, or there would never be as many at the same time.
        await asyncio.sleep(15)


class Streams(Storm):
    """Open pages: each holds a stream of `/live`, and comes back with `Last-Event-ID` when it ends."""

    def __init__(self, server, count):
        super().__init__(server, count)
        self.last = {}

    async def one(self, number):
        reader, writer = await self.connect(number)
        try:
            # The site trusts proxies on loopback: each stream is another client's.
            client = f"10.{number // 65536}.{number // 256 % 256}.{number % 256}"
            headers = {"X_Forwarded_For": client, "Accept": "text/event-stream"}
            if number in self.last:
                headers["Last_Event_ID"] = self.last[number]
            writer.write(head(self.server, "GET", "/live", **headers))
            status = (await reader.readuntil(b"\r\n\r\n")).split()[1]
            if status != b"200":
                self.outcomes[status.decode()] += 1
                await asyncio.sleep(1)
                return
            self.held += 1
            try:
                while line := await reader.readline():
                    if line.startswith(b"id: "):
                        self.last[number] = line[4:].strip().decode()
                        self.events += 1
            finally:
                self.held -= 1
            self.outcomes["ended"] += 1
            # As the stream told it to, spread as browsers do.
            await asyncio.sleep(2 * random.random())
        finally:
            writer.close()


class Closed(Storm):
    """A closed loop for overload: each client sends its next request when it has the answer to the last."""

    PER_SECOND = 2000

    def __init__(self, server, count, sessions, stage):
        super().__init__(server, count)
        self.sessions, self.stage, self.times, self.refusals = sessions, stage, [], []

    async def one(self, number):
        reader, writer = await self.connect(number)
        session = self.sessions[number % len(self.sessions)]
        try:
            while not self.halt.is_set():
                choice = random.random()
                if choice < 0.8:
                    request = head(self.server, "GET", "/", Cookie=session)
                elif choice < 0.95:
                    body = random.choice((b"value=0", b"value=1"))
                    request = head(self.server, "POST", f"{random.choice(self.stage)}/vote", len(body), Cookie=session) + body
                else:
                    body = urllib.parse.urlencode({"title": f"overload {random.random()}", "body": "Words."}).encode()
                    request = head(self.server, "POST", "/posts", len(body), Cookie=session) + body
                began = time.monotonic()
                writer.write(request)
                async with asyncio.timeout(TIMEOUT):
                    status, is_closed = await self.answer(reader)
                (self.refusals if status == 503 else self.times).append(time.monotonic() - began)
                self.outcomes[str(status)] += 1
                if status == 503:
                    # `Retry-After` says a second or more; these are less patient.
                    await asyncio.sleep(0.1)
                if is_closed:
                    return
        except TimeoutError:
            self.outcomes["no answer"] += 1
        finally:
            writer.close()

    async def answer(self, reader):
        """The status of an answer that is read to its end, and whether the connection ends with it."""
        top = (await reader.readuntil(b"\r\n\r\n")).lower()
        if b"\r\ntransfer-encoding: chunked" in top:
            while size := int((await reader.readline()).split(b";")[0], 16):
                await reader.readexactly(size + 2)
            await reader.readline()
        elif b"\r\ncontent-length: " in top:
            await reader.readexactly(int(top.split(b"\r\ncontent-length: ")[1].split(b"\r")[0]))
        return int(top.split()[1]), b"\r\nconnection: close" in top


class Remote:
    """A storm of the kind (`SlowBodies`, `Idle`, `Streams`, `Closed`) in a process of its own, so that the crowd's
    answers are not late because of it."""

    def __init__(self, kind, server, count, **more):
        self.kind, self.size = kind, count
        self.given = {"kind": kind, "url": server.origin, "connect": "{}:{}".format(*server.address), "count": count, **more}
        self.state = {"held": 0, "events": 0, "outcomes": {}, "mistake": None}

    def start(self):
        self.child = subprocess.Popen(
            [sys.executable, "-m", "ledger.storm"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}, preexec_fn=dies_with_us,
        )
        self.child.stdin.write(json.dumps(self.given) + "\n")
        self.child.stdin.flush()
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()

    def listen(self):
        for line in self.child.stdout:
            self.state = json.loads(line)

    @property
    def held(self):
        return self.state["held"]

    @property
    def events(self):
        return self.state["events"]

    def stop(self):
        self.child.stdin.close()
        self.thread.join()
        if self.child.wait():
            self.state["mistake"] = self.state["mistake"] or "the process of the storm failed"


def main():
    """The other end of `Remote`: a line of JSON on stdin, its state on stdout, until stdin ends."""
    given = json.loads(sys.stdin.readline())
    server = Server(given["url"], given["connect"])
    if given["kind"] == "Closed":
        storm = Closed(server, given["count"], given["sessions"], given["stage"])
    else:
        storm = {"SlowBodies": SlowBodies, "Idle": Idle, "Streams": Streams}[given["kind"]](server, given["count"])
    storm.start()
    end = threading.Thread(target=sys.stdin.read, daemon=True)
    end.start()

    def state(**more):
        print(json.dumps({"held": storm.held, "events": storm.events, "outcomes": storm.outcomes, "mistake": storm.mistake, **more}), flush=True)

    while end.is_alive():
        end.join(0.5)
        state()
    storm.stop()
    state(times=getattr(storm, "times", []), refusals=getattr(storm, "refusals", []))


if __name__ == "__main__":
    main()
