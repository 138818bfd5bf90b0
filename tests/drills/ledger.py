#!/usr/bin/env python3
"""A load client with a ledger: it records each request, each acknowledgement, and what is stored at the end.

    tests/drills/ledger.py http://127.0.0.1:8000 --seconds 30 --check
    tests/drills/ledger.py https://social.test --connect 127.0.0.1:24443 --ca root.pem --seconds 60 --check

The people sign up by themselves, so the site runs with RATE_LIMITS=off.
They read, vote and post over keep-alive connections, 200 requests a second in all, at a fixed rate.
Each write is noted before it is sent, and is then acknowledged (a whole 2xx or 3xx), refused (4xx) or unknown.
Every answer that is not 2xx or 3xx, and every one that does not come, is a failure, shown with its time and reason.
A GET on a connection that the server has closed meanwhile is sent again, as browsers do; that is counted apart.

`--check` reads everything back: each acknowledged post is there once, none is there twice, each vote is as
acknowledged last, each score is the number of its voters.
The last line of stdout is the summary, in JSON. Exit code: 0 all is well, 1 it could not begin, 3 failures or losses.

As a module: `Crowd(url, ...)`, `.sign_up()`, `.start(seconds)`, `.stop()`, `.check()`, `.summary()`.
"""

import argparse
import gzip
import html
import http.client
import json
import random
import re
import select
import socket
import ssl
import sys
import threading
import time
import urllib.parse
import uuid
from datetime import datetime, timezone

PASSWORD = "violet kettle 9 harbour"
# The posts that everybody votes on.
STAGE = 40


class Broken(Exception):
    """No whole answer came."""


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def good(self):
        return 200 <= self.status < 400

    @property
    def text(self):
        body = self.body
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        return body.decode()


class TlsConnection(http.client.HTTPSConnection):
    """To another address than the name says, as curl's --connect-to."""

    def __init__(self, name, address, context, timeout, source):
        super().__init__(name, address[1], context=context, timeout=timeout)
        self.name, self.address, self.source = name, address, source

    def connect(self):
        plain = socket.create_connection(self.address, self.timeout, self.source)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = self._context.wrap_socket(plain, server_hostname=self.name)


class Browser:
    """One person's browser: cookies, and a connection that is kept."""

    def __init__(self, crowd, number):
        self.crowd, self.cookies, self.connection, self.is_reused = crowd, {}, None, False
        # On loopback everybody has an address of their own, as everywhere else.
        is_loopback = crowd.address[0].startswith("127.")
        self.source = (f"127.0.{1 + number // 250}.{1 + number % 250}", 0) if is_loopback else None

    def _open(self):
        crowd = self.crowd
        if crowd.tls:
            self.connection = TlsConnection(crowd.name, crowd.address, crowd.tls, crowd.timeout, self.source)
        else:
            self.connection = http.client.HTTPConnection(
                *crowd.address, timeout=crowd.timeout, source_address=self.source
            )
        self.is_reused = False
        self.connection.connect()
        self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def _has_been_closed(self):
        """An idle connection with something to read is one that the server has ended."""
        sock = self.connection.sock
        return sock is None or select.select([sock], [], [], 0)[0] != []

    def ask(self, method, path, fields=None):
        try:
            if self.connection and self._has_been_closed():
                self.close()
                self.crowd.count("reopened")
            if not self.connection:
                self._open()
            try:
                return self._exchange(method, path, fields)
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError, ssl.SSLEOFError) as err:
                # Only where a browser must: nothing came, and asking twice changes nothing.
                if not self.is_reused or method != "GET" or self.has_begun:
                    raise err
                self.close()
                self.crowd.count("retried_gets")
                self._open()
                return self._exchange(method, path, fields)
        except (OSError, http.client.HTTPException) as err:
            self.close()
            raise Broken(f"{type(err).__name__}: {err}") from err

    def _exchange(self, method, path, fields):
        self.has_begun = False
        headers = {
            "Host": self.crowd.host,
            "Accept": "text/html,application/xhtml+xml,*/*;q=0.8",
            "Accept-Encoding": "gzip",
            "User-Agent": "Mozilla/5.0 (ledger)",
        }
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        body = None
        if fields is not None:
            body = urllib.parse.urlencode(fields).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            headers["Origin"] = self.crowd.origin
        self.connection.request(method, path, body, headers)
        answer = self.connection.getresponse()
        self.has_begun = True
        body = answer.read()
        self.is_reused = True
        for line in answer.headers.get_all("set-cookie") or []:
            pair, *attributes = line.split(";")
            name, _, value = pair.partition("=")
            if any(attribute.strip().lower() == "max-age=0" for attribute in attributes):
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        if answer.will_close:
            self.close()
        return Reply(answer.status, {name.lower(): value for name, value in answer.headers.items()}, body)


class Person:
    def __init__(self, crowd, number):
        self.crowd, self.name = crowd, f"w{crowd.run}-{number}"
        self.browser = Browser(crowd, number)

    def enter(self, path, fields):
        for _ in range(30):
            try:
                reply = self.browser.ask("POST", path, fields)
            except Broken as err:
                complaint = str(err)
            else:
                if reply.status == 303:
                    return
                complaint = f"{reply.status} {words(reply)}"
                # A busy machine says so, and a sign-up whose answer was lost has been made.
                if reply.status not in (502, 503, 504):
                    break
            time.sleep(0.5)
        raise SystemExit(f"ledger.py: {self.name} cannot {path[1:]} at {self.crowd.origin}: {complaint}")

    def sign_up(self):
        self.enter("/signup", {"username": self.name, "email": f"{self.name}@example.org", "password": PASSWORD})

    def log_in(self):
        self.enter("/login", {"login": self.name, "password": PASSWORD})


def words(reply):
    """What a page of an error says."""
    try:
        text = re.sub(r"<(head|svg|header|footer)\b.*?</\1>|<[^>]*>", " ", reply.text, flags=re.S)
    except (OSError, UnicodeDecodeError):
        return ""
    return " ".join(html.unescape(text).split())[:120]


class Crowd:
    def __init__(self, url, connect=None, ca=None, workers=24, rate=200, timeout=20, mix=(70, 20, 10), ledger=None):
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SystemExit(f"ledger.py: {url!r} is no http or https address")
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self.host, self.name = parts.netloc, parts.hostname
        port = parts.port or (443 if parts.scheme == "https" else 80)
        place = connect.rsplit(":", 1) if connect else (self.name, port)
        self.address = (place[0], int(place[1]))
        self.tls = None
        if parts.scheme == "https":
            self.tls = ssl.create_default_context(cafile=ca)
            self.tls.set_alpn_protocols(["http/1.1"])
        self.rate, self.timeout, self.mix = rate, timeout, mix
        self.run = uuid.uuid4().hex[:10]
        self.people = [Person(self, n) for n in range(workers)]
        self.lock = threading.Lock()
        self.file = open(ledger, "w", encoding="utf-8") if ledger else None
        self.counts = {"reopened": 0, "retried_gets": 0}
        self.requests = {"read": 0, "vote": 0, "post": 0}
        self.times, self.failures, self.ack_times = [], [], []
        self.stage = []
        # Title: acknowledged address, None when unknown, False when refused.
        self.posts = {}
        # Person and post: the acknowledged value, None when unknown.
        self.votes = {}
        self.sequence = 0
        self.began = self.ended = 0
        self.threads, self.halt, self.checked = [], threading.Event(), None

    def count(self, what):
        with self.lock:
            self.counts[what] += 1

    def note(self, **entry):
        if self.file:
            with self.lock:
                self.file.write(json.dumps({"at": now(), **entry}) + "\n")

    def sign_up(self):
        """Everybody signs up and publishes what the others will vote on."""
        for person in self.people:
            person.sign_up()
        for n in range(STAGE):
            person = self.people[n % len(self.people)]
            for _ in range(30):
                address = self.publish(person)
                if address:
                    break
            else:
                raise SystemExit("ledger.py: cannot publish a post to begin with")
            self.stage.append(address)
        with self.lock:
            self.failures.clear()
            self.times.clear()
            self.ack_times.clear()
            self.requests.update(dict.fromkeys(self.requests, 0))

    def start(self, seconds=None):
        self.began = time.monotonic()
        self.until = self.began + seconds if seconds else float("inf")
        self.tickets = 0
        self.threads = [threading.Thread(target=self.live, args=(person,), daemon=True) for person in self.people]
        for thread in self.threads:
            thread.start()

    def wait(self):
        for thread in self.threads:
            thread.join()
        self.ended = time.monotonic()
        for person in self.people:
            person.browser.close()

    def stop(self):
        self.halt.set()
        self.wait()

    def due(self):
        """When the next request is to be sent: at the rate, but nothing is made up for after a long halt."""
        with self.lock:
            at = self.began + self.tickets / self.rate
            late = time.monotonic() - at
            if late > 1:
                self.tickets += int(late * self.rate)
                at += late
            self.tickets += 1
            return at

    def live(self, person):
        chance = random.Random(person.name)
        while not self.halt.is_set():
            at = self.due()
            if at >= self.until:
                return
            if self.halt.wait(max(0, at - time.monotonic())):
                return
            act = chance.choices(("read", "vote", "post"), self.mix)[0]
            if act == "read":
                self.look(person, chance)
            elif act == "vote":
                self.vote(person, chance.choice(self.stage), chance)
            else:
                self.publish(person)

    def ask(self, kind, person, method, path, fields=None):
        """The answer, or None; a failure is noted either way."""
        began = time.monotonic()
        try:
            reply, reason = person.browser.ask(method, path, fields), None
            if not reply.good:
                reason = f"{reply.status} {words(reply)}"
        except Broken as err:
            reply, reason = None, str(err)
        took = time.monotonic() - began
        with self.lock:
            self.requests[kind] += 1
            self.times.append(took)
            if reason:
                failure = {"at": now(), "second": round(began - self.began, 2) if self.began else 0}
                failure.update(what=f"{method} {path}", took=round(took, 3), reason=reason)
                self.failures.append(failure)
        if reason:
            self.note(failed=f"{method} {path}", reason=reason, took=round(took, 3))
            if len(self.failures) <= 50:
                print(f"ledger: {now()} {method} {path} after {took:.2f} s: {reason}", file=sys.stderr)
        return reply

    def look(self, person, chance):
        path = chance.choice(
            ("/", "/", "/new", "/top", "/search?q=ledger", f"/users/{chance.choice(self.people).name}",
             chance.choice(self.stage), chance.choice(self.stage))
        )
        self.ask("read", person, "GET", path)

    def vote(self, person, post, chance):
        value = chance.choice("01")
        self.note(intent="vote", by=person.name, post=post, value=value)
        reply = self.ask("vote", person, "POST", f"{post}/vote", {"value": value})
        outcome = self.outcome(reply)
        self.note(vote=outcome, by=person.name, post=post, value=value)
        with self.lock:
            if outcome == "ack":
                self.votes[person.name, post] = value
            elif outcome == "unknown":
                self.votes[person.name, post] = None

    def publish(self, person):
        """Opens the form and sends it, as a person would; the new post's path, or None."""
        form = self.ask("read", person, "GET", "/posts/new")
        key = form and form.status == 200 and re.search(r'name="key" value="([^"]+)"', form.text)
        if not key:
            return None
        with self.lock:
            self.sequence += 1
            title = f"ledger {self.run} {self.sequence}"
            self.posts[title] = None
        self.note(intent="post", by=person.name, title=title)
        fields = {"key": key[1], "title": title, "url": "", "body": "A text of **some** length. " * 4}
        reply = self.ask("post", person, "POST", "/posts", fields)
        outcome = self.outcome(reply)
        address = reply.headers.get("location", "") if outcome == "ack" else None
        self.note(post=outcome, by=person.name, title=title, address=address)
        with self.lock:
            self.posts[title] = {"ack": address, "refused": False, "unknown": None}[outcome]
        return address

    def outcome(self, reply):
        """A 5xx may have been done all the same: the site finishes what it answers too late."""
        if reply is None or reply.status >= 500:
            return "unknown"
        if not reply.good:
            return "refused"
        with self.lock:
            self.ack_times.append(time.monotonic())
        return "ack"

    def read_back(self, person, path):
        """A page, with retries; None when it does not exist."""
        for _ in range(60):
            try:
                reply = person.browser.ask("GET", path)
            except Broken as err:
                reason = str(err)
            else:
                if reply.status == 200:
                    return reply.text
                if reply.status == 404:
                    return None
                reason = f"{reply.status} {words(reply)}"
            time.sleep(1)
        raise SystemExit(f"ledger.py: cannot read {path} back: {reason}")

    def check(self):
        """What is not as it was acknowledged, a sentence each."""
        wrong, seen = [], {}
        for person in self.people:
            path = f"/users/{person.name}"
            while path:
                page = self.read_back(person, path) or ""
                for post, title in re.findall(r'<article class="post" id="post-(\d+)">\s*<h2[^>]*><a [^>]*>([^<]*)</a>', page):
                    seen.setdefault(html.unescape(title), set()).add(f"/posts/{post}")
                more = re.search(r'rel="next" href="([^"]+)"', page)
                path = more and html.unescape(more[1])
        for title, address in self.posts.items():
            there = seen.get(title, set())
            if address and there != {address}:
                wrong.append(f"{title!r} was acknowledged as {address} and is at {sorted(there) or 'no address'}")
            elif address is False and there:
                wrong.append(f"{title!r} was refused and is at {sorted(there)}")
            elif len(there) > 1:
                wrong.append(f"{title!r} is there {len(there)} times: {sorted(there)}")
        for title in seen.keys() - self.posts.keys():
            wrong.append(f"{title!r} was never written")
        acked = [(title, address) for title, address in self.posts.items() if address]
        for title, address in random.sample(acked, min(len(acked), 200)):
            if f"<h1 dir=\"auto\">{title}</h1>" not in (self.read_back(self.people[0], address) or ""):
                wrong.append(f"{address} does not show {title!r}")

        voters = {post: 0 for post in self.stage}
        shown = {}
        for person in self.people:
            if 'action="/logout"' not in (self.read_back(person, "/") or ""):
                person.log_in()
            for post in self.stage:
                number = post.rsplit("/", 1)[1]
                page = self.read_back(person, post) or ""
                pressed = re.search(rf'id="vote-button-{number}"[^>]* aria-pressed="(true|false)"', page)
                score = re.search(rf'id="score-{number}"[^>]*>(\d+)<', page)
                if not pressed or not score:
                    wrong.append(f"{post} shows {person.name} no vote")
                    continue
                has_voted, noted = pressed[1] == "true", self.votes.get((person.name, post), "0")
                voters[post] += has_voted
                shown.setdefault(post, set()).add(int(score[1]))
                if noted is not None and has_voted != (noted == "1"):
                    wrong.append(f"{person.name}'s vote on {post} was acknowledged as {noted} and is not")
        for post, count in voters.items():
            if shown.get(post) != {count}:
                wrong.append(f"{post} has {count} voters and shows {sorted(shown.get(post, ()))}")
        for person in self.people:
            person.browser.close()
        self.checked = wrong
        return wrong

    def summary(self):
        times = sorted(self.times) or [0]
        seconds = max((self.ended or time.monotonic()) - self.began, 0.001) if self.began else 0
        acks = [self.began, *self.ack_times, *([self.ended] if self.ended else [])] if self.began else [0]
        gap, after = max(((b - a, a) for a, b in zip(acks, acks[1:])), default=(0, self.began))
        requests = sum(self.requests.values())
        return {
            "seconds": round(seconds, 1),
            "requests": requests,
            "per_second": round(requests / seconds, 1) if seconds else 0,
            **self.requests,
            "failed": len(self.failures),
            "reasons": tally(failure["reason"] for failure in self.failures),
            "first_failure": self.failures[0]["second"] if self.failures else None,
            "last_failure": self.failures[-1]["second"] if self.failures else None,
            **self.counts,
            "posts_acknowledged": sum(1 for address in self.posts.values() if address),
            "posts_unknown": sum(1 for address in self.posts.values() if address is None),
            "votes_unknown": sum(1 for value in self.votes.values() if value is None),
            "longest_gap_between_acknowledged_writes": round(gap, 2),
            "that_gap_began_at": round(after - self.began, 2),
            "p50_ms": round(times[len(times) // 2] * 1000),
            "p99_ms": round(times[int(len(times) * 0.99)] * 1000),
            "max_ms": round(times[-1] * 1000),
            "wrong": None if self.checked is None else len(self.checked),
        }


def now():
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def tally(reasons):
    counts = {}
    for reason in reasons:
        counts[reason[:100]] = counts.get(reason[:100], 0) + 1
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="the site's public origin")
    parser.add_argument("--connect", metavar="HOST:PORT", help="where to connect instead of where the name leads")
    parser.add_argument("--ca", metavar="FILE", help="the certificate authority to trust (PEM)")
    parser.add_argument("--seconds", type=float, help="how long; until SIGINT when not given")
    parser.add_argument("--rate", type=float, default=200, help="requests a second in all (200)")
    parser.add_argument("--workers", type=int, default=24, help="people, each with a connection (24)")
    parser.add_argument("--mix", default="70,20,10", help="reading, voting, posting (70,20,10)")
    parser.add_argument("--timeout", type=float, default=20, help="seconds until no answer is a failure (20)")
    parser.add_argument("--ledger", metavar="FILE", help="every intent and outcome, a line of JSON each")
    parser.add_argument("--check", action="store_true", help="read everything back at the end")
    given = parser.parse_args()

    mix = [int(part) for part in given.mix.split(",")]
    crowd = Crowd(given.url, given.connect, given.ca, given.workers, given.rate, given.timeout, mix, given.ledger)
    crowd.sign_up()
    print("ledger: begins", file=sys.stderr, flush=True)
    crowd.start(given.seconds)
    try:
        crowd.wait()
    except KeyboardInterrupt:
        crowd.stop()
    for line in crowd.check() if given.check else []:
        print(f"ledger: {line}", file=sys.stderr)
    summary = crowd.summary()
    print(json.dumps(summary))
    sys.exit(3 if summary["failed"] or summary["wrong"] else 0)


if __name__ == "__main__":
    try:
        main()
    except (OSError, Broken) as err:
        raise SystemExit(f"ledger.py: {err}") from err
