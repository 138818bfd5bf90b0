"""Many members who act at a fixed rate, visitors who read, and the check of everything at the end.

    PYTHONPATH=tests python3 -m ledger.crowd http://127.0.0.1:8000 --seconds 30 --check
    PYTHONPATH=tests python3 -m ledger.crowd https://social.test --connect 127.0.0.1:24443 --ca root.pem --seconds 60 --check

The people sign up by themselves, so the site runs with RATE_LIMITS=off and without e-mail. Every answer that is not
2xx or 3xx, and every one that does not come, is a failure, shown with its time and reason. A GET on a connection that
the server has closed meanwhile is sent again, as browsers do; that is counted apart.
The last line of stdout is the summary, in JSON. Exit code: 0 all is well, 1 it could not begin, 3 failures or losses.
"""

import argparse
import html
import json
import random
import re
import sys
import threading
import time
import uuid
from collections import Counter
from datetime import datetime, timezone

from ledger.client import TIMEOUT, Broken, Client, Server
from ledger.ledger import ACKNOWLEDGED, REFUSED, UNKNOWN, Finding, Ledger
from ledger.people import API, FACES, Person
from ledger.process import Stopped

# The posts that everybody votes on.
STAGE = 40
# How many newcomers' passwords are tried at the end: each costs the site a hash.
NEWCOMERS_TRIED = 40
# Seconds between two actions that cost a password hash, of all members together: the drills are not about those, and
# one takes a tenth of a second.
HASH_PAUSE = 0.7
# Seconds for which one read of the check is tried again.
READ_LIMIT = 60
# Seconds; the site's tokens are valid for half an hour.
TOKEN_LIFETIME = 25 * 60


class Crowd:
    def __init__(self, url, connect=None, ca=None, workers=24, rate=200, timeout=TIMEOUT, visitors=0, ledger=None, tokens_may_expire=False, searches=True):
        self.server = Server(url, connect, ca, timeout)
        self.rate, self.tokens_may_expire, self.searches = rate, tokens_may_expire, searches
        self.ledger = Ledger(ledger)
        self.run = uuid.uuid4().hex[:8]
        self.lock = threading.Lock()
        self.sequence, self.next_hash = 0, 0
        self.counts, self.requests = Counter(), Counter()
        # Of each request: (kind, begun, took, None or how it failed).
        self.answers, self.failures = [], []
        self.newcomers, self.stage = [], []
        # Members for whom something else than this crowd acts; they are checked like the others.
        self.bystanders = []
        self.people = [Person(self, f"w{self.run}-{n}", n) for n in range(workers)]
        self.visitors = [Client(self.server, 210 + n, self.count) for n in range(visitors)]
        self.began, self.ended, self.mistakes = 0, 0, []
        self.until = float("inf")
        self.threads, self.halt, self.checked = [], threading.Event(), None

    def count(self, what):
        with self.lock:
            self.counts[what] += 1

    def next_number(self):
        with self.lock:
            self.sequence += 1
            return self.sequence

    def new_title(self):
        return f"ledger {self.run} {self.next_number()}"

    def new_name(self):
        return f"n{self.run}-{self.next_number()}"

    def may_expire(self, credential):
        is_old = time.monotonic() - credential.opened_at > TOKEN_LIFETIME
        return credential.kind == "token" and (is_old or self.tokens_may_expire)

    def may_hash(self):
        with self.lock:
            if time.monotonic() < self.next_hash:
                return False
            self.next_hash = time.monotonic() + HASH_PAUSE
            return True

    # --- The load ---

    def sign_up(self):
        """Everybody signs up and publishes what the others will vote on."""
        for person in self.people:
            person.sign_up_self()
        for n in range(STAGE):
            person = self.people[n % len(self.people)]
            post = next(filter(None, (person.publish(FACES[n % 2], with_key=True) for _ in range(30) if person.is_logged_in(FACES[n % 2]))), None)
            if not post:
                raise Stopped("cannot publish a post to begin with")
            self.stage.append(post.address)
        with self.lock:
            self.failures.clear()
            self.answers.clear()
            self.requests.clear()
            self.counts.clear()

    def start(self, seconds=None):
        self.began = time.monotonic()
        self.until = self.began + seconds if seconds else float("inf")
        self.tickets = 0
        lives = [(self.live, person) for person in self.people] + [(self.visit, client) for client in self.visitors]
        self.threads = [threading.Thread(target=self.guard, args=life, daemon=True) for life in lives]
        for thread in self.threads:
            thread.start()

    def guard(self, life, one):
        """A mistake of the test itself must not look like less load."""
        try:
            life(one)
        except Exception as err:
            self.mistakes.append(f"{type(err).__name__}: {err}")
            raise

    def wait(self):
        for thread in self.threads:
            thread.join()
        self.ended = time.monotonic()
        for client in [*self.people, *self.visitors]:
            client.close()

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
        while not self.halt.is_set():
            at = self.due()
            if at >= self.until or self.halt.wait(max(0, at - time.monotonic())):
                return
            person.act()

    def visit(self, client):
        """A visitor without an account, who reads public pages."""
        chance = random.Random(self.run)
        while not self.halt.wait(0.2) and time.monotonic() < self.until:
            self.ask("visit", client, "GET", chance.choice(("/", "/new", "/top", "/feed.atom", chance.choice(self.stage))))

    def ask(self, kind, client, method, path, expected=(), **body):
        """The answer, or how it broke; a failure is noted either way."""
        began = time.monotonic()
        try:
            reply = client.ask(method, path, **body)
            is_failure = not reply.good and reply.status not in expected
            how = str(reply.status) if is_failure else None
            reason = f"{reply.status} {reply.words()}" if is_failure else None
        except Broken as err:
            reply, how, reason = err, err.kind, str(err)
        took = time.monotonic() - began
        with self.lock:
            self.requests[kind] += 1
            self.answers.append((kind, began, took, how))
            if reason:
                headers = {} if isinstance(reply, Broken) else reply.headers
                self.failures.append({
                    "at": now(), "begun": began, "second": round(began - self.began, 2) if self.began else 0,
                    "what": f"{method} {path}", "kind": kind, "took": round(took, 3), "how": how, "reason": reason,
                    "retry_after": headers.get("retry-after"),
                })
                is_shown = len(self.failures) <= 20
        if reason:
            self.ledger.note(failed=f"{method} {path}", reason=reason, took=round(took, 3))
            if is_shown:
                print(f"ledger: {now()} {method} {path} after {took:.2f} s: {reason}", file=sys.stderr)
        return reply

    @property
    def ack_times(self):
        """When a write was acknowledged."""
        return [answered for _, answered in self.ledger.acknowledgements]

    # --- The check ---

    def read_back(self, client, path, statuses=(200,), method="GET", **body):
        """An answer with one of the statuses, with retries."""
        until = time.monotonic() + READ_LIMIT
        while True:
            try:
                reply = client.ask(method, path, **body)
            except Broken as err:
                reason = str(err)
            else:
                if reply.status in statuses:
                    return reply
                reason = f"{reply.status} {reply.words()}"
            if time.monotonic() > until:
                raise CannotRead(f"cannot read {path} back: {reason}")
            time.sleep(1)

    def check(self):
        """Reads everything back through both faces; what is not as it was acknowledged, a finding each."""
        findings = list(self.ledger.seen)
        try:
            # Requests that were answered too late end, and so do cached pages.
            time.sleep(2)
            anonymous = Client(self.server, 220)
            findings += self.check_credentials()
            stored, ballots = {}, set()
            for person in [*self.people, *self.bystanders]:
                findings += self.check_person(person, anonymous, stored, ballots)
            findings += self.check_newcomers(anonymous)
            findings += self.ledger.check_posts(stored)
            findings += self.ledger.check_votes(ballots, {address: self.shown_scores(anonymous, address) for address in self.stage})
            anonymous.close()
        except CannotRead as err:
            findings.append(Finding("wrong", str(err)))
        self.checked = findings
        return findings

    def check_credentials(self):
        findings = []
        for person in [*self.people, *self.bystanders, *self.newcomers]:
            for credential in person.account.credentials:
                client = Client(self.server)
                if credential.kind == "session":
                    client.cookies = dict([credential.secret.split("=", 1)])
                    works = self.read_back(client, "/settings", (200, 303)).status == 200
                else:
                    client.token = credential.secret
                    works = self.read_back(client, f"{API}/users/me", (200, 401)).status == 200
                    if not works and self.may_expire(credential):
                        continue
                findings += credential.check(works)
                client.close()
        return findings

    def passwords_that_work(self, account, client):
        """Of the last few that were sent for the account, with a token from the one that works."""
        sent = [account.password.initial, *(write.value for write in account.password.writes)]
        working, token = set(), None
        for password in {*sent[-3:], *account.password.allowed()}:
            fields = {"username": account.name, "password": password}
            reply = self.read_back(client, f"{API}/login", (200, 401), method="POST", fields=fields)
            if reply.status == 200:
                working.add(password)
                token = reply.json()["access_token"]
        return working, token

    def check_person(self, person, anonymous, stored, ballots):
        """The member's own export has their address, posts and votes; the public page must list the same posts."""
        working, token = self.passwords_that_work(person.account, anonymous)
        findings = person.account.check_passwords(working)
        if not token:
            return findings
        client = Client(self.server)
        client.token = token
        export = self.read_back(client, f"{API}/users/me/export").json()
        client.close()
        findings += person.account.email.check(f"the e-mail address of {person.name}", export["profile"]["email"])
        for post in export["posts"]:
            stored.setdefault(post["title"], {})[f"/posts/{post['id']}"] = post["body"]
        ballots |= {(person.name, f"/posts/{vote['post_id']}") for vote in export["votes"]}
        listed, path = set(), f"/users/{person.name}"
        while path:
            page = self.read_back(anonymous, path).text
            listed |= {(int(post), html.unescape(title)) for post, title in re.findall(r'<article class="post" id="post-(\d+)">\s*<h2[^>]*><a [^>]*>([^<]*)</a>', page)}
            more = re.search(r'rel="next" href="([^"]+)"', page)
            path = more and html.unescape(more[1])
        exported = {(post["id"], post["title"]) for post in export["posts"]}
        if listed != exported:
            findings.append(Finding("wrong", f"the page of {person.name} and their export differ in {sorted(listed ^ exported)[:5]}"))
        return findings

    def check_newcomers(self, anonymous):
        findings = []
        tried = random.sample(self.newcomers, min(len(self.newcomers), NEWCOMERS_TRIED))
        for newcomer in self.newcomers:
            is_there = self.read_back(anonymous, f"{API}/users/{newcomer.name}", (200, 404)).status == 200
            findings += newcomer.account.check_existence(is_there)
            if is_there and newcomer in tried:
                findings += newcomer.account.check_passwords(self.passwords_that_work(newcomer.account, anonymous)[0])
        return findings

    def shown_scores(self, client, address):
        """The score of a post on its page and in the API."""
        number = address.rsplit("/", 1)[1]
        page = self.read_back(client, address, (200, 404)).text
        score = re.search(rf'id="score-{number}"[^>]*>(\d+)<', page)
        return {int(score[1]) if score else None, self.read_back(client, f"{API}{address}", (200, 404)).json().get("score")}

    def found(self):
        """How many findings of each kind."""
        kinds = Counter(finding.kind for finding in self.checked or [])
        return {"lost": kinds["lost"], "duplicate": kinds["duplicate"], "wrong": kinds["wrong"]}

    def summary(self):
        times = sorted(took for _, _, took, _ in self.answers) or [0]
        seconds = max((self.ended or time.monotonic()) - self.began, 0.001) if self.began else 0
        acks = [self.began, *(at for at in self.ack_times if at > self.began), *([self.ended] if self.ended else [])] if self.began else [0]
        gap, after = max(((b - a, a) for a, b in zip(acks, acks[1:])), default=(0, self.began))
        requests = sum(self.requests.values())
        return {
            "seconds": round(seconds, 1),
            "requests": requests,
            "per_second": round(requests / seconds, 1) if seconds else 0,
            "kinds": dict(self.requests),
            "failed": len(self.failures),
            "reasons": dict(Counter(failure["reason"][:100] for failure in self.failures).most_common(20)),
            "first_failure": self.failures[0]["second"] if self.failures else None,
            "last_failure": self.failures[-1]["second"] if self.failures else None,
            **self.counts,
            "acknowledged": self.ledger.outcomes[ACKNOWLEDGED],
            "unknown": self.ledger.outcomes[UNKNOWN],
            "refused": self.ledger.outcomes[REFUSED],
            "longest_gap_between_acknowledged_writes": round(gap, 2),
            "that_gap_began_at": round(after - self.began, 2),
            "p50_ms": round(times[len(times) // 2] * 1000),
            "p99_ms": round(times[int(len(times) * 0.99)] * 1000),
            "max_ms": round(times[-1] * 1000),
            "is_checked": self.checked is not None,
            **self.found(),
        }

    @property
    def is_well(self):
        """Nothing failed, and nothing was lost, doubled or wrong."""
        return not self.failures and not self.checked and not self.mistakes


class CannotRead(Exception):
    """The site does not answer the check."""


def now():
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="the site's public origin")
    parser.add_argument("--connect", metavar="HOST:PORT", help="where to connect instead of where the name leads")
    parser.add_argument("--ca", metavar="FILE", help="the certificate authority to trust (PEM)")
    parser.add_argument("--seconds", type=float, help="how long; until SIGINT when not given")
    parser.add_argument("--rate", type=float, default=200, help="actions a second in all (200)")
    parser.add_argument("--workers", type=int, default=24, help="people, each with two connections (24)")
    parser.add_argument("--timeout", type=float, default=20, help="seconds until no answer is a failure (20)")
    parser.add_argument("--ledger", metavar="FILE", help="every intent and outcome, a line of JSON each")
    parser.add_argument("--check", action="store_true", help="read everything back at the end")
    given = parser.parse_args()

    crowd = Crowd(given.url, given.connect, given.ca, given.workers, given.rate, given.timeout, ledger=given.ledger)
    crowd.sign_up()
    print("ledger: begins", file=sys.stderr, flush=True)
    crowd.start(given.seconds)
    try:
        crowd.wait()
    except KeyboardInterrupt:
        crowd.stop()
    for finding in crowd.check() if given.check else []:
        print(f"ledger: {finding}", file=sys.stderr)
    print(json.dumps(crowd.summary()))
    sys.exit(0 if crowd.is_well else 3)


if __name__ == "__main__":
    try:
        main()
    except Stopped as err:
        raise SystemExit(f"ledger: {err}") from err
