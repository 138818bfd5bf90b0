"""Measures the site: `bench/run --help`."""

import argparse
import concurrent.futures
import fcntl
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path

sys.dont_write_bytecode = True

import asked
import overload
import report
from database import ROOT, Cluster, Database
from load import Web, interleaved
from servers import Memory, Peer, Site
from system import Failure, memory, say

PEOPLE = 64
RUSH = 200
DEPTH = 1000


def arguments():
    parser = argparse.ArgumentParser(prog="bench/run", description=__doc__.split(":")[0] + ".", allow_abbrev=False)
    parser.add_argument("--posts", default="20000", metavar="N[,N...]",
                        help="sizes of the data; the first is used for the comparisons, all of them for growth (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="the results are medians of this many rounds (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=3, help="length of each measurement (default: %(default)s)")
    parser.add_argument("--only", metavar="NAME[,NAME...]", help="measure only these rows, such as feed,vote")
    parser.add_argument("--peer", type=Path, metavar="DIR", help="a folder with the FastAPI app to compare with (fastapi/ and venv/)")
    parser.add_argument("--baseline", type=Path, metavar="PROGRAM",
                        help="another build of social-post with the same schema, to compare this one with, over the same data")
    parser.add_argument("--check", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    try:
        given.posts = [int(size.replace("_", "")) for size in given.posts.split(",")]
    except ValueError:
        parser.error("--posts takes numbers separated by commas")
    if min(given.posts) < 10_000 or len(set(given.posts)) < len(given.posts):
        parser.error("--posts takes different numbers of 10000 or more")
    if given.rounds < 1 or given.seconds < 1:
        parser.error("--rounds and --seconds take 1 or more")
    names = list(dict.fromkeys([*asked.PAGES, *asked.PASSWORDS, *asked.GROWING, *overload.ROWS]))
    given.only = set(given.only.split(",")) if given.only else set()
    if unknown := given.only.difference(names):
        parser.error(f"--only: there is no row {', '.join(sorted(unknown))}; the rows are {', '.join(names)}")
    if given.baseline:
        given.baseline = given.baseline.resolve()
        if not os.access(given.baseline, os.X_OK):
            parser.error(f"--baseline: {given.baseline} is not a program")
    if given.peer:
        given.peer = given.peer.resolve()
        if not (given.peer / "venv/bin/python").exists():
            parser.error(f"--peer: {given.peer} has no venv/bin/python; see its README")
    return given


def main():
    given = arguments()
    if given.check:
        return
    # SIGTERM runs the clean-up too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.chdir(ROOT)
    target = Path(os.environ.get("CARGO_TARGET_DIR", "target")).resolve()
    folder = target / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    lock = open(folder / "lock", "w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Failure("another bench/run is running here") from None

    cluster = Cluster(folder)
    try:
        measured = measure(given, cluster, target / "release", folder)
    finally:
        cluster.close()
        for file in [*folder.glob("*.requests"), *folder.glob("*.log"), folder / "answers.json"]:
            file.unlink(missing_ok=True)
    report.write(measured, folder)


def measure(given, cluster, programs, folder):
    program = programs / "social-post"
    databases = {posts: Database(cluster, posts) for posts in given.posts}
    cluster.make()
    cluster.start(in_haste=True)
    for database in databases.values():
        if not database.exists():
            say(f"generating {database.posts:,} posts")
            database.make(program, {**os.environ, "RATE_LIMITS": "off"})
    cluster.stop()
    cluster.start()
    sizes = {}
    for posts, database in databases.items():
        say(f"taking away what an earlier run added to {posts:,} posts")
        database.reset()
        sizes[posts] = database.size()

    measured = {"about": report.about(given, cluster, sizes)}
    first = Site(program, databases[given.posts[0]], folder)
    measured["starts"] = starts(first, given.rounds)
    first.start()
    try:
        first.get("/")
        measured["rest_mb"] = memory(first.process.pid)
        measured["first_view"] = first_view(first)
        compare(given, first, programs, folder, measured)
    finally:
        first.stop()
    if len(databases) > 1:
        measured["growth"] = grow(given, [Site(program, database, folder) for database in databases.values()])
    return measured


def starts(site, rounds):
    """Milliseconds from the start to the first page, on a database that is there."""
    times = []
    for _ in range(max(rounds, 3)):
        times.append(1000 * site.start())
        site.stop()
    return times


def first_view(site):
    """Bytes of the front page, its style and its script, as a browser takes them."""
    accept = {"Accept-Encoding": "gzip, deflate, br"}
    page = site.get("/", **accept)
    html = site.get("/").content.decode()
    files = re.findall(r'(?:href|src)="(/static/[^"]+\.(?:css|js))"', html)
    return {"/": len(page.content), **{path: len(site.get(path, **accept).content) for path in files}}


def compare(given, site, programs, folder, measured):
    database, cluster = site.database, site.cluster
    say(f"finding out what the pages of {database.posts:,} posts ask the database")
    sample = asked.Sample.of(site, PEOPLE, DEPTH)
    others = site.people(PEOPLE)
    statements = asked.statements_of(sample)
    measured["statements"] = {kind: [text for text, _ in found] for kind, found in statements.items()}
    # All of its pool.
    Web("feed-in", "site", site, lambda: sample.pages_of("feed-in")).measure(64, 1)
    measured["pool"] = site.pool()

    targets = asked.site_targets(sample, others, given.seconds)
    targets += asked.database_targets(sample, statements, measured["pool"])
    remembered = Memory(programs / "examples/memory", cluster, folder)
    servers = [remembered]
    peer = given.peer and Peer(given.peer, database, folder)
    try:
        remembered.start(site, [request for kind in asked.REMEMBERED for request in sample.pages_of(kind)])
        targets += asked.memory_targets(sample, remembered)
        if peer:
            say("copying the data for the FastAPI app")
            servers.append(peer)
            peer.start()
            targets += asked.peer_targets(sample, peer, given.seconds)
        if given.baseline:
            baseline = Site(given.baseline, database, folder)
            servers.append(baseline)
            baseline.start()
            # Sessions are in the database, so the same members are logged in at both.
            targets += sample.targets(asked.PAGES, given.seconds, baseline, "baseline")
            targets.sort(key=lambda target: target.name)
        if given.only:
            targets = [target for target in targets if target.name in given.only]
        results = interleaved(targets, [16, 64], given.rounds, given.seconds, site.forget_log)
        measured["rows"] = report.rows(results)
        if not given.only or "log-in" in given.only:
            say(f"the feed while {RUSH} people log in")
            measured["rush"] = rush(site, sample, others, given.rounds, given.seconds)
        if under := [name for name in overload.ROWS if not given.only or name in given.only]:
            program = programs / "examples/overload"
            measured["overload"] = overload.measure(site, sample, program, given.rounds, given.seconds, under)
        measured["votes"] = all_votes_count(site, sample)
        measured["peak_mb"] = memory(site.process.pid, "VmHWM")
    finally:
        for server in servers:
            server.stop()
        if peer:
            peer.clear()


def rush(site, sample, people, rounds, seconds):
    """The feed's times while quiet and during log-ins, a pair per round: 200 people log in, and a client that is refused
    tries again a second later."""
    feed = Web("feed", "rush", site, lambda: sample.pages_of("feed"))
    requests = asked.log_ins(people) * (1 + RUSH // len(people))
    pairs = []
    for _ in range(rounds):
        quiet = feed.measure(16, seconds)
        is_over, statuses = threading.Event(), []

        def log_in(request):
            while not is_over.is_set():
                statuses.append(site.send(request).status)
                is_over.wait(1)

        with concurrent.futures.ThreadPoolExecutor(RUSH) as pool:
            crowd = [pool.submit(log_in, request) for request in requests[:RUSH]]
            time.sleep(1)
            before, begun = len(statuses), time.monotonic()
            try:
                busy = feed.measure(16, seconds)
                took, during = time.monotonic() - begun, statuses[before:]
            finally:
                is_over.set()
            for person in crowd:
                person.result()
        pairs.append({"quiet": quiet, "busy": busy, "log_ins": during.count(303) / took, "refused": len(during) - during.count(303)})
        site.forget_log()
    return pairs


def all_votes_count(site, sample):
    """All accounts vote for one post at once, several times each: each vote has to count once."""
    database, post = site.database, sample.posts[2]

    def score():
        return [int(value) for value in database.sql(
            f"select score, (select count(*) from votes where post_id = {post}) from post_ranks where post_id = {post}")[0]]

    with concurrent.futures.ThreadPoolExecutor(PEOPLE) as pool:
        list(pool.map(lambda person: site.send(asked.vote_request(person, post, 0)), sample.people))
        before, _ = score()
        answers = list(pool.map(lambda person: site.send(asked.vote_request(person, post, 1)).status, sample.people * 4))
    after, rows = score()
    return {"answered": answers.count(303), "asked": len(answers), "expected": before + PEOPLE, "score": after, "rows": rows,
            "mismatches": database.mismatches()}


def grow(given, sites):
    """Measures each kind of request with one connection, on every size of the data in turn."""
    targets, sizes = [], {}
    try:
        for site in sites:
            say(f"preparing {site.database.posts:,} posts")
            site.start()
            sample = asked.Sample.of(site, 16, DEPTH)
            kinds = [kind for kind in asked.GROWING if not given.only or kind in given.only]
            for target in sample.targets(kinds, given.seconds):
                targets.append(target)
                sizes[target] = site.database.posts
        # The same kind on all sizes one after the other, because these are compared.
        targets.sort(key=lambda target: (asked.GROWING.index(target.name), sizes[target]))
        sites[0].cluster.rest()
        # A long warm-up, as on a site that has been running for a while: otherwise the larger tables would be read
        # into memory for the first time, and the smaller ones would not.
        results = interleaved(targets, [1], given.rounds, given.seconds, lambda: [site.forget_log() for site in sites], warm_up=4)
        return [{"name": target.name, "posts": sizes[target], "rounds": rounds} for (target, _), rounds in results.items()]
    finally:
        for site in sites:
            site.stop()


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        print(f"bench/run: {failure}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("bench/run: stopped", file=sys.stderr)
        sys.exit(130)
