"""Channels from this node to itself: same frames, no network.

A node may offer what it also opens. Its channels then run over pipes in memory that behave as
streams of a connection do, so that everything above them is the same, but for one question: who
may open what is asked by the opener alone, since both ends would ask the same registry.
"""

from __future__ import annotations

from collections import deque
from typing import Final, TypeAlias

import trio
from attrs import define, field

from fabric.core.roster import Member
from fabric.trio_quic import Stream, StreamReset, StreamStopped

ROOM: Final = 256 * 1024
"""Bytes that one direction holds before its sender waits."""

MOST_PENDING: Final = 4096
"""Streams that wait to be accepted; one more waits at its opening."""


@define(eq=False)
class _Pipe:
    """One direction: bytes, then a clean end or a code."""

    pieces: deque[bytes] = field(init=False, factory=deque)
    held: int = field(init=False, default=0)
    is_ended: bool = field(init=False, default=False)
    reset: int | None = field(init=False, default=None)
    """By the sender: what is unread is lost."""
    stopped: int | None = field(init=False, default=None)
    """By the reader: nothing more is taken."""
    changed: trio.lowlevel.ParkingLot = field(init=False, factory=trio.lowlevel.ParkingLot)

    def put(self, data: bytes) -> None:
        if data:
            self.pieces.append(data)
            self.held += len(data)
        self.changed.unpark_all()

    def take(self, most: int | None) -> bytes:
        piece = self.pieces.popleft()
        if most is not None and len(piece) > most:
            self.pieces.appendleft(piece[most:])
            piece = piece[:most]
        self.held -= len(piece)
        self.changed.unpark_all()
        return piece

    def break_off(self, *, reset: int | None = None, stopped: int | None = None) -> None:
        self.reset = reset if self.reset is None else self.reset
        self.stopped = stopped if self.stopped is None else self.stopped
        self.pieces.clear()
        self.held = 0
        self.changed.unpark_all()


@define(eq=False)
class LocalStream:
    """One end of a channel within the node; does what :class:`fabric.trio_quic.Stream` does."""

    _outward: _Pipe
    _inward: _Pipe
    _closed: bool = field(init=False, default=False)
    run_bytes: int = field(init=False, default=ROOM // 4)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        with memoryview(data) as view:
            for at in range(0, len(view), ROOM):
                await self.wait_send_all_might_not_block()
                self.send_nowait(bytes(view[at : at + ROOM]))
        await trio.lowlevel.checkpoint()

    async def wait_send_all_might_not_block(self) -> None:
        while self._outward.held >= ROOM:
            await self._outward.changed.park()

    def send_nowait(self, data: bytes, *, fin: bool = False) -> None:
        self._check_sendable()
        self._outward.is_ended = fin
        self._outward.put(data)

    async def send_all_eof(self, data: bytes | bytearray | memoryview) -> None:
        await self.send_all(data)
        await self.send_eof()

    async def send_eof(self) -> None:
        if not self._outward.is_ended:
            self.send_nowait(b"", fin=True)
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        pipe = self._inward
        await trio.lowlevel.checkpoint()
        while not pipe.pieces and not self._has_ended():
            await pipe.changed.park()
        return pipe.take(max_bytes) if pipe.pieces else b""

    def receive_nowait(self) -> bytes:
        if self._inward.pieces:
            return self._inward.take(None)
        if self._has_ended():
            return b""
        raise trio.WouldBlock

    def _has_ended(self) -> bool:
        pipe = self._inward
        if self._closed or pipe.stopped is not None:
            raise trio.ClosedResourceError("this stream was closed")
        if pipe.reset is not None:
            raise StreamReset(pipe.reset)
        return pipe.is_ended

    def stop(self, code: int) -> None:
        if not (self._inward.is_ended and not self._inward.pieces):
            self._inward.break_off(stopped=code)

    def abort(self, code: int) -> None:
        self._closed = True
        self._outward.break_off(reset=code)
        self._inward.break_off(stopped=code)

    async def aclose(self) -> None:
        if not (self._outward.is_ended or self._closed):
            self._outward.is_ended = True
            self._outward.put(b"")
        self._closed = True
        self.stop(0)
        await trio.lowlevel.checkpoint()

    def _check_sendable(self) -> None:
        if self._outward.stopped is not None:
            raise StreamStopped(self._outward.stopped)
        if self._closed or self._outward.is_ended:
            raise trio.ClosedResourceError("this side of the stream was ended")


AnyStream: TypeAlias = Stream | LocalStream
"""What a channel runs on."""


@define(eq=False)
class LocalConnection:
    """Joins each opened stream to an accepted one."""

    rtt: float = field(init=False, default=0.0)
    closed: None = field(init=False, default=None)
    _opened: trio.MemorySendChannel[LocalStream] = field(init=False)
    _arrived: trio.MemoryReceiveChannel[LocalStream] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._opened, self._arrived = trio.open_memory_channel(MOST_PENDING)

    async def open_stream(self) -> LocalStream:
        there, back = _Pipe(), _Pipe()
        await self._opened.send(LocalStream(back, there))
        return LocalStream(there, back)

    def open_stream_nowait(self) -> LocalStream | None:
        there, back = _Pipe(), _Pipe()
        try:
            self._opened.send_nowait(LocalStream(back, there))
        except trio.WouldBlock:
            return None
        return LocalStream(there, back)

    async def accept_stream(self) -> LocalStream:
        return await self._arrived.receive()

    def accept_stream_nowait(self) -> LocalStream | None:
        try:
            return self._arrived.receive_nowait()
        except trio.WouldBlock:
            return None


@define(eq=False)
class LocalLink:
    """This node as a peer of its own: always there, never draining by hearsay."""

    member: Member
    connection: LocalConnection = field(init=False, factory=LocalConnection)
    takes_channels: bool = field(init=False, default=True)
    channels: int = field(init=False, default=0)

    def channel_began(self) -> None:
        self.channels += 1

    def channel_ended(self) -> None:
        self.channels -= 1
