"""`bin/chaos`: runs drills and prints what they found.

Each drill starts a site of its own, sends people to it through both faces, causes a fault, and checks at the end
that every acknowledged effect is there, once. For each it prints acknowledged, lost, twice, wrong, the time to
recover and what visitors saw, and a last line of JSON. Exit code: 0 all passed, 1 a drill failed or could not
begin, 2 wrong usage.
"""

import argparse
import json
import signal
import sys
import traceback

import ledger.drills  # noqa: F401 (registers its drills)
import ledger.load_drills  # noqa: F401
from ledger import report
from ledger.process import Stopped, program, say
from ledger.run import DRILLS, LeftOut, Run


def main():
    parser = argparse.ArgumentParser(prog="bin/chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", help="a drill, `all`, or `quick` for the two-minute form of some")
    parser.add_argument("--list", action="store_true", help="print the drills")
    parser.add_argument("--seconds", type=float, help="how long faults are caused; each drill has its default")
    parser.add_argument("--rate", type=float, default=60, help="actions a second of all members together (60)")
    parser.add_argument("--workers", type=int, default=12, help="members (12)")
    parser.add_argument("--markdown", action="store_true", help="print rows for docs/RELIABILITY.md instead")
    parser.add_argument("--debug", action="store_true", help="use the debug build; without it bin/chaos builds a release")
    given = parser.parse_args()
    if given.list:
        for drill in DRILLS.values():
            print(f"{drill.name:18} {drill.what}")
        return 0
    if given.name == "quick":
        chosen = [drill for drill in DRILLS.values() if drill.quick]
    elif given.name == "all":
        chosen = list(DRILLS.values())
    elif given.name in DRILLS:
        chosen = [DRILLS[given.name]]
    else:
        parser.error("name a drill, `all` or `quick`; --list prints them")

    for end in (signal.SIGTERM, signal.SIGINT):
        signal.signal(end, lambda *_: sys.exit(1))
    say(f"bin/chaos: {program()}")
    if given.markdown:
        print(report.HEADER)
    results = [attempt(drill, given) for drill in chosen]
    if len(results) > 1 and not given.markdown:
        failed = [result["drill"] for result in results if result["passed"] is False]
        print(json.dumps({"drills": len(results), "failed": failed, "left_out": [result["drill"] for result in results if result["passed"] is None]}))
    return 1 if any(result["passed"] is False for result in results) else 0


def attempt(drill, given):
    """Runs one drill and prints it; its result as in the JSON line."""
    seconds = given.seconds or (drill.quick if given.name == "quick" else drill.seconds)
    say(f"{drill.name}: begins, {seconds:g} s")
    run = Run(drill, seconds, program(), given.workers, given.rate, is_quick=given.name == "quick")
    try:
        run.execute()
    except LeftOut as reason:
        result = {"drill": drill.name, "passed": None, "left_out": str(reason)}
        row = f"| `{drill.name}` | {drill.what} | | | | | | left out: {reason} | `bin/chaos {drill.name}` |"
        text = f"{drill.name}: left out: {reason}"
    except Exception as reason:
        if not isinstance(reason, Stopped):
            traceback.print_exc()
        result = {"drill": drill.name, "passed": False, "stopped": f"{type(reason).__name__}: {reason}"}
        row = f"| `{drill.name}` | {drill.what} | | | | | | stopped: {reason} | `bin/chaos {drill.name}` |"
        text = f"{drill.name}: FAILED: {reason}"
    else:
        result, row, text = report.as_json(run), report.as_row(run), report.as_text(run)
    print(row if given.markdown else f"{text}\n{json.dumps(result, ensure_ascii=False)}", flush=True)
    return result


if __name__ == "__main__":
    sys.exit(main())
