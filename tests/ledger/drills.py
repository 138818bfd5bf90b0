"""Faults of the program, its Postgres, its disk and its clock, and maintenance while it serves."""

import fcntl
import os
import random
import secrets
import select
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

from ledger.client import Broken, Client
from ledger.ledger import Finding
from ledger.people import API
from ledger.process import say, until
from ledger.run import LeftOut, drill
from ledger.site import Postgres, Site, signal_process

# Seconds between two faults, so that each is measured by itself.
PAUSE = 3


def rounds(run):
    """One round after another until the drill's time is over, each after a pause of another length; at least one."""
    while True:
        time.sleep(PAUSE + random.random())
        yield
        if not run.goes_on:
            return


@drill("kill-program", "`kill -9` of the program, which is started again at once", seconds=120, quick=12, cuts=True)
def kill_program(run):
    site, _ = run.begin()

    def fault():
        site.kill()
        site.start()

    for _ in rounds(run):
        run.strike("kill -9 of the program", fault)


@drill("kill-postmaster", "`kill -9` of the first process of the program's own Postgres", seconds=120, quick=12)
def kill_postmaster(run):
    site, _ = run.begin()
    for _ in rounds(run):
        run.strike("kill -9 of the postmaster", lambda: os.kill(until("a postmaster", site.postmaster), signal.SIGKILL))


@drill("kill-backend", "`kill -9` of the server process of one connection, after which Postgres recovers from a crash", seconds=120, quick=12)
def kill_backend(run):
    site, _ = run.begin()
    for _ in rounds(run):
        run.strike("kill -9 of a backend", lambda: os.kill(random.choice(until("a backend", site.backends)), signal.SIGKILL))


@drill("stop-postgres", "`pg_ctl stop` of the program's own Postgres from outside: fast, immediate, smart", seconds=60)
def stop_postgres(run):
    site, _ = run.begin()
    for _ in rounds(run):
        for mode in ("fast", "immediate", "smart"):
            before = until("a postmaster", site.postmaster)
            # A smart stop serves those who are connected, and nobody new.
            run.strike(f"pg_ctl stop -m {mode}", lambda: site.pg_ctl_stop(mode), lambda: site.postmaster() != before and site.accepts())
            time.sleep(PAUSE)


@drill("freeze-postgres", "SIGSTOP of all processes of Postgres for five seconds", seconds=60)
def freeze_postgres(run):
    site, _ = run.begin()

    def fault():
        frozen = until("Postgres", site.postgres_processes)
        for pid in frozen:
            signal_process(pid, signal.SIGSTOP)
        time.sleep(5)
        for pid in frozen:
            signal_process(pid, signal.SIGCONT)
        return time.monotonic()

    for _ in rounds(run):
        run.strike("SIGSTOP of Postgres for 5 s", fault)


@drill("disk-full", "the disk of DATA_DIR (a tmpfs of 320 MB) is full for ten seconds, twice; the second time the write-ahead log needs space", seconds=60)
def disk_full(run):
    data = run.directory / "site-0" / "data"
    data.mkdir(parents=True)
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=320m,mode=0711", "tmpfs", str(data)], capture_output=True, text=True)
    if mount.returncode:
        raise LeftOut(f"mounts are not permitted here: {mount.stderr.strip()}")
    run.cleanups.append(lambda: subprocess.run(["umount", "--lazy", str(data)], capture_output=True))
    site, crowd = run.begin()
    filler = data / "filler"

    def fill(needs_log):
        until, failed = time.monotonic() + 10, len(crowd.failures)
        # Again and again, because Postgres frees some space when it restarts.
        while time.monotonic() < until:
            try:
                with open(filler, "ab", buffering=0) as file:
                    while file.write(bytes(64 * 1024)):
                        pass
            except OSError:
                if needs_log:
                    # The next file of the write-ahead log does not fit, and Postgres ends.
                    site.query("select pg_logical_emit_message(true, 'drill', 'x'), pg_switch_wal()")
                time.sleep(0.1)
        if len(crowd.failures) == failed:
            run.broken.append("the full disk was not felt: the drill is too short to mean anything")
        filler.unlink()
        return time.monotonic()

    time.sleep(PAUSE)
    run.strike("the disk is full for 10 s", lambda: fill(needs_log=False))
    time.sleep(PAUSE)
    run.strike("the disk is full for 10 s and the write-ahead log needs space", lambda: fill(needs_log=True))
    run.rest()


@drill("descriptors", "64 open files at most beyond those at rest, and a flood of 400 idle connections for ten seconds", seconds=60)
def descriptors(run):
    if not shutil.which("prlimit"):
        raise LeftOut("prlimit is absent: install util-linux")
    site, crowd = run.begin()
    limit = site.open_files() + 64
    subprocess.run(["prlimit", f"--nofile={limit}:{limit}", "--pid", str(site.child.pid)], check=True)

    def fault():
        lines, began = len(site.log_text().splitlines()), time.monotonic()
        flood, newcomers = [], []
        while time.monotonic() - began < 10:
            while len(flood) < 400:
                sock = socket.socket()
                sock.setblocking(False)
                sock.bind((f"127.0.8.{1 + len(flood) % 250}", 0))
                sock.connect_ex(("127.0.0.1", site.port))
                flood.append(sock)
            newcomers.append(ask_once(crowd, 230))
            time.sleep(0.5)
        for sock in flood:
            sock.close()
        late = sum(answer == "no answer" for answer in newcomers)
        served = sum(isinstance(answer, int) for answer in newcomers)
        run.figures["newcomers_during_the_flood"] = f"{served} of {len(newcomers)} were answered, {late} waited ten seconds in vain"
        if late:
            run.broken.append(f"{late} of {len(newcomers)} newcomers had no answer within 10 s")
        count = sum("cannot accept" in line for line in site.log_text().splitlines()[lines:])
        run.figures["log_lines_about_it"] = count
        if count > 12:
            run.broken.append(f"the log has {count} lines about ten seconds without descriptors")
        return time.monotonic()

    for _ in rounds(run):
        run.strike("a flood of connections", fault)


def ask_once(crowd, number):
    """The status that somebody new sees, or how the connection broke."""
    client = Client(crowd.server, number)
    try:
        return client.ask("GET", "/").status
    except Broken as err:
        return err.kind
    finally:
        client.close()


@drill("stuck-log", "stderr is a pipe of 4 KiB that nobody reads", seconds=30, quick=12)
def stuck_log(run):
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    halt, log = threading.Event(), run.directory / "read.log"

    def read():
        with open(log, "ab", buffering=0) as file:
            while not halt.is_set():
                if select.select([reader], [], [], 0.1)[0]:
                    file.write(os.read(reader, 65536))

    # It is read until people are at work; then a line for each request fills it at once.
    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    run.begin(stderr=writer)
    halt.set()
    thread.join()
    run.rest()
    run.cleanups.append(lambda: (os.close(reader), os.close(writer)))


@drill("clock", "the program's clock jumps: an hour and a day forwards and back, a hundred days back, and before 1970", seconds=60)
def clock(run):
    library = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)
    if not library:
        raise LeftOut("libfaketime is absent: install faketime")
    postgres = Postgres(run.directory / "postgres", run.directory / "postgres.log")
    run.cleanups.append(postgres.stop)
    postgres.start()
    offset = run.directory / "offset"
    offset.write_text("+0\n")
    settings = {"DATABASE_URL": postgres.url, "RUN_MIGRATIONS": "true", "JWT_SECRET": secrets.token_hex(32)}
    faked = {
        "LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(offset), "FAKETIME_CACHE_DURATION": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    # A token states times of the program's clock, so a jump may end it.
    site, crowd = run.begin({"tokens_may_expire": True}, settings={**settings, **faked})
    jumps = ["+3600", "-3600", "+86400", "-86400", "-8640000", "-1900000000", "+0"]
    for jump in jumps:
        offset.write_text(f"{jump}\n")
        say(f"  the clock is {jump} s off")
        time.sleep(max(PAUSE, run.seconds / len(jumps)))
        person = crowd.newcomers[-1] if crowd.newcomers else crowd.people[0]
        for face in ("page", "api"):
            check_log_in(run, crowd, person, face, jump)
    run.rest()
    # The doctor runs by the machine's own clock.
    site.settings = {name: value for name, value in site.settings.items() if name not in faked}


def check_log_in(run, crowd, person, face, jump):
    """A log-in that is acknowledged must hold, whatever the clock says."""
    client, account = Client(crowd.server, 231), person.account
    try:
        for password in account.password.allowed():
            if face == "page":
                reply = client.ask("POST", "/login", fields={"login": account.name, "password": password})
                holds = reply.status != 303 or client.ask("GET", "/settings").status == 200
            else:
                reply = client.ask("POST", f"{API}/login", fields={"username": account.name, "password": password})
                client.token = reply.json()["access_token"] if reply.status == 200 else None
                holds = reply.status != 200 or client.ask("GET", f"{API}/users/me").status in (200, 503)
            if not holds:
                run.findings.append(Finding("lost", f"a log-in through the {face} with the clock {jump} s off does not hold"))
    except Broken as err:
        run.broken.append(f"a log-in through the {face} with the clock {jump} s off: {err.kind}")
    finally:
        client.close()


@drill("two-processes", "two programs over one Postgres; one is killed again and again, and people use the other", seconds=60, cuts=False)
def two_processes(run):
    postgres = Postgres(run.directory / "postgres", run.directory / "postgres.log")
    run.cleanups.append(postgres.stop)
    postgres.start()
    settings = {"DATABASE_URL": postgres.url, "RUN_MIGRATIONS": "true", "JWT_SECRET": secrets.token_hex(32)}
    stays = run.add_site(settings=settings)
    dies = run.add_site(settings=settings, origin=stays.origin)
    # What is judged is the crowd of the one that stays. The other one's writes must be there too.
    run.add_crowd(stays)
    other = run.add_crowd(dies, workers=6, rate=run.rate / 2, visitors=0)
    run.open()
    kills = 0
    while run.goes_on:
        time.sleep(PAUSE + random.random())
        dies.kill()
        kills += 1
        time.sleep(1)
        dies.start()
    run.figures["kills_of_the_other"] = kills
    through = [how for _, _, _, how in run.crowds[0].answers]
    run.figures["success_through_the_one_that_stays"] = round(sum(how is None for how in through) / len(through), 4)
    # Its own people were cut off, as they had to be.
    other.stop()
    other.failures.clear()
    other.answers.clear()


@drill("migrate", "`migrate to 8` and `migrate up`, again and again, while the site serves all but searches", seconds=60)
def migrate(run):
    # Below version 10 there is no search, as docs/OPERATIONS.md says.
    site, _ = run.begin({"searches": False})
    count = 0
    while run.goes_on:
        for arguments in (("migrate", "to", "8"), ("migrate", "up")):
            done = site.run(*arguments)
            if done.returncode:
                run.broken.append(f"{' '.join(arguments)} ended with {done.returncode}: {done.stderr[-300:]}")
            time.sleep(1)
        count += 1
    run.figures["times_down_and_up"] = count


@drill("backup", "`backup` and `doctor --repair`, again and again, while the site serves; then the last backup is restored", seconds=60)
def backup(run):
    site, crowd = run.begin()
    file, count = run.directory / "site.dump", 0
    while run.goes_on or not count:
        # What is acknowledged before a backup begins must be in it.
        with crowd.ledger.lock:
            certain = {post.address: post.title for post in crowd.ledger.posts.values() if post.address and not post.is_there.writes}
        began = time.monotonic()
        file.unlink(missing_ok=True)
        for arguments in (("backup", file), ("doctor", "--repair")):
            done = site.run(*arguments)
            if done.returncode not in (0, 3):
                run.broken.append(f"{arguments[0]} ended with {done.returncode}: {done.stderr[-300:]}")
        count += 1
        run.figures["longest_backup_and_repair_s"] = round(max(time.monotonic() - began, run.figures.get("longest_backup_and_repair_s", 0)), 1)
    run.figures["backups"] = count
    restored = Site(run.directory / "restored", run.program)
    done = restored.run("restore", file)
    if done.returncode:
        run.broken.append(f"restore ended with {done.returncode}: {done.stderr[-300:]}")
        return
    # Posts that were deleted while the backup ran may be in it or not.
    with crowd.ledger.lock:
        certain = {address: title for address, title in certain.items() if not crowd.ledger.posts[title].is_there.writes}
    try:
        restored.start()
        client = Client(type(crowd.server)(restored.origin))
        for address, title in certain.items():
            reply = client.ask("GET", f"{API}{address}")
            if reply.status != 200 or reply.json()["title"] != title:
                run.findings.append(Finding("lost", f"{title!r} was acknowledged before the backup and is not in it"))
        client.close()
        run.findings += [Finding("wrong", f"restored: {line}") for line in restored.doctor()]
        run.figures["posts_found_in_the_restored_site"] = len(certain)
    finally:
        restored.clean_up()
