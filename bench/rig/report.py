"""The results: targets and tables as Markdown, all measurements as JSON, and the chart."""

import json
import os
import platform
import statistics
import subprocess
import time
from pathlib import Path

import asked
import overload
import picture
from database import ROOT
from load import median

RESULTS = ROOT / "bench/results"


def about(given, cluster, sizes):
    def said(*command):
        try:
            return subprocess.run(command, capture_output=True, text=True, timeout=10, cwd=ROOT).stdout.strip()
        except (OSError, subprocess.TimeoutExpired):
            return "unknown"

    def line(file, begin):
        try:
            return next(line.split(":", 1)[1].strip() for line in open(file) if line.startswith(begin))
        except (OSError, StopIteration):
            return "unknown"

    memory = line("/proc/meminfo", "MemTotal").split(" ")[0]
    return {
        "date": time.strftime("%Y-%m-%d %H:%M %z"),
        "commit": said("git", "rev-parse", "--short", "HEAD") + (" with uncommitted changes" if said("git", "status", "--porcelain") else ""),
        "machine": f"{os.cpu_count()} cores of {line('/proc/cpuinfo', 'model name')}, "
                   + (f"{int(memory) / 1e6:.0f} GB of memory, " if memory.isdigit() else "") + f"{platform.system()} {platform.release()}",
        "load_before": os.getloadavg()[0],
        "versions": f"Postgres {cluster.version()}, {said('rustc', '--version')}, "
                    f"{(said('sh', '-c', 'wrk -v 2>&1 | head -n 1').split(' [')[0])}, Python {platform.python_version()}",
        "rounds": given.rounds, "seconds": given.seconds, "peer": bool(given.peer), "baseline": bool(given.baseline), "only": sorted(given.only),
        "data": {str(posts): words for posts, words in sizes.items()},
    }


def rows(results):
    return [{"name": target.name, "who": target.who, "connections": connections, "rounds": rounds}
            for (target, connections), rounds in results.items()]


class Table:
    """The rows of a run."""

    def __init__(self, measured):
        self.rows = {(row["name"], row["who"], row["connections"]): row["rounds"] for row in measured.get("rows", [])}
        self.growth = {(row["name"], row["posts"]): row["rounds"] for row in measured.get("growth", [])}

    def ratio(self, name, who, connections, other=None):
        """The site's rate divided by another's: the median of the ratios of each round, in which the two ran side by side."""
        site, beside = self.rows.get((name, "site", connections)), self.rows.get((other or name, who, connections))
        if not site or not beside:
            return None
        ratios = [a["rate"] / b["rate"] for a, b in zip(site, beside) if b["rate"]]
        return statistics.median(ratios) if ratios else None

    def growing(self, name, small, large, what):
        a, b = self.growth.get((name, small)), self.growth.get((name, large))
        return statistics.median(y[what] / x[what] for x, y in zip(a, b)) if a and b else None


POOL = "database, as many connections as the site's pool"


def targets(measured):
    """Each target: its description, the wanted and the reached value (or None), and whether more is better."""
    table, found = Table(measured), []

    def want(words, wanted, reached, at_least=True, unit=""):
        met = None if reached is None else (reached >= wanted if at_least else reached <= wanted)
        found.append({"words": words, "wanted": wanted, "reached": reached, "at_least": at_least, "unit": unit, "met": met})

    for page, words in (("feed", "anonymous feed"), ("post", "post page")):
        for suffix, form in (("", "uncompressed"), ("-gzip", "gzip"), ("-br", "brotli")):
            for connections in (16, 64):
                want(f"{words}, {form}, compared with the same bytes from memory, {connections} connections", 0.85,
                     table.ratio(page + suffix, "memory", connections))
        want(f"{words}: statements", 0, count(measured, page), at_least=False)
    want("logged-in feed: statements", 2, count(measured, "feed-in"), at_least=False)
    for name, words, wanted in (("feed-in", "logged-in feed", 0.5), ("feed-in-fresh", "logged-in feed, not shared,", 0.5), ("vote", "vote through the form", 0.6)):
        for connections in (16, 64):
            for who, clients in (("database", "as many"), (POOL, "as many as the site's pool")):
                want(f"{words} compared with its statements in pgbench, {connections} connections, pgbench with {clients}", wanted,
                     table.ratio(name, who, connections))
    for name, words, other, wanted in (("feed", "anonymous feed compared with the FastAPI app's", "feed", 200),
                                       ("feed-in", "logged-in feed compared with the FastAPI app's", "feed", 15),
                                       ("vote", "vote compared with the FastAPI app's", "vote", 10)):
        for connections in (16, 64):
            want(f"{words}, {connections} connections", wanted, table.ratio(name, "peer", connections, other))

    for name in [*asked.PAGES] if measured["about"].get("baseline") else []:
        for connections in (16, 64):
            want(f"{name} compared with the baseline's, {connections} connections", 0.95, table.ratio(name, "baseline", connections))

    votes = measured.get("votes")
    want("votes lost or counted twice", 0, votes and abs(votes["score"] - votes["expected"]) + abs(votes["rows"] - votes["expected"])
         + votes["mismatches"] + votes["asked"] - votes["answered"], at_least=False)
    sizes = sorted({posts for _, posts in table.growth})
    if sizes:
        small, large = sizes[0], sizes[-1]
        for name, words in (("feed", "feed"), ("feed-pages", "the feed's further pages"), ("feed-in", "logged-in feed"),
                            ("post-pages", "post"), ("vote", "vote")):
            want(f"{words}: time at {large:,} posts divided by that at {small:,}", 1.2, table.growing(name, small, large, "p50"), at_least=False)
        for posts in sizes:
            deep, near = table.growth.get(("feed-deep", posts)), table.growth.get(("feed-pages", posts))
            want(f"time of deep pages divided by that of all pages, {posts:,} posts", 1.2,
                 deep and near and statistics.median(a["p50"] / b["p50"] for a, b in zip(deep, near)), at_least=False)
        # At a million posts, if that size was measured.
        large = 1_000_000 if 1_000_000 in sizes else large
        for word in ("common", "middling", "rare", "absent"):
            want(f"search, {word} words: p95 at {large:,} posts divided by that at {small:,}", 2, table.growing(f"search-{word}", small, large, "p95"), at_least=False)
    for name, rounds in measured.get("overload", {}).items():
        words = f"{overload.ROWS[name]} under {overload.TIMES} times the load"
        want(f"{words}: served, compared with the peak", 0.8,
             statistics.median(each["over"]["rate"] / each["peak"]["rate"] for each in rounds))
        for what, wanted in (("served", 1000), ("refused", 50)):
            want(f"{words}: p99 of what is {what}", wanted, statistics.median(each["over"][f"{what}_p99"] for each in rounds),
                 at_least=False, unit=" ms")
        want(f"{words}: neither served nor refused", 0, sum(each["over"]["other"] + each["over"]["broken"] for each in rounds),
             at_least=False)
    rush = measured.get("rush")
    want("the feed's p99 while 200 people log in, divided by its quiet value", 2,
         rush and statistics.median(pair["busy"]["p99"] / pair["quiet"]["p99"] for pair in rush), at_least=False)
    want("log-ins compared with the password hash alone, 16 connections", 0.85, table.ratio("log-in", "memory", 16))
    want("memory at rest", 60, measured.get("rest_mb"), at_least=False, unit=" MB")
    want("peak memory under full load", 150, measured.get("peak_mb"), at_least=False, unit=" MB")
    want("start to first page on an existing database", 300, statistics.median(measured["starts"]), at_least=False, unit=" ms")
    want("first view: page, style and script, compressed", 30, sum(measured["first_view"].values()) / 1000, at_least=False, unit=" kB")
    return found


def count(measured, kind):
    found = measured.get("statements")
    return len(found[kind]) if found else None


def number(value):
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def verdict(target):
    if target["met"] is None:
        return "not measured"
    if target["met"]:
        return "met"
    wanted, reached = target["wanted"], target["reached"]
    if wanted == 0:
        return f"falls short by {number(abs(reached - wanted))}"
    return f"falls short by {abs(reached - wanted) / wanted:.0%}"


def in_words(target):
    sign = "at least" if target["at_least"] else "at most"
    return f"{sign} {number(target['wanted'])}{target['unit']}"


def table(head, lines):
    right = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, right, *lines]) + "\n"


def document(measured):
    about_it, found = measured["about"], measured["targets"]
    parts = ["# Benchmark results\n",
             "Written by `bench/run`; [bench/README.md](../README.md) explains the rows and how to read them.\n",
             f"- {about_it['date']}, commit {about_it['commit']}\n- {about_it['machine']}; load {about_it['load_before']:.1f} before the run\n"
             f"- {about_it['versions']}\n- {about_it['rounds']} rounds of {about_it['seconds']} seconds, interleaved; all figures are medians\n"
             + "".join(f"- {int(posts):,} posts: {words}\n" for posts, words in about_it["data"].items())
             + ("" if about_it["peer"] else "- without the FastAPI app (`--peer`): its rows are left out\n")
             + (f"- only {', '.join(about_it['only'])}\n" if about_it["only"] else ""),
             "## Targets\n",
             table(["", "wanted", "reached", ""], [
                 [t["words"], in_words(t), number(t["reached"]) + (t["unit"] if t["reached"] is not None else ""), verdict(t)] for t in found])]

    if measured.get("rows"):
        lines, kept = [], Table(measured)
        for row in sorted(measured["rows"], key=lambda row: (names(measured).index(row["name"]), row["connections"])):
            m = lambda what: median(row["rounds"], what)
            ratio = None if row["who"] == "site" else kept.ratio(row["name"], row["who"], row["connections"])
            bad = sum(each["bad"] + each["broken"] for each in row["rounds"])
            lines.append([row["name"], str(row["connections"]), row["who"], number(m("rate")), number(ratio) if ratio else "", number(m("p50")),
                          number(m("p99")), number(m("cpu")), number(m("database_cpu")), str(bad) if bad else ""])
        first = next(iter(about_it["data"]))
        parts += [f"## Side by side, at {int(first):,} posts\n",
                  "`ratio` is the site's rate divided by that of the row; CPU is microseconds per request, of the server and of Postgres.\n",
                  table(["", "connections", "server", "per second", "ratio", "p50 ms", "p99 ms", "CPU", "Postgres CPU", "failed"], lines)]
    if measured.get("growth"):
        sizes = sorted({row["posts"] for row in measured["growth"]})
        kinds = list(dict.fromkeys(row["name"] for row in measured["growth"]))
        grown = {(row["name"], row["posts"]): row["rounds"] for row in measured["growth"]}
        failed = sum(each["bad"] + each["broken"] for row in measured["growth"] for each in row["rounds"])
        parts += ["## Growth\n", f"One connection; p50 and p95 in milliseconds; {failed} requests failed.\n", "![p50 by number of posts](latency.svg)\n",
                  table(["", *(f"{posts:,}" for posts in sizes)], [
                      [kind, *(f"{number(median(grown[kind, posts], 'p50'))} / {number(median(grown[kind, posts], 'p95'))}" for posts in sizes)] for kind in kinds])]
    if measured.get("rush"):
        pairs = measured["rush"]
        lines = [[words, *(number(statistics.median(pair[key][what] for pair in pairs)) for what in ("rate", "p50", "p99"))]
                 for key, words in (("quiet", "feed, quiet"), ("busy", "feed, during log-ins"))]
        parts += ["## While 200 people log in\n", table(["", "per second", "p50 ms", "p99 ms"], lines),
                  f"{number(statistics.median(pair['log_ins'] for pair in pairs))} log-ins a second; refused clients ({sum(pair['refused'] for pair in pairs)} refusals in all) try again.\n"]
    if measured.get("overload"):
        m = lambda rounds, load, what: number(statistics.median(each[load][what] for each in rounds))
        lines = [[name, m(rounds, "peak", "rate"), m(rounds, "over", "rate"), m(rounds, "over", "served_p50"), m(rounds, "over", "served_p99"),
                  number(statistics.median(each["over"]["refused"] / each["over"]["seconds"] for each in rounds)),
                  m(rounds, "over", "refused_p50"), m(rounds, "over", "refused_p99")] for name, rounds in measured["overload"].items()]
        parts += [f"## Under {overload.TIMES} times the load\n",
                  f"Open loop: the requests are due at a fixed rate, and their time counts from then. The peak is that of {overload.PEAK_CONNECTIONS} connections.\n",
                  table(["", "peak per second", "served per second", "served p50 ms", "served p99 ms", "refused per second", "refused p50 ms",
                         "refused p99 ms"], lines)]
    if measured.get("votes"):
        votes = measured["votes"]
        parts += [f"## Votes\n\nAll accounts at once for one post, four times each: {votes['answered']} of {votes['asked']} succeeded, score {votes['score']}, "
                  f"rows {votes['rows']}, expected {votes['expected']}.\n"
                  f"Of all posts that the benchmark voted for, {votes['mismatches']} have a score that differs from the number of their votes.\n"]
    if measured.get("statements"):
        parts += ["## Statements per request\n", table(["", "statements"], [[kind, str(len(each))] for kind, each in measured["statements"].items()]),
                  f"The site's pool had {measured['pool']} connections.\n"]
    view = ", ".join(f"`{path}` {size / 1000:.1f} kB" for path, size in measured["first_view"].items())
    parts += [f"## First view\n\n{view}.\n"]
    return "\n".join(parts)


def names(measured):
    return list(dict.fromkeys(row["name"] for row in measured["rows"] if row["who"] == "site")) + [
        row["name"] for row in measured["rows"] if row["who"] != "site"]


def write(measured, folder):
    # First, so that no measurement is lost.
    (folder / "measured.json").write_text(json.dumps(measured))
    measured["targets"] = targets(measured)
    text = document(measured)
    # A partial run is not a result to keep.
    place = folder / "part" if measured["about"]["only"] else RESULTS
    place.mkdir(parents=True, exist_ok=True)
    (place / "latest.md").write_text(text)
    (place / "latest.json").write_text(json.dumps(measured, indent=1) + "\n")
    if measured.get("growth"):
        (place / "latency.svg").write_text(picture.draw(measured["growth"], measured["about"]["commit"]))
    width = max(len(t["words"]) for t in measured["targets"])
    for t in measured["targets"]:
        if measured["about"]["only"] and t["met"] is None:
            continue
        print(f"{t['words']:{width}}  {number(t['reached']):>8}{t['unit']:3}  {in_words(t):18}  {verdict(t)}")
    print(f"\nmore in {os.path.relpath(place)}/latest.md")
