"""A run in words, as a row of docs/RELIABILITY.md, and as JSON."""

import statistics
from collections import Counter

from ledger.ledger import ACKNOWLEDGED, UNKNOWN
from ledger.run import is_unserved

HEADER = "| drill | what is done | acknowledged | lost | twice | wrong | time to recover | what visitors saw | command |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |"


def outcome(run, kind):
    return sum(crowd.ledger.outcomes[kind] for crowd in run.crowds)


def recovery(run):
    """From each fault, or from its end, to the first acknowledged write that was sent after it."""
    times = [strike.seconds for strike in run.strikes if strike.seconds is not None]
    missing = sum(strike.seconds is None for strike in run.strikes)
    parts = [f"{statistics.median(times):.1f} s, at most {max(times):.1f} s ({len(times)} times)"] if times else []
    parts += [f"never within the limit ({missing} times)"] if missing else []
    return "; ".join(parts) or "nothing was down"


def saw(run):
    """What members and anonymous visitors saw: the share that was served, and how the rest failed."""
    answers = [answer for crowd in run.crowds for answer in crowd.answers]
    parts = []
    for name, group in (
        ("members", [answer for answer in answers if answer[0] != "visit"]),
        ("visitors", [answer for answer in answers if answer[0] == "visit"]),
    ):
        if not group:
            continue
        failed = Counter(how for _, _, _, how in group if is_unserved(how))
        share = 100 * (1 - failed.total() / len(group))
        rest = ", ".join(f"{count} × {how}" for how, count in failed.most_common())
        parts.append(f"{name}: {share:.1f} % of {len(group):,} served" + (f" ({rest})" if rest else ""))
    times = sorted(took for _, _, took, how in answers if not is_unserved(how))
    if times:
        parts.append(f"p99 {1000 * times[int(len(times) * 0.99)]:.0f} ms")
    return "; ".join(parts) or "no visitors"


def as_json(run):
    return {
        "drill": run.drill.name, "seconds": run.seconds, "passed": run.is_well, "acknowledged": outcome(run, ACKNOWLEDGED),
        "unknown": outcome(run, UNKNOWN), **run.found, "recovery_s": [strike.seconds and round(strike.seconds, 2) for strike in run.strikes],
        "saw": saw(run), "broken": run.broken, **run.figures,
    }


def as_row(run):
    found = run.found
    cells = [
        f"`{run.drill.name}`", run.drill.what, f"{outcome(run, ACKNOWLEDGED):,}", found["lost"], found["duplicate"], found["wrong"],
        recovery(run), "; ".join([saw(run), *(f"**broken: {rule}**" for rule in run.broken)]), f"`bin/chaos {run.drill.name} --seconds {run.seconds:g}`",
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def as_text(run):
    found = run.found
    lines = [
        f"{run.drill.name}: {run.drill.what}",
        f"  acknowledged {outcome(run, ACKNOWLEDGED):,}, lost {found['lost']}, twice {found['duplicate']}, wrong {found['wrong']}; unknown {outcome(run, UNKNOWN)}",
        f"  time to recover: {recovery(run)}",
        f"  visitors saw: {saw(run)}",
    ]
    lines += [f"  {name.replace('_', ' ')}: {value}" for name, value in run.figures.items()]
    lines += [f"  {finding}" for finding in run.findings[:20]]
    lines += [f"  rule broken: {rule}" for rule in run.broken]
    lines.append(f"  {'passed' if run.is_well else 'FAILED'}")
    return "\n".join(lines)
