"""Load, and clients that misbehave."""

import resource
import time
from collections import Counter

from ledger.people import Person
from ledger.process import say, until
from ledger.run import LeftOut, drill
from ledger.storm import HangUps, Remote

# MB: what the program may need under any abuse, of 512 MB that a small server has.
MEMORY_LIMIT = 256
# Seconds that one request in a hundred may take while other clients misbehave: more than the site's own limit of three.
WAITING_LIMIT = 5
# The share of its peak that the site still does under five times the load. The load comes from the same cores, so
# the share that counts is measured by bench/overload; this one finds a collapse.
GOODPUT = 0.5


def watch_memory(run, site, seconds):
    """Waits, and notes the largest memory meanwhile."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        run.figures["memory_at_most_mb"] = max(run.figures.get("memory_at_most_mb", 0), site.rss())
        time.sleep(0.25)


def judge_memory(run, site):
    run.figures["memory_at_the_end_mb"] = site.rss()
    if run.figures["memory_at_most_mb"] > MEMORY_LIMIT:
        run.broken.append(f"the program needed {run.figures['memory_at_most_mb']} MB, more than {MEMORY_LIMIT}")


def judge_waiting(run, crowd):
    """Nobody waits long because of somebody else's connections."""
    times = sorted(took for _, _, took, _ in list(crowd.answers))
    p99 = times[int(len(times) * 0.99)] if times else 0
    if p99 > WAITING_LIMIT:
        run.broken.append(f"one request in a hundred took {p99:.1f} s, more than {WAITING_LIMIT}")


def end_storm(run, storm):
    """Notes what its clients saw: how many answers of each status, or how their connections ended."""
    storm.stop()
    if storm.state["mistake"]:
        run.broken.append(f"the drill itself is at fault: {storm.state['mistake']}")
    run.figures["clients_saw"] = storm.state["outcomes"]


def need_files(count):
    """Raises this process's limit of open files; a connection needs one here and one in the program."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < count:
        raise LeftOut(f"it needs {count} open files and {most} are permitted")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@drill("hang-up", "8 clients that hang up at random bytes of requests and of answers", seconds=60, quick=12)
def hang_up(run):
    crowd = run.add_crowd(run.add_site())
    # They have sessions and tokens of their own, so that each write has one writer.
    hangers = [Person(crowd, f"h{crowd.run}-{n}", 180 + n) for n in range(8)]
    for person in hangers:
        person.sign_up_self()
        until("a token for each who hangs up", lambda: person.is_logged_in("api"), 60)
    crowd.bystanders += hangers
    run.open()
    storm = HangUps(crowd.server, len(hangers), crowd, hangers)
    storm.start()
    run.rest()
    storm.stop()
    judge_waiting(run, crowd)
    run.figures["hung_up_after"] = dict(storm.outcomes)
    if storm.mistake:
        run.broken.append(f"the drill itself is at fault: {storm.mistake}")
    if min(storm.outcomes["whole"], storm.outcomes["cut"]) < 50:
        run.broken.append("hardly anybody hung up: the drill is too short to mean anything")


@drill("slow-bodies", "1,200 clients (200 in the quick form) whose bodies arrive a byte a second, or never completely", seconds=60, quick=12)
def slow_bodies(run):
    need_files(2_000)
    site, crowd = run.begin()
    # A quarter of them send half a megabyte each but for the last hundred bytes.
    storm = Remote("SlowBodies", crowd.server, 200 if run.is_quick else 1200)
    storm.start()
    watch_memory(run, site, run.until - time.monotonic())
    end_storm(run, storm)
    judge_waiting(run, crowd)
    judge_memory(run, site)


@drill("idle-connections", "10,000 connections that are kept open and ask for nothing", seconds=60)
def idle_connections(run):
    need_files(10_500)
    site, crowd = run.begin()
    storm = Remote("Idle", crowd.server, 10_000)
    storm.start()
    most = 0
    while run.goes_on:
        watch_memory(run, site, 1)
        most = max(most, storm.held)
    run.figures["held_at_most"] = most
    if most < 0.9 * storm.size:
        run.broken.append(f"only {most} of {storm.size} connections could be held")
    end_storm(run, storm)
    judge_waiting(run, crowd)
    judge_memory(run, site)


@drill("streams", "5,000 streams of live changes, then the program is restarted with SIGTERM", seconds=60, cuts=True)
def streams(run):
    need_files(5_500)
    site, crowd = run.begin()
    storm = Remote("Streams", crowd.server, 5_000)
    storm.start()
    began = time.monotonic()
    while storm.held < storm.size and time.monotonic() < began + 60:
        watch_memory(run, site, 0.2)
    if storm.held < storm.size:
        run.broken.append(f"only {storm.held} of {storm.size} streams could be opened")
    say(f"  {storm.held} streams after {time.monotonic() - began:.1f} s")
    events = storm.events
    watch_memory(run, site, run.seconds / 2)
    run.figures["events_received_before_the_restart"] = storm.events - events
    if storm.events - events < storm.held:
        run.broken.append("the streams received hardly any event")

    def fault():
        code, ended = site.stop(), time.monotonic()
        if code != 0:
            run.broken.append(f"the program ended with {code} after SIGTERM, with the streams open")
        site.start()
        return ended

    # It has recovered when all streams are back as well.
    run.strike("restart", fault, lambda: storm.held >= storm.size)
    run.until = time.monotonic() + run.seconds / 2
    events = storm.events
    watch_memory(run, site, run.seconds / 2)
    if storm.events - events < storm.held:
        run.broken.append("the streams received hardly any event after the restart")
    end_storm(run, storm)
    judge_memory(run, site)


@drill("overload", "a closed loop of 1,000 connections that read the front page as members, vote and post, after one of 8", seconds=40)
def overload(run):
    site, crowd = run.begin({"rate": 10})
    sessions = [person.credentials["page"].secret for person in visiting(crowd)]
    figures = run.figures
    figures["peak"] = closed_loop(run, site, crowd, sessions, 8, run.seconds / 2)
    say(f"  peak: {figures['peak']}")

    def fault():
        figures["overload"] = closed_loop(run, site, crowd, sessions, 1000, run.seconds / 2)
        say(f"  overload: {figures['overload']}")
        return time.monotonic()

    run.strike("overload", fault)
    share = figures["overload"]["served_per_second"] / max(figures["peak"]["served_per_second"], 1)
    figures["goodput_share_of_the_peak"] = round(share, 2)
    if share < GOODPUT:
        run.broken.append(f"under overload the site does {100 * share:.0f} % of its peak, less than {100 * GOODPUT:.0f} %")


def visiting(crowd):
    """Members who only send load: the ledger does not follow their votes."""
    people = [Person(crowd, f"o{crowd.run}-{n}", 180 + n) for n in range(8)]
    for person in people:
        person.sign_up_self()
    return people


def closed_loop(run, site, crowd, sessions, connections, seconds):
    """Sends the load from two processes, and sums up what came of it."""
    # Its votes are for posts that the ledger does not check.
    stage = [person.publish("page", with_key=True) for person in crowd.people[:4]]
    addresses = [post.address for post in stage if post]
    loops = [Remote("Closed", crowd.server, connections // 2, sessions=sessions, stage=addresses) for _ in range(2)]
    for loop in loops:
        loop.start()
    watch_memory(run, site, seconds)
    for loop in loops:
        loop.stop()
        if loop.state["mistake"]:
            run.broken.append(f"the drill itself is at fault: {loop.state['mistake']}")
    outcomes = sum((Counter(loop.state["outcomes"]) for loop in loops), Counter())
    for outcome, count in outcomes.items():
        if outcome.startswith("5") and outcome not in ("503", "504"):
            run.broken.append(f"{count} × status {outcome} under overload")
        if outcome == "no answer":
            run.broken.append(f"{count} × no answer within 10 s under overload")
    times = sorted(time for loop in loops for time in loop.state.get("times", []))
    refusals = sorted(time for loop in loops for time in loop.state.get("refusals", []))
    at = lambda values, share: round(1000 * values[int(len(values) * share)]) if values else None
    return {
        "served_per_second": round(len(times) / seconds), "p50_ms": at(times, 0.5), "p99_ms": at(times, 0.99),
        "refused_per_second": round(len(refusals) / seconds), "refusal_p50_ms": at(refusals, 0.5), "refusal_p99_ms": at(refusals, 0.99), "outcomes": dict(outcomes),
    }


@drill("soak", "ordinary load for an hour, with the program killed once in the middle", seconds=3600, cuts=True)
def soak(run):
    site, crowd = run.begin()
    samples = []

    def watch(until):
        while time.monotonic() < until:
            samples.append((site.rss(), site.open_files(), len(site.backends())))
            time.sleep(min(5, run.seconds / 40))

    middle = time.monotonic() + run.seconds / 2
    watch(middle)
    first = samples[len(samples) // 2 :]

    def fault():
        site.kill()
        site.start()

    run.strike("kill -9 of the program", fault)
    samples.clear()
    watch(run.until)
    second = samples[len(samples) // 2 :]
    for n, name in enumerate(("memory_mb", "open_files", "database_connections")):
        before, after = (sorted(sample[n] for sample in part)[len(part) // 2] if part else 0 for part in (first, second))
        run.figures[name] = f"{before} before, {after} after"
    memory = [sample[0] for sample in second]
    if memory and memory[-1] > 1.1 * memory[0] + 16:
        run.broken.append(f"memory grows: {memory[0]} MB, then {memory[-1]} MB in the last quarter")
