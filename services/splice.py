"""The splice: one TCP connection and one fabric channel, joined both ways until both have ended.

Theory of operation. Each direction is a loop in a task of its own (the caller's and one child)
that takes a piece from one side and waits until the other side took it, so a slow reader slows
its writer and at most one piece per direction is held here. The FIN of one side becomes the FIN
of the other, behind the data, and leaves the opposite direction running (FTP and `curl -T` need
that). Any other end is an abort with a code, and both sides see it as one: the channel is reset,
TCP gets an RST, for a truncated transfer must never look complete.
"""

from __future__ import annotations

import socket
from typing import Protocol

import trio

from fabric.codes import Code
from fabric.errors import ChannelBroken
from services import tcp
from services.lifetime import Lifetime

SAYS_LITTLE = 16 * 1024
"""Bytes of a piece behind which a FIN is looked for at once. Longer ones are bulk."""

RUNS = 4
"""Runs of the channel that are read at once: more would be more than its stream may queue."""


class SplicedChannel(Protocol):
    """What a splice needs of :class:`fabric.Channel`.

    Every call below that waits is a checkpoint, as trio's streams promise; the loops rely on it.
    """

    @property
    def run_bytes(self) -> int: ...
    async def send_all(self, data: bytes) -> None: ...
    async def send_all_eof(self, data: bytes) -> None: ...
    async def send_eof(self) -> None: ...
    async def receive_some(self) -> bytes: ...
    def reset(self, code: Code) -> None: ...


async def splice(
    sock: socket.socket,
    channel: SplicedChannel,
    life: Lifetime,
    *,
    gone: Code,
    first: bytes = b"",
) -> None:
    """Move bytes until both directions have ended, then close *sock*: by FIN, or by RST.

    *first* was already read from *sock*. *gone* says who left when TCP breaks: ``CLIENT_GONE``
    or ``BACKEND_GONE``. Runs inside ``life.scope``, which :meth:`Lifetime.end` cancels. Raises
    nothing of its own: ``life.code`` tells how it ended. The channel is left finished or reset.
    """
    life.watch_idleness()
    finished = False
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_to_tcp, channel, sock, life, gone)
            await _to_channel(sock, channel, life, gone, first)
        finished = life.code is Code.DONE
    finally:
        if finished:
            tcp.finish(sock)
        else:
            life.settle()
            channel.reset(life.code)
            tcp.reset(sock)


async def _to_channel(
    sock: socket.socket, channel: SplicedChannel, life: Lifetime, gone: Code, data: bytes
) -> None:
    at_most = RUNS * channel.run_bytes
    try:
        data = data or await tcp.receive(sock, at_most)
        while data:
            if not life.allows(len(data)):
                return
            # Who says little has often said all: its FIN then travels with its last words.
            ahead = tcp.receive_nowait(sock, at_most) if len(data) < SAYS_LITTLE else None
            if ahead == b"":
                await channel.send_all_eof(data)
                life.sent_bytes += len(data)
                return
            await channel.send_all(data)
            life.sent_bytes += len(data)
            data = ahead or await tcp.receive(sock, at_most)
        await channel.send_eof()
    except OSError:
        life.end(gone)
    except (trio.BrokenResourceError, trio.ClosedResourceError) as broken:
        # Who has heard enough (DONE) may still have much to say: that is the other direction's.
        if (code := _code_of(broken)) is not Code.DONE:
            life.end(code)


async def _to_tcp(
    channel: SplicedChannel, sock: socket.socket, life: Lifetime, gone: Code
) -> None:
    try:
        while data := await channel.receive_some():
            if not life.allows(len(data)):
                return
            await tcp.send_all(sock, data)
            life.received_bytes += len(data)
        tcp.send_eof(sock)
    except OSError:
        life.end(gone)
    except (trio.BrokenResourceError, trio.ClosedResourceError) as broken:
        life.end(_code_of(broken))


def _code_of(broken: Exception) -> Code:
    return broken.code if isinstance(broken, ChannelBroken) else Code.PEER_LOST
