"""Five times as many requests as the site can answer, at a fixed rate: what is served, how fast, and how fast the rest
is refused."""

import json

from load import Request
from system import cpu, run, say

TIMES = 5
PEAK_CONNECTIONS = 64
# Enough that one of them is always free when a request is due.
CONNECTIONS = 2000
ROWS = {
    "overload-feed-in": "the member's feed",
    "overload-post-in": "a post's page for a member",
    "overload-vote": "the vote",
}


def requests(sample, name, seconds):
    people = [{"Cookie": cookie} for _, _, cookie in sample.people]
    if name == "overload-feed-in":
        return [Request("/", headers=cookie) for cookie in people]
    if name == "overload-post-in":
        return [Request(f"/posts/{post}", headers=people[n % len(people)]) for n, post in enumerate(sample.posts)]
    return sample.votes(seconds)


def measure(site, sample, program, rounds, seconds, names):
    """For each row its rounds: the peak, and the same under five times as many requests."""
    results = {name: [] for name in ROWS if name in names}
    for number in range(rounds):
        say(f"overload, round {number + 1} of {rounds}")
        for name, found in results.items():
            file = site.folder / f"{site.port}-{name}.requests"

            def load(seconds, *options):
                file.write_text("".join(request.line() for request in requests(sample, name, seconds)))
                before = cpu(site.process.pid), cpu(site.cluster.process.pid)
                output = run([program, f"127.0.0.1:{site.port}", file, "--seconds", seconds, *options], seconds + 60)
                after = cpu(site.process.pid), cpu(site.cluster.process.pid)
                site.settle()
                own, database = (b - a for a, b in zip(before, after))
                return {**json.loads(output), "cpu": own, "database_cpu": database}

            load(1, "--connections", PEAK_CONNECTIONS)
            peak = load(seconds, "--connections", PEAK_CONNECTIONS)
            over = load(seconds, "--connections", CONNECTIONS, "--rate", round(TIMES * peak["rate"]))
            found.append({"peak": peak, "over": over})
        site.forget_log()
    return results
