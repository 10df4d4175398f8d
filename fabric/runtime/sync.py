"""The sync streams: one per connected peer, on which two nodes repair what waves have missed.

Theory of operation
===================

The end that dialled the link opens the stream, on a link that stands, and once more a while after
it broke; the other takes what begins with ``Root``. What is said on it is for the core
(:mod:`fabric.core.sync`) to decide: here frames are read, one at a time, and those of the core are
written in their order. When all are written the core is told, and may give more. So both ends
read while they write, and no more waits here than the core gives at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NoReturn

import trio
from attrs import define, field

from fabric.codes import Code
from fabric.core import gossip_events as told
from fabric.core.codec import MAX_FRAME, FrameReader, encode
from fabric.core.frames import Frame, Page, Root
from fabric.core.identity import NodeId
from fabric.core.planes import Planes
from fabric.errors import RemoteProtocolError
from fabric.runtime.admission import next_frame
from fabric.runtime.links import Link
from fabric.trio_quic import ConnectionClosed, QuicError, Stream

PLANE: Final = "sync"

AGAIN_AFTER: Final = 1.0
"""Seconds between the end of a sync stream and the next on the same link."""

PIECE_BYTES: Final = 64 << 10
"""Written at a time."""


@define(eq=False)
class SyncStream:
    """One stream, and what waits to be written on it."""

    link: Link
    stream: Stream
    reader: FrameReader
    first: Frame | None = None
    """What was read of it already."""
    paused_until: float = field(init=False, default=0.0)
    scope: trio.CancelScope = field(init=False, factory=trio.CancelScope)
    ended: trio.Event = field(init=False, factory=trio.Event)
    outgoing: deque[bytes] = field(init=False, factory=deque)
    filled: trio.Event = field(init=False, factory=trio.Event)

    @property
    def peer(self) -> NodeId:
        return self.link.member.node_id

    def put(self, frame: Frame) -> None:
        self.outgoing.append(encode(frame))
        self.filled.set()

    def take(self) -> bytes:
        """Return the next piece to write; once nothing is left, wait for :attr:`filled`."""
        piece = bytearray()
        while self.outgoing and len(piece) < PIECE_BYTES:
            piece += self.outgoing.popleft()
        if not self.outgoing:
            self.filled = trio.Event()
        return bytes(piece)


@define(eq=False, kw_only=True)
class SyncStreams:
    """The sync plane: the streams of all links that stand, at most one per peer."""

    receive: Callable[[told.Event], None]
    """Where what is read goes."""
    planes: Planes
    root: Callable[[], bytes]
    """Returns the digest of all that is held here."""
    caught_up: trio.Event = field(init=False, factory=trio.Event)
    """Set once all that one peer holds is held here too."""
    _by_peer: dict[NodeId, SyncStream] = field(init=False, factory=dict)
    _arrived: dict[Link, trio.MemorySendChannel[SyncStream]] = field(init=False, factory=dict)

    # -- for the core --
    def send(self, to: NodeId, frame: Frame) -> None:
        """Write *frame* to *to*'s stream after those before it; it is lost if there is none."""
        if (stream := self._by_peer.get(to)) is not None:
            stream.put(frame)

    def pause(self, node: NodeId, until: float) -> None:
        """Read nothing more of *node*'s stream before *until*."""
        if (stream := self._by_peer.get(node)) is not None:
            stream.paused_until = until

    def end(self, node: NodeId, code: Code, detail: str) -> None:
        """Reset *node*'s stream: nothing on it makes sense any more."""
        if (stream := self._by_peer.get(node)) is not None:
            stream.stream.abort(code)
            stream.scope.cancel()

    async def run(self) -> NoReturn:
        """Be a plane among others: the streams themselves run in the links that carry them."""
        await trio.sleep_forever()
        raise AssertionError("unreachable")

    # -- for links --
    def take(self, link: Link, stream: Stream, reader: FrameReader, first: Root) -> bool:
        """Take over a stream that begins with ``Root``; return whether there was room for it."""
        arrived = self._arrived.get(link)
        if arrived is None or link.is_spare:
            return False
        reader.widen(MAX_FRAME)
        try:
            arrived.send_nowait(SyncStream(link, stream, reader, first))
        except trio.WouldBlock:
            return False
        return True

    async def keep(self, link: Link) -> None:
        """Have a sync stream on *link* until it is cancelled or its connection is closed."""
        if link.connection.is_dialler:
            await self._keep_opening(link)
        else:
            await self._keep_taking(link)

    async def _keep_opening(self, link: Link) -> NoReturn:
        while True:
            if not link.is_spare:
                stream = await link.connection.open_stream()
                await self._carry(SyncStream(link, stream, FrameReader(limit=MAX_FRAME)))
            await trio.sleep(AGAIN_AFTER)

    async def _keep_taking(self, link: Link) -> NoReturn:
        arriving, arrivals = trio.open_memory_channel[SyncStream](1)
        self._arrived[link] = arriving
        try:
            while True:
                await self._carry(await arrivals.receive())
        finally:
            del self._arrived[link]

    async def _carry(self, stream: SyncStream) -> None:
        """Run one stream to its end, whatever that is; only the connection's end is raised."""
        await self._supersede(stream.peer)
        self._by_peer[stream.peer] = stream
        try:
            with stream.scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write, stream)
                    self.receive(told.SyncOpened(stream.peer, compares=stream.first is None))
                    await self._read(stream)
        except* ConnectionClosed:
            raise
        except* (QuicError, RemoteProtocolError):
            stream.stream.abort(Code.UNEXPECTED_FRAME)
        except* trio.ClosedResourceError:
            pass  # by end(), while the writer was awake already and cancelling came too late
        finally:
            with suppress(QuicError):
                stream.stream.abort(Code.CANCELLED)
            stream.ended.set()
            if self._by_peer.get(stream.peer) is stream:
                del self._by_peer[stream.peer]

    async def _supersede(self, peer: NodeId) -> None:
        """End the stream of another link to *peer*, if there is one: the newest counts."""
        while (older := self._by_peer.get(peer)) is not None:  # of several that wait, one is next
            older.scope.cancel()
            await older.ended.wait()

    async def _read(self, stream: SyncStream) -> NoReturn:
        frame = stream.first
        while True:
            if frame is None:
                frame = await next_frame(stream.stream, stream.reader)
            self.planes.progressed(PLANE, trio.current_time())
            self.receive(told.HeardSync(stream.peer, frame))
            self._look_whether_caught_up(frame)
            frame = None
            # At once, if it is not paused; one piece may hold many frames, and others want a turn.
            await trio.sleep_until(max(stream.paused_until, trio.current_time()))

    def _look_whether_caught_up(self, frame: Frame) -> None:
        match frame:
            case Page(is_last=True):
                self.caught_up.set()
            case Root(root=root) if root == self.root():
                self.caught_up.set()

    async def _write(self, stream: SyncStream) -> NoReturn:
        while True:
            await stream.filled.wait()
            await stream.stream.send_all(stream.take())
            if not stream.outgoing:
                self.receive(told.SyncWritten(stream.peer))
