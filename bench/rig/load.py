"""Load generation: wrk and pgbench, one target after the other, round by round."""

import json
import math
import random
import re
import shutil
import statistics
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

from system import Failure, cpu, run, say

HERE = Path(__file__).resolve().parent.parent
FORM = {"Sec-Fetch-Site": "same-origin", "Content-Type": "application/x-www-form-urlencoded"}


@dataclass(frozen=True)
class Request:
    path: str
    method: str = "GET"
    headers: dict = field(default_factory=dict)
    body: str = ""

    def line(self):
        headers = "|".join(f"{name}: {value}" for name, value in self.headers.items())
        return f"{self.method}\t{self.path}\t{headers}\t{self.body}\n"


class Target:
    """One thing to measure: `name` is the kind of request, `who` the server, `process` the one whose CPU is counted."""

    def __init__(self, name, who, process, cluster):
        self.name, self.who, self.process, self.cluster = name, who, process, cluster

    def measure(self, connections, seconds):
        before = cpu(self.process.pid), cpu(self.cluster.process.pid)
        result = self.load(connections, seconds)
        after = cpu(self.process.pid), cpu(self.cluster.process.pid)
        own, database = (1e6 * (b - a) / max(result.get("all", result["requests"]), 1) for a, b in zip(before, after))
        return {**result, "cpu": own, "database_cpu": database}


class Web(Target):
    """`requests` returns what to send; if the requests change something it is called again for each measurement."""

    def __init__(self, name, who, server, requests: Callable[[], list[Request]], changes=False):
        super().__init__(name, who, server.process, server.cluster)
        self.server, self.requests, self.changes = server, requests, changes
        self.file = None

    def load(self, connections, seconds):
        if self.file is None or self.changes:
            self.file = self.server.folder / f"{self.server.port}-{self.who}-{self.name}.requests"
            self.file.write_text("".join(request.line() for request in self.requests()))
        begin = 0 if self.changes else random.randrange(1_000_000)
        result = wrk(self.server.url, connections, seconds, self.file, begin)
        self.server.settle()
        return result


def wrk(url, connections, seconds, file, begin=0):
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "20s", "-s", HERE / "requests.lua",
               url, "--", file, begin]
    output = run(command, seconds + 60)
    found = re.search(r"^JSON (.*)$", output, re.M)
    if not found:
        raise Failure(f"wrk reported nothing for {url}: {output.strip()[-200:]}")
    result = json.loads(found[1])
    result["rate"] = result["requests"] / result["seconds"]
    return result


class Statements(Target):
    """The statements of a request, run by pgbench; with `clients` connections, or as many as the load has."""

    def __init__(self, name, database, script, constants, variables="", clients=None):
        super().__init__(name, "database", database.cluster.process, database.cluster)
        if clients:
            self.who = "database, as many connections as the site's pool"
        self.database, self.constants, self.clients = database, constants, clients
        self.file = database.cluster.socket / f"{name}.sql"
        self.file.write_text(variables + script)

    def measure(self, connections, seconds):
        # The database's CPU has its own column.
        return {**super().measure(connections, seconds), "cpu": 0.0}

    def load(self, connections, seconds):
        clients = self.clients or connections
        cluster = self.database.cluster
        logs = Path(tempfile.mkdtemp(prefix="log", dir=cluster.socket))
        # The site's connections have their plans already, so the time until pgbench has its own does not count.
        total = seconds + 1 + clients // 16
        command = [cluster.bin / "pgbench", "-n", "-M", "prepared", "-c", clients, "-j", 1, "-T", total, "-f", self.file,
                   "-l", f"--log-prefix={logs}/t", "-h", cluster.socket, "-p", cluster.port, "-U", "postgres"]
        for name, value in self.constants.items():
            command += ["-D", f"{name}={value}"]
        try:
            output = run([*command, self.database.name], total + 60)
            # Each line: client, number, microseconds, script, and when it ended.
            lines = [line.split(" ") for log in logs.iterdir() for line in log.read_text().splitlines()]
        finally:
            shutil.rmtree(logs, ignore_errors=True)
        ended = [(int(line[4]) + int(line[5]) / 1e6, int(line[2]) / 1000) for line in lines if line[2].isdigit()]
        last = max(at for at, _ in ended)
        times = sorted(ms for at, ms in ended if at > last - seconds)
        failed = re.search(r"number of failed transactions: (\d+)", output)
        # `all` is what the CPU time is divided by.
        return {"requests": len(times), "all": len(ended), "seconds": float(seconds), "bytes": 0, "rate": len(times) / seconds,
                "p50": percentile(times, 50), "p95": percentile(times, 95), "p99": percentile(times, 99),
                "bad": int(failed[1]) if failed else 0, "broken": 0}


def percentile(sorted_times, which):
    return sorted_times[min(len(sorted_times) - 1, math.ceil(len(sorted_times) * which / 100) - 1)] if sorted_times else math.nan


def interleaved(targets, connections, rounds, seconds, after_each=lambda: None, warm_up=1):
    """Measures every target once in each round, in reversed order every other time, so that other work on the machine
    affects all of them alike. Returns the results of each (target, connections), one per round."""
    results = {}
    for target in targets:
        target.measure(4, warm_up)
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}: {len(targets)} targets at {' and '.join(map(str, connections))} connections")
        for count in connections:
            for target in targets if number % 2 == 0 else reversed(targets):
                results.setdefault((target, count), []).append(target.measure(count, seconds))
                after_each()
    return results


def median(results, what):
    return statistics.median(result[what] for result in results)
