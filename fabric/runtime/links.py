"""A link: one admitted connection to a peer, with the tasks that keep it honest.

Theory of operation
===================

A link lives in the nursery of its peer and ends with its connection. Its tasks:

- *listen* reads the control stream: waves, probes, rumours of liveness, ``Draining``, ``Bye``;
- *drain* writes there what others have put in the link's outbox;
- *watch* closes the connection as ``peer_silent`` when nothing was heard for four seconds, in
  which liveness has probed four times: QUIC's own idle timeout is for connections without users.
  Liveness probes the link that stands; a spare one is asked here;
- *sync* repairs, on a stream of its own, what waves have missed;
- *accept* takes the channels that the peer opens.

A link that no longer stands (see :mod:`fabric.core.standing`) is *spare*: nothing is opened on
it, its channels run out, and the lower node id closes it. The higher one waits for that, longer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeAlias

import trio
from attrs import define, field

from fabric.codes import Code
from fabric.core.admission import Myself
from fabric.core.codec import encode
from fabric.core.frames import Bye, Draining, Frame, ProbeAck
from fabric.core.roster import Member
from fabric.core.standing import Claim
from fabric.errors import RemoteProtocolError
from fabric.runtime.admission import Control
from fabric.runtime.beat import next_beat
from fabric.runtime.closing import aclose, close, code_of_close
from fabric.runtime.local import LocalLink
from fabric.runtime.outbox import Outbox
from fabric.runtime.supervise import leaves
from fabric.trio_quic import Connection, ConnectionClosed, QuicError

SILENT_AFTER: Final = 4.0
"""Seconds without a packet until the peer is given up: three probes lost in a row are weather."""

SPARE_FOR: Final = 30.0
"""Seconds that channels on a spare link may go on."""

TELL_WITHIN: Final = 5.0
"""Seconds for a control frame to leave; a peer that takes none is as good as silent."""


class Owner(Protocol):
    """Whoever keeps the links of a node: they report here what their peers say."""

    @property
    def me(self) -> Myself: ...
    def heard(self, link: Link, frame: Frame) -> None:
        """Take *frame*.

        Raises :exc:`RemoteProtocolError` for a frame that has no place after Hello.
        """

    async def sync(self, link: Link) -> None:
        """Repair on *link* until its connection is closed."""

    def progressed(self) -> None: ...


@define(eq=False)
class Link:
    """One admitted connection. Made at admission, run by the peer's task, never used twice."""

    member: Member
    claim: Claim
    control: Control
    owner: Owner
    is_spare: bool = False
    is_draining: bool = False
    """The peer said so: it takes no new channels."""
    connection: Connection = field(init=False)
    opened_at: float = field(init=False, factory=trio.current_time)
    has_spoken: bool = field(init=False, default=False)
    """Whether a frame came since Hello: the other end has admitted us too."""
    channels: int = field(init=False, default=0)
    """Channels open on this link, both ways."""
    sent_rate: float | None = field(init=False, default=None)
    """Bytes per second over the last probe interval."""
    received_rate: float | None = field(init=False, default=None)
    outbox: Outbox = field(init=False, factory=Outbox)
    paused_until: float = field(init=False, default=0.0)
    """Until when nothing more is read of the control stream: the peer says too much."""
    over: trio.Event = field(init=False, factory=trio.Event)
    """Set once its peer has it no more."""
    _telling: trio.Lock = field(init=False, factory=trio.Lock)
    _drained: trio.Event = field(init=False, factory=trio.Event)
    _spared: trio.Event = field(init=False, factory=trio.Event)
    _reinstated: trio.Event = field(init=False, factory=trio.Event)

    def __attrs_post_init__(self) -> None:
        self.connection = self.control.connection
        if self.is_spare:
            self._spared.set()

    @property
    def takes_channels(self) -> bool:
        """Whether a new channel may be tried on it."""
        return not (self.is_spare or self.is_draining) and self.connection.closed is None

    @property
    def was_let_go(self) -> bool:
        """Whether the peer closed it because nothing used it, as far as the peer knew."""
        closed = self.connection.closed
        return closed is not None and closed.by_peer and code_of_close(closed) is Code.DONE

    def spare(self) -> None:
        """Open nothing more here; let the channels run out, then close."""
        self.is_spare = True
        self._spared.set()

    def stand(self) -> None:
        """Be what channels are opened on after all."""
        self.is_spare = False
        self._spared = trio.Event()
        self._reinstated.set()
        self._reinstated = trio.Event()

    async def run(self, accept: Callable[[Link], Awaitable[None]]) -> ConnectionClosed:
        """Keep the link until its connection is closed, by whoever; return how it ended.

        Cancelled, it closes the connection as ``shutting_down``.
        """
        try:
            async with trio.open_nursery() as nursery:
                for task in (self._listen, self._drain, self._watch, self._run_out):
                    nursery.start_soon(self._until_closed, task)
                for shared in (self.owner.sync, accept):
                    nursery.start_soon(self._until_closed, shared, self)
                closed = await self.connection.wait_closed()
                nursery.cancel_scope.cancel()
        finally:
            close(self.connection, Code.SHUTTING_DOWN)
        return closed

    async def _until_closed(self, task: Callable[..., Awaitable[None]], *args: object) -> None:
        """Run one of the tasks; its end by the connection's end is no failure of its own."""
        broken: tuple[Code, str] | None = None
        try:
            await task(*args)
        except* ConnectionClosed:
            pass
        except* QuicError:  # the control stream was reset or stopped, which is never legal
            broken = Code.UNEXPECTED_FRAME, "the control stream was reset"
        except* RemoteProtocolError as group:
            error = next(leaves(group))
            assert isinstance(error, RemoteProtocolError)
            broken = error.code, error.detail
        if broken is not None:
            await aclose(self.connection, *broken)

    # -- control --
    async def _listen(self) -> None:
        while True:
            frame = await self.control.receive()
            self._hear(frame)
            if isinstance(frame, ProbeAck):
                self.connection.acknowledge()
            if not self.control.reader.is_between_frames:
                # One piece may hold thousands, and others want their turn between them.
                await trio.lowlevel.checkpoint()
            if self.paused_until > trio.current_time():
                await trio.sleep_until(self.paused_until)

    def _hear(self, frame: Frame) -> None:
        match frame:
            case Draining() if self.is_draining:
                return  # said before; once is a line in the log
            case Draining() | Bye():
                self.is_draining = True
        self.owner.heard(self, frame)

    def post(self, frame: Frame) -> bool:
        """Send *frame* as soon as others let it, or drop it when too much waits. Never blocks."""
        return self.outbox.offer(frame)

    async def _drain(self) -> None:
        await self.outbox.drain(self._send, self._send_at_once)

    def _send_at_once(self, data: bytes) -> bool:
        """Write *data* if nobody else writes and the peer's credit takes it; tell if so."""
        if self._telling.locked():
            return False
        try:
            self.control.stream.send_nowait(data)
        except (trio.WouldBlock, QuicError):
            return False
        return True

    async def _send(self, data: bytes) -> None:
        """Write *data*. A peer that does not take it in time is closed: it may be cut in two."""
        with trio.move_on_after(TELL_WITHIN) as scope:
            async with self._telling:
                await self.control.stream.send_all(data)
        if scope.cancelled_caught:
            close(self.connection, Code.PEER_SILENT, "it takes no control frames")

    async def tell(self, frame: Frame) -> None:
        """Put *frame* on the control stream. A peer that does not take it in time is closed.

        Raises nothing of the peer's doing: what becomes of the link is the link's affair.
        """
        try:
            await self._send(encode(frame))
        except QuicError:  # stopped, if the connection is not closed anyway
            close(self.connection, Code.UNEXPECTED_FRAME, "the control stream was stopped")

    # -- silence --
    async def _watch(self) -> None:
        while True:
            began, sent, received = self._marks()
            with trio.move_on_at(min(next_beat(began), self._silent_at())):
                if self.is_spare:
                    await self.connection.ping()
                await trio.sleep_forever()
            now, sent_now, received_now = self._marks()
            if now >= self._silent_at():
                close(self.connection, Code.PEER_SILENT)
                return
            self.sent_rate = (sent_now - sent) / (now - began)
            self.received_rate = (received_now - received) / (now - began)
            self.owner.progressed()

    def _silent_at(self) -> float:
        return self.connection.last_heard + SILENT_AFTER

    def _marks(self) -> tuple[float, int, int]:
        return trio.current_time(), self.connection.bytes_sent, self.connection.bytes_received

    # -- the end --
    def channel_began(self) -> None:
        self.channels += 1

    def channel_ended(self) -> None:
        self.channels -= 1
        if not self.channels:
            self._drained.set()

    async def _run_out(self) -> None:
        """Once spare: end with the last channel, or when their time is over."""
        await self._spared.wait()
        if self.owner.me.node_id < self.member.node_id:
            await self.tell(Bye(code=Code.DUPLICATE.value))
            with trio.move_on_after(SPARE_FOR):
                await self.wait_drained()
        else:
            await self._wait_spare_for(SPARE_FOR + TELL_WITHIN)
        await aclose(self.connection, Code.DUPLICATE)

    async def _wait_spare_for(self, seconds: float) -> None:
        """Wait until the link was spare for *seconds* on end: the lower node id could not close
        it, or never knew that it is spare."""
        while True:
            await self._spared.wait()
            if not self.is_spare:  # it stands again, since this task was woken
                continue
            with trio.move_on_after(seconds):
                await self._reinstated.wait()
                continue
            return

    async def wait_drained(self) -> None:
        """Wait until no channel is open on this link."""
        while self.channels:
            self._drained = trio.Event()
            await self._drained.wait()


AnyLink: TypeAlias = Link | LocalLink
"""What channels are opened and accepted on: a peer, or this node itself."""
