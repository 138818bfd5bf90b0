"""Processes: started so that they end with this one, and inspected through /proc."""

import atexit
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time

TICK = os.sysconf("SC_CLK_TCK")
_started = []


class Failure(Exception):
    """An error with a one-line message for the person who ran this."""


def say(words):
    print(f"{time.strftime('%H:%M:%S')}  {words}", file=sys.stderr, flush=True)


def end_with_parent():
    """Ends the process with this one, even after kill -9 (Linux only)."""
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    except AttributeError:
        pass


def start(command, log, **options):
    """Starts a server, which ends with `stop` or with this process."""
    with open(log, "ab") as output:
        process = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True, preexec_fn=end_with_parent, **options,
        )
    _started.append(process)
    return process


def stop(process, kind=signal.SIGTERM, seconds=15):
    if process in _started:
        _started.remove(process)
    if process.poll() is None:
        process.send_signal(kind)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            pass
    try:
        # Its remaining child processes.
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


@atexit.register
def stop_all():
    # In reverse order: servers before their database.
    for process in reversed(_started[:]):
        kind = getattr(process, "gentle", signal.SIGTERM)
        stop(process, kind)


def run(command, seconds, **options):
    """The output; a `Failure` if the command fails or takes longer."""
    command = [str(part) for part in command]
    name = os.path.basename(command[0])
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, **options)
    except subprocess.TimeoutExpired:
        raise Failure(f"{name} took longer than {seconds} seconds") from None
    if done.returncode != 0:
        lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
        raise Failure(f"{name} failed: {' / '.join(lines[-3:]) or done.returncode}")
    return done.stdout


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _processes():
    """For each process id its parent, and the CPU seconds used by it and the children it has reaped."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as stat:
                fields = stat.read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        found[int(pid)] = (int(fields[1]), sum(map(int, fields[11:15])) / TICK)
    return found


def cpu(root):
    """CPU seconds of a process and all its descendants, including those that have ended."""
    processes, seconds, todo = _processes(), 0.0, [root]
    children = {}
    for pid, (parent, _) in processes.items():
        children.setdefault(parent, []).append(pid)
    while todo:
        pid = todo.pop()
        if pid in processes:
            seconds += processes[pid][1]
            todo += children.get(pid, [])
    return seconds


def memory(pid, what="VmRSS"):
    """Memory of a process in MB: now (`VmRSS`) or at its peak (`VmHWM`)."""
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) / 1000 for line in status if line.startswith(what + ":"))
