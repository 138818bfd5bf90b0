"""What a member does, through the pages' forms or through the API, with each effect in the ledger."""

import random
import re
import time
import uuid

from ledger.client import Broken, Client
from ledger.ledger import ACKNOWLEDGED, REFUSED, UNKNOWN, Finding
from ledger.process import Stopped

API = "/api/v1"
FACES = ("page", "api")
# Seconds for which a publication with a key is sent again, twice a second, while its outcome is unknown.
RETRY_LIMIT = 20
# How often each is done, in proportion.
WEIGHTS = {
    "read": 60, "vote": 18, "publish": 12, "edit": 4, "delete": 1.5, "change_email": 0.7, "change_password": 0.5,
    "log_in": 1, "log_out": 0.5, "end_sessions": 0.3, "sign_up": 1.5,
}
# Each costs the site a password hash or more.
HASHING = {"change_email", "change_password", "log_in", "log_out", "end_sessions", "sign_up"}


def new_password():
    return f"violet kettle {uuid.uuid4().hex[:8]} harbour"


def outcome(reply):
    """Of a request: a 5xx may have been done all the same, because the site finishes what it answers too late."""
    if isinstance(reply, Broken):
        return REFUSED if reply.kind == "refused" else UNKNOWN
    return UNKNOWN if reply.status >= 500 else ACKNOWLEDGED if reply.good else REFUSED


def is_good(reply):
    return not isinstance(reply, Broken) and reply.good


def is_logged_out(reply):
    """Whether the answer says that the session or the token is not accepted."""
    if isinstance(reply, Broken):
        return False
    is_bad_token = reply.status == 401 and "invalid_token" in reply.headers.get("www-authenticate", "")
    is_to_log_in = reply.status == 303 and reply.headers.get("location", "").startswith("/login")
    has_log_in_form = reply.status == 401 and "www-authenticate" not in reply.headers
    return is_bad_token or is_to_log_in or has_log_in_form


class Person:
    """A member with a browser and an API client. One thread at a time acts for a person."""

    def __init__(self, crowd, name, number):
        self.crowd, self.ledger, self.name = crowd, crowd.ledger, name
        self.account = self.ledger.account(name, f"{name}@example.org", new_password())
        self.password = self.account.password.initial
        self.clients = {face: Client(crowd.server, number, crowd.count) for face in FACES}
        # The session of the browser and the token of the API client, while they are thought to work.
        self.credentials = dict.fromkeys(FACES)
        self.posts, self.revision = [], 0
        self.chance = random.Random(name)

    @property
    def browser(self):
        return self.clients["page"]

    def close(self):
        for client in self.clients.values():
            client.close()

    def ask(self, kind, face, method, path, expected=(), **body):
        """The answer, or how it broke. An answer that denies a session or token that was never ended is a finding."""
        reply = self.crowd.ask(kind, self.clients[face], method, path, expected, **body)
        credential = self.credentials[face]
        if credential and is_logged_out(reply):
            if credential.state == "live" and not self.crowd.may_expire(credential):
                self.ledger.find([Finding("lost", f"a {credential.kind} of {self.name} was refused at {method} {path}")])
                credential.state = "unknown"
            self.forget(face)
        return reply

    def attempt(self, what, writes, value, face, method, path, **body):
        """Sends a request with an effect: intent before, outcome after."""
        write = self.ledger.intend(what, writes, value, by=self.name, face=face, path=path)
        reply = self.ask(what, face, method, path, **body)
        done = outcome(reply)
        self.ledger.settle(what, write, done, by=self.name, path=path)
        return reply, done

    def act(self):
        acts = list(WEIGHTS)
        act = self.chance.choices(acts, list(WEIGHTS.values()))[0]
        face = self.chance.choice(FACES)
        needs_hash = act in HASHING or act != "sign_up" and not self.credentials[face]
        if needs_hash and not self.crowd.may_hash():
            return
        if act == "sign_up" or self.is_logged_in(face):
            getattr(self, act)(face)

    # --- Accounts ---

    def forget(self, face):
        self.credentials[face] = None
        self.clients[face].cookies, self.clients[face].token = {}, None

    def is_logged_in(self, face):
        return self.credentials[face] is not None or self.log_in(face)

    def keep(self, face, reply):
        """Notes the session or the token that an answer brought."""
        if face == "page":
            secret = next((f"{name}={value}" for name, value in self.browser.cookies.items() if name.endswith("sid")), None)
        else:
            secret = self.clients["api"].token = reply.json()["access_token"]
        if secret is None:
            self.ledger.find([Finding("wrong", f"a log-in of {self.name} was acknowledged without a session")])
            return False
        kind = "session" if face == "page" else "token"
        self.credentials[face] = self.account.opened(kind, secret)
        return True

    def log_in(self, face):
        """As in a new browser. After a change of unknown outcome it tries both passwords."""
        self.forget(face)
        allowed = self.account.password.allowed()
        for password in [self.password, *sorted(allowed - {self.password})]:
            if face == "page":
                reply = self.ask("log-in", face, "POST", "/login", (401,), fields={"login": self.name, "password": password})
            else:
                reply = self.ask("log-in", face, "POST", f"{API}/login", (401,), fields={"username": self.name, "password": password})
            if is_good(reply):
                self.password = password
                return self.keep(face, reply)
            if isinstance(reply, Broken) or reply.status != 401:
                break
        else:
            if len(allowed) == 1:
                self.ledger.find([Finding("lost", f"the password of {self.name} is refused")])
        return False

    def sign_up_self(self):
        """At the beginning, with patience: a busy machine answers 503, and a sign-up without an answer may have happened."""
        fields = {"username": self.name, "email": self.account.email.initial, "password": self.password}
        until = time.monotonic() + 60
        while time.monotonic() < until:
            reply, done = self.attempt("sign-up", self.account.exists.writes, True, "page", "POST", "/signup", fields=fields)
            if done == ACKNOWLEDGED:
                self.keep("page", reply)
                return
            if done == REFUSED and not isinstance(reply, Broken):
                if UNKNOWN in {write.outcome for write in self.account.exists.writes} and self.log_in("page"):
                    return
                break
            time.sleep(0.5)
        reason = reply if isinstance(reply, Broken) else f"{reply.status} {reply.words()}"
        raise Stopped(f"{self.name} cannot sign up at {self.crowd.server.origin}: {reason}")

    def sign_up(self, face):
        """A newcomer, who deletes the account again one time in three."""
        newcomer = Person(self.crowd, self.crowd.new_name(), self.chance.randrange(200))
        self.crowd.newcomers.append(newcomer)
        fields = {"username": newcomer.name, "email": newcomer.account.email.initial, "password": newcomer.password}
        path, body = ("/signup", {"fields": fields}) if face == "page" else (f"{API}/users", {"json": fields})
        reply, done = newcomer.attempt("sign-up", newcomer.account.exists.writes, True, face, "POST", path, **body)
        if done == ACKNOWLEDGED:
            is_in = newcomer.keep(face, reply) if face == "page" else newcomer.log_in(face)
            if is_in and self.chance.random() < 0.33:
                newcomer.delete_account(face)
        newcomer.close()

    def delete_account(self, face):
        fields = {"current_password": self.password}
        path, body = ("/settings/delete-account", {"fields": fields}) if face == "page" else (f"{API}/users/me/deletion", {"json": fields})
        _, done = self.attempt("account deletion", self.account.exists.writes, False, face, "POST", path, **body)
        self.account.ended(done)

    def change_email(self, face):
        email = f"{self.name}-{uuid.uuid4().hex[:8]}@example.org"
        fields = {"current_password": self.password, "email": email}
        method, path, body = ("POST", "/settings/email", {"fields": fields}) if face == "page" else ("PUT", f"{API}/users/me/email", {"json": fields})
        self.attempt("e-mail", self.account.email.writes, email, face, method, path, **body)

    def change_password(self, face):
        """Ends every session and token; the page opens a new session, the API opens nothing."""
        new = new_password()
        fields = {"current_password": self.password, "new_password": new}
        method, path, body = ("POST", "/settings/password", {"fields": fields}) if face == "page" else ("PUT", f"{API}/users/me/password", {"json": fields})
        reply, done = self.attempt("password", self.account.password.writes, new, face, method, path, **body)
        self.account.ended(done)
        if done == REFUSED:
            return
        if done == ACKNOWLEDGED:
            self.password = new
        cookies = dict(self.browser.cookies)
        for one in FACES:
            self.forget(one)
        if done == ACKNOWLEDGED and face == "page":
            self.browser.cookies = cookies
            self.keep("page", reply)

    def log_out(self, face):
        """From the pages it ends this session, from the API all tokens."""
        method, path, body = ("POST", "/logout", {"fields": {}}) if face == "page" else ("DELETE", f"{API}/users/me/tokens", {})
        own = self.credentials[face]
        _, done = self.attempt("log-out", [], True, face, method, path, **body)
        self.account.ended(done, lambda one: one is own if face == "page" else one.kind == "token")
        if done != REFUSED:
            self.forget(face)

    def end_sessions(self, face):
        """From the pages it ends all other sessions and all tokens, from the API also this one."""
        own = self.credentials[face]
        if face == "page":
            _, done = self.attempt("end of sessions", [], True, face, "POST", "/settings/sessions/revoke", fields={"others": "true"})
            self.account.ended(done, lambda one: one is not own)
        else:
            _, done = self.attempt("end of sessions", [], True, face, "DELETE", f"{API}/users/me/sessions")
            self.account.ended(done)
        if done != REFUSED:
            self.forget("api")
            if face == "api":
                self.forget("page")

    # --- Posts and votes ---

    def read(self, face):
        stage = self.chance.choice(self.crowd.stage)
        name = self.chance.choice(self.crowd.people).name
        if face == "page":
            paths = ["/", "/", "/new", "/top", "/search?q=ledger", f"/users/{name}", stage, stage]
        else:
            paths = [f"{API}{path}" for path in ("/posts?sort=hot", "/posts?limit=30", "/posts?search=ledger", f"/users/{name}", stage, stage)]
        path = self.chance.choice([path for path in paths if self.crowd.searches or "search" not in path])
        self.ask("read", face, "GET", path)

    def vote(self, face):
        post, value = self.chance.choice(self.crowd.stage), self.chance.random() < 0.5
        register = self.ledger.vote(self.name, post)
        if face == "page":
            self.attempt("vote", register.writes, value, face, "POST", f"{post}/vote", fields={"value": "1" if value else "0"})
        else:
            self.attempt("vote", register.writes, value, face, "PUT" if value else "DELETE", f"{API}{post}/vote")

    def publish(self, face, with_key=None):
        """With a key it is sent again, with the same key, while its outcome is unknown. Returns the post or None."""
        with_key = self.chance.random() < 0.6 if with_key is None else with_key
        title, text = self.crowd.new_title(), "A text of **some** length. " * 4 + "Revision 0."
        fields, headers = {"title": title, "url": "", "body": text}, {}
        if face == "page" and with_key:
            # Opens the form and sends it, as a person would.
            form = self.ask("read", face, "GET", "/posts/new")
            key = is_good(form) and re.search(r'name="key" value="([^"]+)"', form.text)
            if not key:
                return None
            fields["key"] = key[1]
        elif with_key:
            headers = {"Idempotency-Key": uuid.uuid4().hex}
        path, body = ("/posts", {"fields": fields}) if face == "page" else (f"{API}/posts", {"json": fields, "headers": headers})
        post = self.ledger.post(self.name, title, text)
        is_again = with_key and self.chance.random() < 0.1
        until = time.monotonic() + RETRY_LIMIT
        while True:
            reply, done = self.attempt("post", post.attempts, title, face, "POST", path, **body)
            if done == ACKNOWLEDGED:
                post.addresses.append(reply.headers.get("location", "").removeprefix(API))
                if not is_again:
                    self.posts = [*self.posts[-30:], post]
                    return post
                is_again = False
            elif done == REFUSED and not isinstance(reply, Broken) or not with_key or time.monotonic() > until:
                return None
            else:
                time.sleep(0.5)

    def own_post(self):
        posts = [post for post in self.posts if post.is_there.allowed() == {True} and post.address not in self.crowd.stage]
        return self.chance.choice(posts) if posts else None

    def edit(self, face):
        """The pages send the version that the form was opened with, the API replaces or patches."""
        post = self.own_post()
        if not post:
            return
        self.revision += 1
        text = "A text of **some** length. " * 4 + f"Revision {self.revision}."
        if face == "api":
            method, body = self.chance.choice((("PUT", {"title": post.title, "body": text}), ("PATCH", {"body": text})))
            self.attempt("edit", post.text.writes, text, face, method, f"{API}{post.address}", json=body)
            return
        form = self.ask("read", face, "GET", f"{post.address}/edit")
        version = is_good(form) and re.search(r'name="version" value="([^"]+)"', form.text)
        if version:
            fields = {"title": post.title, "url": "", "body": text, "version": version[1]}
            self.attempt("edit", post.text.writes, text, face, "POST", f"{post.address}/edit", fields=fields)

    def delete(self, face):
        post = self.own_post()
        if not post:
            return
        if face == "page":
            self.attempt("deletion", post.is_there.writes, False, face, "POST", f"{post.address}/delete", fields={})
        else:
            self.attempt("deletion", post.is_there.writes, False, face, "DELETE", f"{API}{post.address}")
