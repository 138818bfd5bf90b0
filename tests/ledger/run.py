"""One run of a drill: starts the site and the crowd, causes faults, measures recovery, and judges by the rules.

The rules, for every drill:

* nothing acknowledged is lost, doubled or wrong, and the doctor finds nothing wrong;
* no 5xx but 503 and 504, those with `Retry-After`, and an answer within ten seconds;
* no broken connection, except where the drill kills the program itself;
* a write is acknowledged within thirty seconds after each fault, without help;
* at other times at least 99 of 100 requests succeed (95 in the quick form, which shares its machine with other tests);
* the program does not panic, and ends with 0 after SIGTERM.
"""

import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path

from ledger.client import TIMEOUT
from ledger.crowd import Crowd
from ledger.ledger import Finding
from ledger.process import Stopped, ready, say, until
from ledger.site import STOP_LIMIT, Site

# Seconds.
RECOVERY_LIMIT = 30
# After the first acknowledged write, for those who wait for an answer from before.
AFTERMATH = 3
AVAILABILITY, QUICK_AVAILABILITY = 0.99, 0.95

DRILLS = {}


class LeftOut(Exception):
    """This machine cannot run the drill; the message says why."""


class Drill:
    def __init__(self, name, what, function, seconds, quick, cuts):
        self.name, self.what, self.function = name, what, function
        # How long faults are caused: by default, and in the quick form or None.
        self.seconds, self.quick = seconds, quick
        # Whether visitors' connections may break while a fault lasts.
        self.cuts = cuts


def drill(name, what, seconds=60, quick=None, cuts=False):
    """Registers a function as a drill; it is called with a `Run`."""

    def register(function):
        DRILLS[name] = Drill(name, what, function, seconds, quick, cuts)
        return function

    return register


class Strike:
    """A fault: when it began, from when recovery counts, when a write was acknowledged again (or None), and when the
    site was restarted because it did not recover."""

    def __init__(self, name, began, since, recovered):
        self.name, self.began, self.since, self.recovered, self.restarted = name, began, since, recovered, None

    @property
    def seconds(self):
        return self.recovered and self.recovered - self.since

    def covers(self, at):
        end = self.recovered or self.restarted or float("inf")
        return self.began <= at <= end + AFTERMATH


class Run:
    def __init__(self, drill, seconds, program, workers=12, rate=60, is_quick=False):
        self.drill, self.seconds, self.program = drill, seconds, program
        self.workers, self.rate = (8, 40) if is_quick else (workers, rate)
        self.is_quick = is_quick
        self.availability = QUICK_AVAILABILITY if is_quick else AVAILABILITY
        self.directory = Path(tempfile.mkdtemp(prefix=f"chaos-{drill.name}-"))
        self.directory.chmod(0o755)
        self.sites, self.crowds, self.strikes, self.cleanups = [], [], [], []
        self.broken, self.findings, self.figures = [], [], {}

    # --- For drills ---

    def add_site(self, **options):
        site = Site(self.directory / f"site-{len(self.sites)}", self.program, **options)
        self.sites.append(site)
        site.start()
        return site

    def add_crowd(self, site, **options):
        options = {"workers": self.workers, "rate": self.rate, "visitors": 2, **options}
        number = len(self.crowds)
        crowd = Crowd(site.origin, connect=site.connect, ledger=self.directory / f"ledger-{number}", **options)
        crowd.sign_up()
        self.crowds.append(crowd)
        return crowd

    def begin(self, crowd_options=None, **site_options):
        """The usual beginning: one site with its own Postgres, and a crowd that is at work."""
        site = self.add_site(**site_options)
        crowd = self.add_crowd(site, **(crowd_options or {}))
        self.figures["memory_at_rest_mb"] = site.rss()
        self.open()
        return site, crowd

    def open(self):
        for crowd in self.crowds:
            crowd.start()
        self.until = time.monotonic() + self.seconds
        time.sleep(2)

    @property
    def goes_on(self):
        return time.monotonic() < self.until

    def rest(self):
        """Until the time of the drill is over."""
        time.sleep(max(0, self.until - time.monotonic()))

    def strike(self, name, fault, recovered=None):
        """Causes a fault and waits for an acknowledged write that was sent after it, and for `recovered` if given.

        Recovery counts from the fault, or from the moment that `fault` returns because it ended then.
        """
        began = time.monotonic()
        since = fault() or began
        strike = Strike(name, began, since, self.first_acknowledgement(since, recovered))
        self.strikes.append(strike)
        if strike.recovered is None:
            self.broken.append(f"{name}: not recovered after {RECOVERY_LIMIT} s")
            say(f"  {name}: NOT recovered after {RECOVERY_LIMIT} s; restarting the program")
            self.restart()
            strike.restarted = time.monotonic()
        else:
            say(f"  {name}: recovered after {strike.seconds:.2f} s")
        return strike

    def first_acknowledgement(self, since, recovered):
        acknowledgements, seen, first = self.crowds[0].ledger.acknowledgements, 0, None
        while time.monotonic() < since + RECOVERY_LIMIT:
            new = acknowledgements[seen:]
            seen += len(new)
            first = first or next((answered for sent, answered in new if sent >= since), None)
            if first and (recovered is None or recovered()):
                return first if recovered is None else time.monotonic()
            time.sleep(0.02)
        return None

    def restart(self):
        """After a fault that the site did not survive, so that the rest can be read back."""
        site = self.sites[0]
        site.stop()
        site.start()

    # --- The end ---

    def execute(self):
        """Runs the drill to its verdict. Raises `LeftOut` and `Stopped`."""
        try:
            self.drill.function(self)
            for crowd in self.crowds:
                crowd.stop()
            self.judge_answers()
            self.judge_end()
            for crowd in self.crowds:
                self.findings += crowd.check()
            self.findings += [Finding("wrong", line) for site in self.sites for line in site.doctor()]
            self.judge_programs()
        except BaseException:
            self.clean_up(is_kept=True)
            raise
        self.clean_up(is_kept=not self.is_well)

    def clean_up(self, is_kept):
        for crowd in self.crowds:
            crowd.halt.set()
        for site in self.sites:
            site.clean_up()
        for cleanup in reversed(self.cleanups):
            cleanup()
        if is_kept:
            say(f"  logs and ledgers are in {self.directory}")
        else:
            shutil.rmtree(self.directory, ignore_errors=True)

    def faults_during(self, begun, took):
        return [strike for strike in self.strikes if strike.covers(begun) or strike.covers(begun + took)]

    def judge_answers(self):
        faults = Counter()
        outside = good = 0
        for crowd in self.crowds:
            self.broken += [f"the drill itself is at fault: {mistake}" for mistake in crowd.mistakes]
            for failure in crowd.failures:
                if fault := self.fault_of(failure):
                    faults[fault] += 1
            for kind, begun, took, how in crowd.answers:
                if self.faults_during(begun, took):
                    continue
                outside += 1
                good += not is_unserved(how)
        for fault, count in faults.most_common():
            self.broken.append(f"{count} × {fault}")
        self.figures["availability_outside_faults"] = round(good / outside, 4) if outside else None
        if outside and good / outside < self.availability:
            self.broken.append(f"only {100 * good / outside:.1f} % of the requests outside of faults succeeded")

    def fault_of(self, failure):
        """The rule that an answer breaks, if any."""
        how = failure["how"]
        if how == "no answer" or failure["took"] > TIMEOUT + 0.5:
            return f"no answer within {TIMEOUT} s"
        if how in ("cut", "refused"):
            faults = self.faults_during(failure["begun"], failure["took"])
            is_allowed = any(self.drill.cuts or strike.restarted for strike in faults)
            return None if is_allowed else f"a connection was {how}"
        if how.startswith("5") and how not in ("503", "504"):
            return f"status {how}"
        if how in ("503", "504") and not failure["retry_after"]:
            return f"{how} without Retry-After"
        return None

    def judge_end(self):
        """Whether each program serves after all; one that does not is restarted, so that the rest can be read."""
        for site in self.sites:
            try:
                until("/readyz", lambda: ready(site.port), 10)
            except Stopped:
                self.broken.append("/readyz is not 200 at the end")
                self.end(site)
                site.stderr = None
                site.start()

    def judge_programs(self):
        for site in self.sites:
            if "panicked" in site.log_text():
                self.broken.append("the program panicked")
            self.end(site)

    def end(self, site):
        code = site.stop()
        if code != 0:
            how = f"did not end within {STOP_LIMIT} s" if code is None else f"ended with {code}"
            self.broken.append(f"the program {how} after SIGTERM")

    @property
    def found(self):
        kinds = Counter(finding.kind for finding in self.findings)
        return {"lost": kinds["lost"], "duplicate": kinds["duplicate"], "wrong": kinds["wrong"]}

    @property
    def is_well(self):
        return not self.broken and not self.findings


def is_unserved(how):
    """Whether the site failed to serve a request, rather than refusing it for its content."""
    return how is not None and not how.startswith("4")
