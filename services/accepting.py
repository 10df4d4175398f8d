"""The accept loop of a TCP listener: many connections per wake-up, and no descriptor is no end."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import NoReturn, TypeAlias

import structlog
import trio

from fabric.config import HostPort

log = structlog.get_logger()

ACCEPTS_PER_WAKE = 64
"""Taken in one go before other tasks run: more saves nothing, and these already hold up the
rest of the process for half a millisecond."""

PAUSE = 0.1
"""Seconds to wait when the system has no descriptor or memory left for one more connection.
The kernel keeps the connections in its backlog meanwhile."""

_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

Take: TypeAlias = Callable[[socket.socket, HostPort], None]
"""Owns the (non-blocking) socket from then on; must not block."""


async def accept_each(sock: socket.socket, take: Take) -> NoReturn:
    """Hand every connection on *sock* to *take* until cancelled.

    Running out of descriptors is waited out, with one log line per shortage. What else fails in
    an accept belongs to the one connection that left before it was accepted.
    """
    short = False
    while True:
        await trio.lowlevel.wait_readable(sock)
        exhausted = _accept_some(sock, take)
        if exhausted is not None:
            if not short:
                log.error("listener.starved", reason=str(exhausted), remedy="Raise LimitNOFILE.")
            await trio.sleep(PAUSE)
        short = exhausted is not None


def _accept_some(sock: socket.socket, take: Take) -> OSError | None:
    for _ in range(ACCEPTS_PER_WAKE):
        try:
            accepted, address = sock.accept()
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno in _EXHAUSTED:
                return error
            continue
        accepted.setblocking(False)
        take(accepted, HostPort(address[0], address[1]))
    return None
