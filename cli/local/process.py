"""Processes that ``up`` leaves behind: started detached, found again, ended, and never confused.

A pid alone says little a day later: the kernel gives numbers out again. So a process is written
down with the moment it started, and is signalled through a pidfd that was opened *before* that
moment was compared; whatever takes the number afterwards cannot be reached through it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import trio
from attrs import asdict, frozen

_RECORD = "process.json"
_GONE = frozenset("ZX")
"""States of /proc/PID/stat in which a process has ended, reaped or not."""


@frozen
class Process:
    """One process of the past, which may still run."""

    pid: int
    started: str
    """Boot id and start time in clock ticks since that boot: unique for a pid."""

    @property
    def alive(self) -> bool:
        return _started(self.pid) == self.started


def start(folder: Path, arguments: list[str], log: Path) -> Process:
    """Run *arguments* in a session of its own, its output appended to *log*; note which it is."""
    opened = (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    pid = os.posix_spawn(
        arguments[0],
        arguments,
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            opened,
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        # a shell's background job has SIGINT ignored, and a daemon must not inherit that
        setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGHUP],
    )
    # A child that failed at once is a zombie of ours until we end: it has a start time still.
    process = Process(pid, _started(pid, gone=True) or "")
    (folder / _RECORD).write_text(json.dumps(asdict(process)))
    return process


def module(name: str, *arguments: str) -> list[str]:
    """The command line that runs module *name* with this interpreter, whatever the folder.

    ``-P`` keeps the working folder out of the import path: it may hold another ``cli``.
    """
    return [sys.executable, "-P", "-m", name, *arguments]


def recorded(folder: Path) -> Process | None:
    """The process last started for *folder*, or None; see :attr:`Process.alive`."""
    try:
        return Process(**json.loads((folder / _RECORD).read_text()))
    except (FileNotFoundError, ValueError, TypeError):  # absent, or cut short by a full disk
        return None


def forget(folder: Path) -> None:
    (folder / _RECORD).unlink(missing_ok=True)


async def wait_ended(process: Process) -> None:
    """Block until *process* has ended; at once if it has already."""
    with _held(process) as handle:
        if handle is not None:
            await trio.lowlevel.wait_readable(handle)


async def end(process: Process, steps: Sequence[tuple[signal.Signals, float]]) -> bool:
    """Send each signal in turn and wait its seconds for *process* to end; False if it lives on.

    Nothing is sent to a process that is not the one written down.
    """
    with _held(process) as handle:
        if handle is None:
            return True
        for number, patience in steps:
            signal.pidfd_send_signal(handle, number)
            with trio.move_on_after(patience):
                await trio.lowlevel.wait_readable(handle)
                return True
    return False


@contextmanager
def _held(process: Process) -> Iterator[int | None]:
    """A pidfd that is certainly *process*, or None where it has ended."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield handle if process.alive else None
    finally:
        os.close(handle)


def _started(pid: int, *, gone: bool = False) -> str | None:
    """When *pid* started, or None if it has ended (unless *gone* ones count too)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # proc(5): the name, field 2, is in parentheses and may itself hold any character
    fields = stat.rpartition(")")[2].split()
    state, start_ticks = fields[0], fields[19]
    if state in _GONE and not gone:
        return None
    return f"{_boot_id()}/{start_ticks}"


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
