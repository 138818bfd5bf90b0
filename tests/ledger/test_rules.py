"""The rules of a drill find the faults that a broken proxy plants before a real site. Needs $PROGRAM or a build."""

import http.client
import shutil
import threading
import time
import unittest
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ledger.client import TIMEOUT
from ledger.process import program
from ledger.run import Drill, Run, Strike


class Proxy(ThreadingHTTPServer):
    """Passes requests on, except that it acknowledges some without doing so, sends some twice, and spoils answers."""

    daemon_threads = True

    def __init__(self, port):
        super().__init__(("127.0.0.1", 0), Handler)
        self.port, self.is_honest, self.seen = port, False, Counter()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def is_time_for(self, what, every):
        """Each fault is planted for one request in so many of its kind."""
        self.seen[what] += 1
        return not self.is_honest and self.seen[what] % every == 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        proxy, method, path = self.server, self.command, self.path
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if method == "POST" and path == "/api/v1/posts" and proxy.is_time_for("lost post", 4):
            return self.say(201, b"{}", Location="/api/v1/posts/999999")
        if method == "DELETE" and path.endswith("/vote") and proxy.is_time_for("lost vote", 2):
            return self.say(200, b"{}")
        if method == "POST" and path == "/logout" and proxy.is_time_for("lost log-out", 1):
            return self.say(303, b"", Location="/", **{"Set-Cookie": "sid=; Max-Age=0"})
        if method == "GET" and path == "/top" and proxy.is_time_for("500", 2):
            return self.say(500, b"Something went wrong.")
        if method == "GET" and path == "/new" and proxy.is_time_for("503", 2):
            return self.say(503, b"Busy.")
        if method == "POST" and path == "/posts" and b"key=" not in body and proxy.is_time_for("twice", 2):
            self.pass_on(body)
        status, headers, answer = self.pass_on(body)
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

    def pass_on(self, body):
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        upstream.request(self.command, self.path, body or None, dict(self.headers))
        answer = upstream.getresponse()
        content = answer.read()
        upstream.close()
        return answer.status, answer.getheaders(), content

    def say(self, status, body, **headers):
        self.send_response_only(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class BrokenProxy(unittest.TestCase):
    def test_losses_duplicates_contradictions_and_bad_answers_of_a_broken_proxy_are_found(self):
        def planted(run):
            site = run.add_site()
            proxy = Proxy(site.port)
            run.cleanups += [proxy.server_close, proxy.shutdown]
            site.connect = f"127.0.0.1:{proxy.server_address[1]}"
            # The beginning must succeed.
            proxy.is_honest = True
            crowd = run.add_crowd(site)
            proxy.is_honest = False
            run.open()
            self.wait_for(proxy)
            crowd.stop()
            proxy.is_honest = True

        run = Run(Drill("planted", "a broken proxy", planted, 5, None, False), 5, program(), workers=4, rate=60)
        self.addCleanup(shutil.rmtree, run.directory, ignore_errors=True)
        run.execute()
        texts = [str(finding) for finding in run.findings]
        self.assertTrue(any("lost: the post" in text for text in texts), texts)
        self.assertTrue(any("duplicate: the post" in text for text in texts), texts)
        self.assertTrue(any("lost: " in text and "vote for" in text for text in texts), texts)
        self.assertTrue(any("was ended" in text and "and it works" in text for text in texts), texts)
        for rule in ("status 500", "503 without Retry-After"):
            self.assertTrue(any(rule in broken for broken in run.broken), run.broken)
        self.assertFalse(run.is_well)

    def wait_for(self, proxy):
        """Until each fault has been planted a few times."""
        faults = {"lost post": 8, "lost vote": 50, "lost log-out": 1, "500": 4, "503": 4, "twice": 4}
        # A busy machine takes minutes for as many actions as a quiet one does in seconds.
        until = time.monotonic() + 420
        while any(proxy.seen[fault] < count for fault, count in faults.items()):
            self.assertLess(time.monotonic(), until, f"the faults are planted too slowly: {proxy.seen}")
            time.sleep(0.1)


class Rules(unittest.TestCase):
    """What `Run` makes of answers, without a site."""

    def setUp(self):
        self.run_ = Run(Drill("rules", "", None, 1, None, cuts=False), 1, None)
        self.addCleanup(self.run_.directory.rmdir)

    def fault(self, how, took=0.1, retry_after="2", begun=0):
        return self.run_.fault_of({"how": how, "took": took, "retry_after": retry_after, "begun": begun})

    def test_a_503_with_retry_after_is_allowed_and_other_5xx_are_not(self):
        self.assertIsNone(self.fault("503"))
        self.assertIsNone(self.fault("404"))
        self.assertEqual(self.fault("503", retry_after=None), "503 without Retry-After")
        self.assertEqual(self.fault("500"), "status 500")
        self.assertEqual(self.fault("502"), "status 502")

    def test_no_answer_within_ten_seconds_breaks_a_rule_also_during_a_fault(self):
        self.run_.strikes.append(Strike("a fault", 0, 0, 5))
        self.assertEqual(self.fault("no answer"), f"no answer within {TIMEOUT} s")
        self.assertEqual(self.fault("503", took=TIMEOUT + 1), f"no answer within {TIMEOUT} s")

    def test_a_cut_connection_is_allowed_only_while_the_program_itself_is_killed(self):
        self.run_.strikes.append(Strike("a fault", 10, 10, 12))
        self.assertEqual(self.fault("cut", begun=11), "a connection was cut")
        self.run_.drill.cuts = True
        self.assertIsNone(self.fault("cut", begun=11))
        self.assertEqual(self.fault("refused", begun=30), "a connection was refused")


if __name__ == "__main__":
    unittest.main()
