"""Processes of one path in a folder of their own: started, costed, and ended whatever happens."""

from __future__ import annotations

import contextlib
import os
import random
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType, TracebackType

import psutil

READY_WITHIN = 30.0
"""Seconds for a process to be ready; the slowest rival takes two on a quiet machine."""
END_WITHIN = 3.0
"""Seconds between SIGTERM and SIGKILL."""
EMPTY: Mapping[str, str] = MappingProxyType({})
Word = str | Path


class DidNotStart(RuntimeError):
    """A process ended or stayed silent instead of becoming ready; says what it printed last."""


class DidNotFinish(RuntimeError):
    """A process that was to print a result failed or took too long; says what it printed last."""


class Room:
    """A temporary folder and the processes started in it; leaving ends them, then removes it.

    Each process leads a session, and whatever descends from it is found again by parentage, so
    that a server which forks into other sessions ends as well.
    """

    def __init__(self) -> None:
        self._exits = contextlib.ExitStack()
        self._processes: list[psutil.Popen] = []
        self.folder = Path(self._exits.enter_context(TemporaryDirectory(prefix="bench-")))
        self.at_exit = self._exits.callback

    def __enter__(self) -> Room:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exits.close()

    def write(self, name: str, text: str) -> Path:
        """A file for this user alone; the path is absolute."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(text)
        return path

    def start(
        self,
        *command: Word,
        until: Callable[[], bool] | None = None,
        pipe: bool = False,
        log: int | None = None,
        env: Mapping[str, str] = EMPTY,
    ) -> psutil.Popen:
        """Starts one process and blocks until it is ready.

        `pipe` gives it an own standard input and output; otherwise the output goes to the
        folder's log, or to the descriptor `log`, which is closed here. Raises DidNotStart, which
        for a missing program means to look at `Rival`.
        """
        with open(self.folder / "log" if log is None else log, "ab") as log_file:
            process = psutil.Popen(
                [str(word) for word in command],
                stdin=subprocess.PIPE if pipe else subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipe else log_file,
                stderr=log_file,
                start_new_session=True,
                text=pipe,
                env=environment() | dict(env),
            )
        self._exits.callback(end, process)
        self._processes.append(process)
        if until is not None:
            self.wait(until)
        return process

    def wait(self, until: Callable[[], bool]) -> None:
        """Blocks until `until()`; raises DidNotStart once a process here ended or time is over."""
        deadline = time.monotonic() + READY_WITHIN
        while not until():
            for process in self._processes:
                if process.poll() is not None:
                    raise DidNotStart(self._describe(process, f"ended with {process.returncode}"))
            if time.monotonic() > deadline:
                raise DidNotStart(self._describe(self._processes[-1], "was not ready in time"))
            time.sleep(0.02)

    def output(self, *command: Word, within: float, env: Mapping[str, str] = EMPTY) -> str:
        """What a command prints; blocks until it has ended. Raises DidNotFinish."""
        process = self.start(*command, pipe=True, env=env)
        return self.result_of(process, within=within)

    def result_of(self, process: psutil.Popen, *, within: float) -> str:
        """What a process started with `pipe` prints until it ends. Raises DidNotFinish."""
        try:
            told: str = process.communicate(timeout=within)[0]
        except subprocess.TimeoutExpired:
            raise DidNotFinish(self._describe(process, f"took over {within:.0f} s")) from None
        finally:
            end(process)
        if process.returncode:
            raise DidNotFinish(self._describe(process, f"ended with {process.returncode}"))
        return told

    def _describe(self, process: psutil.Popen, happened: str) -> str:
        log = (self.folder / "log").read_text(errors="replace").splitlines()
        return "\n  ".join([f"{shlex.join(process.args)} {happened}", *log[-6:]])

    def family(self) -> list[psutil.Process]:
        return [each for process in self._processes for each in family(process)]

    def cpu_seconds(self) -> float:
        """User and system time so far, of ended children too."""
        return sum(sum(process.cpu_times()[:4]) for process in self.family())

    def memory_mb(self) -> float:
        """Proportional set sizes: a page that two processes share counts half in each."""
        return sum(process.memory_full_info().pss for process in self.family()) / 1e6


def environment() -> dict[str, str]:
    """Ours, but Python may keep its compiled files, as it does for an installed node."""
    return {key: val for key, val in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}


def family(process: psutil.Process) -> list[psutil.Process]:
    """The process and all that descend from it; empty where it has ended."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def end(process: psutil.Popen) -> None:
    """Asks all descendants, then forces those that are left. A second call does nothing."""
    members = family(process)
    for ask in (signal.SIGTERM, signal.SIGKILL):
        for member in members:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.send_signal(ask)
        _, members = psutil.wait_procs(members, timeout=END_WITHIN)
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(BrokenPipeError):
                stream.close()


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A loopback port that nobody has now; taken by whoever binds it next."""
    with socket.socket(type=kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def quiet_ports(count: int) -> list[int]:
    """So many loopback ports, all free for TCP and UDP, that the system gives nobody by itself.

    For who is started with many others: of ports that :func:`free_port` found, one that is started
    first may take the next one's for a connection of its own.
    """
    found: list[int] = []
    candidates = iter(random.SystemRandom().sample(range(10_000, 30_000), 20 * count))
    while len(found) < count:
        port = next(candidates)
        if all(_is_free(port, kind) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)):
            found.append(port)
    return found


def _is_free(port: int, kind: socket.SocketKind) -> bool:
    with socket.socket(type=kind) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def listening(port: int) -> Callable[[], bool]:
    """A condition for `Room.start`: something accepts TCP on this loopback port."""

    def accepts() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    return accepts
