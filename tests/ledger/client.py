"""One HTTP/1.1 connection that is kept, with the cookies of a browser or the token of an API client."""

import gzip
import html
import http.client
import json
import re
import select
import socket
import ssl
import time
import urllib.parse

# Seconds; the site answers earlier, whatever happens to it.
TIMEOUT = 10
# Seconds for which an idle connection is kept: less than the site's fifteen, so that no form meets a connection that
# is just being closed.
KEPT = 10


class Broken(Exception):
    """No complete answer came. `kind` is `refused`, `cut` or `no answer`."""

    def __init__(self, kind, reason):
        super().__init__(reason)
        self.kind = kind


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

    def json(self):
        return json.loads(self.text)

    def words(self):
        """What the page of an error says."""
        try:
            text = re.sub(r"<(head|svg|header|footer)\b.*?</\1>|<[^>]*>", " ", self.text, flags=re.S)
        except (OSError, UnicodeDecodeError):
            return ""
        return " ".join(html.unescape(text).split())[:120]


class Server:
    """Where the site is: the origin that browsers know, and the address to connect to."""

    def __init__(self, url, connect=None, ca=None, timeout=TIMEOUT):
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SystemExit(f"{url!r} is no http or https address")
        self.origin, self.host, self.name = f"{parts.scheme}://{parts.netloc}", parts.netloc, parts.hostname
        port = parts.port or (443 if parts.scheme == "https" else 80)
        place = connect.rsplit(":", 1) if connect else (self.name, port)
        self.address, self.timeout = (place[0], int(place[1])), timeout
        self.tls = None
        if parts.scheme == "https":
            self.tls = ssl.create_default_context(cafile=ca)
            self.tls.set_alpn_protocols(["http/1.1"])


class TlsConnection(http.client.HTTPSConnection):
    """To another address than the name says, as curl's --connect-to."""

    def __init__(self, server, source):
        super().__init__(server.name, server.address[1], context=server.tls, timeout=server.timeout)
        self.server, self.source = server, source

    def connect(self):
        plain = socket.create_connection(self.server.address, self.timeout, self.source)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = self._context.wrap_socket(plain, server_hostname=self.server.name)


class Client:
    """A browser where it has cookies, an API client where it has a token."""

    def __init__(self, server, number=0, count=lambda what: None):
        self.server, self.count = server, count
        self.cookies, self.token = {}, None
        self.connection, self.is_reused, self.has_begun = None, False, False
        self.last_used = 0
        # On loopback everybody has an address of their own, as everywhere else.
        is_loopback = server.address[0].startswith("127.")
        self.source = (f"127.0.{1 + number // 250}.{1 + number % 250}", 0) if is_loopback else None

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def ask(self, method, path, fields=None, json=None, headers=None):
        """The answer to a form (`fields`), a document (`json`) or a request without a body."""
        began = time.monotonic()
        try:
            if self.connection and time.monotonic() - self.last_used > KEPT:
                self.close()
            if self.connection and self._has_been_closed():
                self.close()
                self.count("reopened")
            if not self.connection:
                self._open()
        except OSError as err:
            self.close()
            raise Broken("no answer" if isinstance(err, TimeoutError) else "refused", f"{type(err).__name__}: {err}") from err
        try:
            try:
                return self._exchange(method, path, fields, json, headers)
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError, ssl.SSLEOFError):
                # Only where a browser must: nothing came, and asking twice changes nothing.
                if not self.is_reused or method != "GET" or self.has_begun:
                    raise
                self.close()
                self.count("retried_gets")
                self._open()
                return self._exchange(method, path, fields, json, headers)
        except (OSError, http.client.HTTPException) as err:
            self.close()
            is_late = isinstance(err, TimeoutError) or time.monotonic() - began > self.server.timeout
            raise Broken("no answer" if is_late else "cut", f"{type(err).__name__}: {err}") from err

    def _open(self):
        if self.server.tls:
            self.connection = TlsConnection(self.server, self.source)
        else:
            self.connection = http.client.HTTPConnection(
                *self.server.address, timeout=self.server.timeout, source_address=self.source
            )
        self.is_reused = False
        self.connection.connect()
        self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _has_been_closed(self):
        """An idle connection with something to read is one that the server has ended."""
        sock = self.connection.sock
        if sock is None:
            return True
        # Not `select`, which knows no descriptors beyond 1,023.
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return poll.poll(0) != []

    def _exchange(self, method, path, fields, document, more):
        self.has_begun = False
        headers = {"Host": self.server.host, "Accept-Encoding": "gzip", "User-Agent": "Mozilla/5.0 (ledger)"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        else:
            headers["Accept"] = "text/html,application/xhtml+xml,*/*;q=0.8"
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        body = None
        if fields is not None:
            body = urllib.parse.urlencode(fields).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            headers["Origin"] = self.server.origin
        elif document is not None:
            body = json.dumps(document).encode()
            headers["Content-Type"] = "application/json"
        self.connection.request(method, path, body, {**headers, **(more or {})})
        answer = self.connection.getresponse()
        self.has_begun = True
        body = answer.read()
        self.is_reused, self.last_used = True, time.monotonic()
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
