"""Telling systemd how the process is: ready, alive, stopping. Silent where there is no systemd.

The protocol is one datagram per message to the socket that ``$NOTIFY_SOCKET`` names; see
sd_notify(3) and sd_watchdog_enabled(3).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping

import structlog
import trio
from attrs import define, frozen

log = structlog.get_logger()


@frozen
class Environment:
    """What systemd asked for when it started the process."""

    address: str | None
    """A path, or an abstract name after a NUL. None: nobody listens."""

    watchdog_s: float | None
    """Silence for that long ends the process. None: no watchdog."""

    @classmethod
    def read(
        cls, variables: Mapping[str, str] = os.environ, pid: int | None = None
    ) -> Environment:
        """Of *variables*; a watchdog meant for another process than *pid* is none."""
        named = variables.get("NOTIFY_SOCKET", "")
        if not named.startswith(("/", "@")):  # unset, or vsock:, which only a guest's init uses
            return cls(None, None)
        address = "\0" + named[1:] if named.startswith("@") else named
        return cls(address, _watchdog_s(variables, os.getpid() if pid is None else pid))


def _watchdog_s(variables: Mapping[str, str], pid: int) -> float | None:
    microseconds = variables.get("WATCHDOG_USEC", "")
    meant_for = variables.get("WATCHDOG_PID", str(pid))
    if meant_for != str(pid) or not microseconds.isdecimal() or int(microseconds) == 0:
        return None
    return int(microseconds) / 1_000_000


@define(eq=False)
class Notifier:
    """Speaks to systemd. Never blocks, never raises: a lost message is logged and left."""

    _environment: Environment

    def ready(self, status: str) -> None:
        """Start-up is done; units ordered after this one may start."""
        self._send("READY=1", f"STATUS={_one_line(status)}")

    def status(self, status: str) -> None:
        """One line that ``systemctl status`` shows."""
        self._send(f"STATUS={_one_line(status)}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    async def feed_watchdog(self, is_progressing: Callable[[], bool]) -> None:
        """Feed the watchdog at half its period while *is_progressing*, until cancelled.

        Returns at once where there is none. A process whose planes are stuck is not fed, so
        that systemd restarts it: a timer alone would only prove that timers work.
        """
        if self._environment.watchdog_s is None:
            return
        while True:
            if is_progressing():
                self._send("WATCHDOG=1")
            else:
                log.warning("watchdog.starved", remedy="Read the log for the plane that is stuck.")
            await trio.sleep(self._environment.watchdog_s / 2)

    def _send(self, *lines: str) -> None:
        if self._environment.address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendto("\n".join(lines).encode(), self._environment.address)
        except OSError as error:
            log.warning("systemd.unreachable", told=lines[0], reason=str(error))


def _one_line(text: str) -> str:
    return " ".join(text.split())
