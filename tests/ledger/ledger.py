"""What was sent, what was acknowledged, and what must therefore be stored. Pure data: no network, no clock of its own.

Each effect has an intent before its request is sent and one outcome after it:

* acknowledged: a complete 2xx or 3xx came, so the effect must be there, once;
* refused: a 4xx came, or the request was never sent, so the effect must not be there;
* unknown: the connection broke or a 5xx came, so the effect may be there, at most once.

At the end `check_…` compares what is stored with that and returns findings of three kinds: `lost` (an acknowledged
effect is not there), `duplicate` (an effect is there twice) and `wrong` (something is there that nobody wrote, that
was refused, or that contradicts another place).
"""

import json
import threading
import time
from collections import Counter
from datetime import datetime, timezone

# Seconds for which a request without an answer may still take effect: a frozen database finishes it when it wakes up.
LATE = 30
ACKNOWLEDGED, REFUSED, UNKNOWN = "acknowledged", "refused", "unknown"


class Finding:
    def __init__(self, kind, text):
        self.kind, self.text = kind, text

    def __str__(self):
        return f"{self.kind}: {self.text}"


class Write:
    """One intended effect: `value` for the register, and its outcome; pending ones count as unknown."""

    def __init__(self, value, sent):
        self.value, self.sent, self.outcome = value, sent, UNKNOWN


class Register:
    """A value that one client at a time writes, such as one person's vote for one post."""

    def __init__(self, initial):
        self.initial, self.writes = initial, []

    def allowed(self):
        """The values that may be stored now."""
        last = next((n for n in reversed(range(len(self.writes))) if self.writes[n].outcome == ACKNOWLEDGED), None)
        if last is None:
            return {self.initial, *(write.value for write in self.writes if write.outcome == UNKNOWN)}
        since = self.writes[last].sent - LATE
        late = (write.value for n, write in enumerate(self.writes) if write.outcome == UNKNOWN and (n > last or write.sent > since))
        return {self.writes[last].value, *late}

    @property
    def is_sure(self):
        return len(self.allowed()) == 1

    @property
    def believed(self):
        """The value of the last write that was not refused: what its client expects."""
        return next((write.value for write in reversed(self.writes) if write.outcome != REFUSED), self.initial)

    @property
    def is_acknowledged(self):
        return any(write.outcome == ACKNOWLEDGED for write in self.writes)

    def check(self, what, stored):
        allowed = self.allowed()
        if stored in allowed:
            return []
        known = self.initial == stored or any(write.value == stored and write.outcome != REFUSED for write in self.writes)
        kind = "lost" if self.is_acknowledged and known else "wrong"
        return [Finding(kind, f"{what} is {stored!r} and must be {' or '.join(sorted(map(repr, allowed)))}")]


class Post:
    """A post with a title of its own; `addresses` are those that acknowledgements named."""

    def __init__(self, author, title, text):
        self.author, self.title = author, title
        self.attempts, self.addresses = [], []
        self.text, self.is_there = Register(text), Register(True)

    @property
    def outcome(self):
        """Of all attempts with the same key: one acknowledgement is enough, one unknown makes it unknown."""
        outcomes = {write.outcome for write in self.attempts}
        return next((one for one in (ACKNOWLEDGED, UNKNOWN) if one in outcomes), REFUSED)

    @property
    def address(self):
        return self.addresses[0] if self.addresses else None

    def check(self, found):
        """`found` has the address and the text of each stored post with this title."""
        what, findings = f"the post {self.title!r}", []
        if len({*self.addresses}) > 1:
            findings.append(Finding("duplicate", f"{what} was acknowledged at {sorted({*self.addresses})}"))
        if len(found) > 1:
            findings.append(Finding("duplicate", f"{what} is there {len(found)} times: {sorted(found)}"))
        if self.outcome == REFUSED and found:
            findings.append(Finding("wrong", f"{what} was refused and is at {sorted(found)}"))
        if self.outcome == ACKNOWLEDGED:
            allowed = self.is_there.allowed()
            if not found and False not in allowed:
                findings.append(Finding("lost", f"{what} was acknowledged as {self.address} and is not there"))
            if found and True not in allowed:
                findings.append(Finding("lost", f"the deletion of {what} was acknowledged and it is at {sorted(found)}"))
            if found and self.address not in found:
                findings.append(Finding("wrong", f"{what} was acknowledged as {self.address} and is at {sorted(found)}"))
        for address, text in found.items():
            findings += self.text.check(f"the text of {address}", text)
        return findings


class Credential:
    """A session cookie or a token. `state` is `live`, `ended` or `unknown`."""

    def __init__(self, kind, owner, secret, opened_at):
        self.kind, self.owner, self.secret, self.opened_at, self.state = kind, owner, secret, opened_at, "live"

    def check(self, works):
        what = f"a {self.kind} of {self.owner}"
        if self.state == "live" and not works:
            return [Finding("lost", f"{what} was acknowledged, was never ended, and is refused")]
        if self.state == "ended" and works:
            return [Finding("wrong", f"{what} was ended, and that was acknowledged, and it works")]
        return []


class Account:
    """One account: whether it exists, its e-mail address, its password and its credentials."""

    # The site keeps twenty sessions for each account and ends the oldest beyond that.
    MOST_SESSIONS = 15

    def __init__(self, name, email, password, clock):
        self.name, self.clock = name, clock
        # Until then a request of unknown outcome may still end what is opened meanwhile.
        self.doubtful_until = float("-inf")
        self.exists, self.email, self.password = Register(False), Register(email), Register(password)
        self.credentials = []

    def opened(self, kind, secret):
        """A log-in was acknowledged."""
        credential = Credential(kind, self.name, secret, self.clock())
        if self.clock() < self.doubtful_until:
            credential.state = "unknown"
        self.credentials.append(credential)
        live = [one for one in self.credentials if one.kind == "session" and one.state != "ended"]
        for one in live[: -self.MOST_SESSIONS]:
            one.state = "unknown"
        return credential

    def ended(self, outcome, chosen=lambda credential: True):
        """What a log-out, a revocation or a new password has done to the credentials."""
        if outcome == UNKNOWN:
            self.doubtful_until = self.clock() + LATE
        for one in self.credentials:
            if one.state != "ended" and outcome != REFUSED and chosen(one):
                one.state = "ended" if outcome == ACKNOWLEDGED else "unknown"

    def check_existence(self, is_there):
        return self.exists.check(f"the existence of {self.name}", is_there)

    def check_passwords(self, working):
        """`working` are the passwords with which a log-in succeeds, of all that were ever sent."""
        allowed = self.password.allowed()
        if len(working) > 1:
            return [Finding("wrong", f"{len(working)} passwords of {self.name} work")]
        if not working:
            return [Finding("lost", f"no password of {self.name} works")]
        if working <= allowed:
            return []
        return [Finding("lost", f"an old password of {self.name} works and the acknowledged one does not")]


class Ledger:
    """All of it. Safe to use from many threads; each register has one writer at a time."""

    def __init__(self, file=None, clock=time.monotonic):
        self.lock, self.clock = threading.Lock(), clock
        self.file = open(file, "w", encoding="utf-8") if file else None
        self.accounts, self.posts, self.votes = {}, {}, {}
        self.outcomes = Counter()
        # What was seen to be wrong while the load ran, and when writes were acknowledged: (sent, answered).
        self.seen, self.acknowledgements = [], []

    def note(self, **entry):
        if self.file:
            at = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
            self.file.write(json.dumps({"at": at, **entry}) + "\n")
            self.file.flush()

    def account(self, name, email, password):
        with self.lock:
            return self.accounts.setdefault(name, Account(name, email, password, self.clock))

    def post(self, author, title, text):
        with self.lock:
            self.posts[title] = Post(author, title, text)
            return self.posts[title]

    def vote(self, voter, address):
        with self.lock:
            return self.votes.setdefault((voter, address), Register(False))

    def intend(self, what, writes, value, **details):
        """Notes an intent in a list of writes, before the request is sent."""
        write = Write(value, self.clock())
        with self.lock:
            writes.append(write)
            self.note(intent=what, value=value, **details)
        return write

    def settle(self, what, write, outcome, **details):
        with self.lock:
            write.outcome = outcome
            self.outcomes[outcome] += 1
            if outcome == ACKNOWLEDGED:
                self.acknowledgements.append((write.sent, self.clock()))
            self.note(outcome=outcome, of=what, **details)

    def find(self, findings):
        with self.lock:
            self.seen += findings

    def check_posts(self, stored):
        """`stored` has, for each title that exists, the text of each of its addresses."""
        findings = [finding for title, post in self.posts.items() for finding in post.check(stored.get(title, {}))]
        for title in stored.keys() - self.posts.keys():
            findings.append(Finding("wrong", f"the post {title!r} was never written"))
        return findings

    def check_votes(self, ballots, scores):
        """`ballots` are the stored (voter, address) pairs; `scores` has every number shown for an address."""
        findings, voters = [], Counter(address for _, address in ballots)
        for (voter, address), register in self.votes.items():
            findings += register.check(f"{voter}'s vote for {address}", (voter, address) in ballots)
        for voter, address in ballots - self.votes.keys():
            findings.append(Finding("wrong", f"{voter} never voted for {address}"))
        for address, shown in scores.items():
            if shown != {voters[address]}:
                findings.append(Finding("wrong", f"{address} has {voters[address]} voters and shows {sorted(shown)}"))
        return findings
