"""One QUIC stream as trio knows streams: half-close, and back-pressure in both directions."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, NoReturn

import trio
from trio.lowlevel import checkpoint

from fabric.trio_quic import codes
from fabric.trio_quic.credit import next_window, varint_bytes
from fabric.trio_quic.errors import QuicError, StreamReset, StreamStopped
from fabric.trio_quic.settings import INITIAL_CREDIT

if TYPE_CHECKING:
    from fabric.trio_quic.connection import Connection

PIECE = 64 * 1024
"""Most that a reader is given at once."""

YIELD_EVERY = 4 * PIECE
"""Bytes between checkpoints of one ``send_all``: a third of a millisecond; each costs 20 us."""

END_MARK = b"\0"
"""Travels with every FIN, outside credit, and is dropped by the peer. The engine forgets what
becomes of a FIN frame without data while earlier data is unacknowledged: lost, it would never be
sent again and the reader would wait for ever; acknowledged, the stream would never be finished."""

JOIN_BELOW = PIECE // 2
"""Pieces below this are joined when read. A lone stream's pieces are long; those of eight that
share the path come at 7 KB each, and one write for each halves what a forwarder can move."""

SMALL = 2 * 1024
"""Received pieces below this are joined, or a peer's 1-byte frames would cost 40 bytes each."""


class Stream(trio.abc.HalfCloseableStream):
    """A stream of a :class:`Connection`, bidirectional or one half of it.

    At most one task may send and one receive at a time (:exc:`trio.BusyResourceError`). Sending
    waits while the reader at the other end does not read; nothing sent is copied more than once.
    Leave by :meth:`aclose` (a clean end) or :meth:`abort`.
    """

    __slots__ = (
        "_chunks", "_connection", "_consumed", "_fin_received", "_granted", "_limit", "_promise",
        "_read_at", "_reader", "_receive_error", "_received", "_send_error", "_sender",
        "_sending", "_sent", "_window", "id",
    )  # fmt: skip

    def __init__(
        self,
        connection: Connection,
        stream_id: int,
        *,
        sends: bool = True,
        receives: bool = True,
    ) -> None:
        self.id = stream_id
        self._connection = connection
        self._chunks: list[bytes] = []  # few: a deque would take 600 bytes of an idle stream
        self._received = 0
        self._consumed = 0
        self._granted = connection.limits.initial_credit
        """Absolute limit that we gave the peer."""
        self._window = INITIAL_CREDIT
        self._promise = 0
        """How much of the window the connection's guard counts."""
        self._fin_received = False
        self._receive_error: Exception | None = None if receives else _CLOSED
        self._reader: trio.lowlevel.Task | None = None
        self._read_at = connection.last_heard
        self._sent = 0
        self._limit = connection.limits.initial_credit
        """Absolute limit that the peer gave us."""
        self._send_error: Exception | None = None if sends else _CLOSED
        self._sender: trio.lowlevel.Task | None = None
        self._sending = False

    def __repr__(self) -> str:
        return f"<Stream {self.id} sent={self._sent} consumed={self._consumed}>"

    # -- sending --
    @property
    def run_bytes(self) -> int:
        """What leaves by one system call: best sent are multiples of it, and at least four."""
        return self._connection.endpoint.run_bytes

    @property
    def header_bytes(self) -> int:
        """How long its id and offset make the header of its next frames, a run from here."""
        return varint_bytes(self.id) + varint_bytes(self._sent + self.run_bytes)

    @property
    def sent(self) -> int:
        """Bytes taken from the sender so far: where to go on after a cancelled send."""
        return self._sent

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of *data*; returns when the engine has taken it within the peer's credit.

        Raises :exc:`StreamStopped`, :exc:`ConnectionClosed`, or :exc:`trio.ClosedResourceError`
        after our own end. Cancelled half-way, :attr:`sent` tells how much has gone.
        """
        await self._send(data, fin=False)

    async def send_all_eof(self, data: bytes | bytearray | memoryview) -> None:
        """Send *data* and the stream's end together: one datagram where two calls take two."""
        await self._send(data, fin=True)

    async def send_eof(self) -> None:
        """End our direction; receiving goes on. Does nothing when it has ended already."""
        if self._send_error is _ENDED:
            await checkpoint()
        else:
            await self._send(b"", fin=True)

    def send_nowait(self, data: bytes | bytearray | memoryview, *, fin: bool = False) -> None:
        """Send *data* if the credit at hand takes it; else raise :exc:`trio.WouldBlock`."""
        self._check_sendable()
        if len(data) > self._limit - self._sent:
            raise trio.WouldBlock
        self._hand_over(data, fin=fin)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the peer's credit and our buffer have room. Raises as :meth:`send_all`."""
        self._begin_sending()
        try:
            await checkpoint()
            while self._send_error is None and self._room() == 0:
                await self._park_sender()
            self._check_sendable()
        finally:
            self._sending = False

    async def _send(self, data: bytes | bytearray | memoryview, *, fin: bool) -> None:
        self._begin_sending()
        try:
            self._check_sendable()
            if len(data) <= self.run_bytes and len(data) <= self._room():
                self._hand_over(data, fin=fin)
                await checkpoint()
            else:
                with memoryview(data) as view:
                    await self._send_runs(view, fin=fin)
        finally:
            self._sending = False

    async def _send_runs(self, view: memoryview, *, fin: bool) -> None:
        at, yield_at, total, run = 0, YIELD_EVERY, len(view), self.run_bytes
        while at < total:
            room = self._room()
            if room == 0:
                await self._park_sender()
                self._check_sendable()
                yield_at = at + YIELD_EVERY
                continue
            end = min(at + room, at + run, total)
            self._hand_over(view[at:end], fin=fin and end == total)
            at = end
            if at == total:
                break
            if at >= yield_at:
                await checkpoint()
                yield_at = at + YIELD_EVERY
            self._check_sendable()  # even handing over may have shown that the engine is broken
        await checkpoint()

    def _hand_over(self, data: bytes | bytearray | memoryview, *, fin: bool) -> None:
        self._sent += len(data)
        if fin:
            self._send_error = _ENDED
            if self._connection.limits.peer_credit:
                data = b"".join((data, END_MARK))
        self._connection.hand_over(self, data, fin=fin)

    def _room(self) -> int:
        credit = self._limit - self._sent
        return max(0, min(credit, self._connection.unsent_room(self))) if credit > 0 else 0

    def _check_sendable(self) -> None:
        if self._send_error is not None:
            _raise(self._send_error)

    async def _park_sender(self) -> None:
        connection = self._connection
        connection.touch()
        has_credit = self._limit > self._sent  # then the buffer is what is full
        if self._send_error is not None or (has_credit and connection.is_roomy(self)):
            # So soon: by that flush. It must not wake a task that does not sleep yet, for one
            # that is cancelled as well would be scheduled twice, which ends trio.
            await checkpoint()
            return
        if has_credit:
            connection.room.wait(self)
        self._sender = trio.lowlevel.current_task()

        def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
            self._sender = None
            connection.room.waiting.pop(self, None)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def _begin_sending(self) -> None:
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        self._sending = True

    # -- receiving --
    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return the next piece as it arrived (at most 64 KiB unless *max_bytes* cuts it).

        ``b""`` is the peer's clean end. Raises :exc:`StreamReset` or :exc:`ConnectionClosed` when
        there will be none: what was received before is then handed out first, except after reset.
        """
        if max_bytes is not None and operator.index(max_bytes) < 1:
            raise ValueError("max_bytes must be at least 1")
        self._check_only_reader()
        if self._chunks or self._fin_received or self._receive_error is not None:
            await checkpoint()
        while not self._chunks and not self._has_ended():
            await self._park_reader()
        return self._take(max_bytes) if self._chunks else b""

    def receive_nowait(self) -> bytes:
        """As :meth:`receive_some`, of what is here: :exc:`trio.WouldBlock` when nothing is."""
        self._check_only_reader()
        if self._chunks:
            return self._take(None)
        if self._has_ended():
            return b""
        raise trio.WouldBlock

    def _check_only_reader(self) -> None:
        if self._reader is not None:
            raise trio.BusyResourceError("another task is receiving on this stream")

    def _has_ended(self) -> bool:
        """Return whether the peer has ended this cleanly; raise how else it has."""
        if self._receive_error is not None:
            _raise(self._receive_error)
        return self._fin_received

    def _take(self, max_bytes: int | None) -> bytes:
        if len(self._chunks) > 1 and len(self._chunks[0]) < JOIN_BELOW:
            self._join()
        piece = self._chunks[0]
        if max_bytes is not None and len(piece) > max_bytes:
            self._chunks[0] = piece[max_bytes:]
            piece = piece[:max_bytes]
        else:
            del self._chunks[0]
        size, connection = len(piece), self._connection
        self._consumed += size
        self._read_at = connection.last_heard
        connection.credit.unread -= size
        if self._fin_received:
            connection.expect_answer()
        elif self._granted - self._consumed <= self._window >> 1:
            self._grant()
        return piece

    def _join(self) -> None:
        """Make one piece of the first few, up to :data:`PIECE`."""
        chunks = self._chunks
        count, total = 1, len(chunks[0])
        while count < len(chunks) and total + len(chunks[count]) <= PIECE:
            total += len(chunks[count])
            count += 1
        chunks[:count] = [b"".join(chunks[:count])]

    def _grant(self) -> None:
        connection, credit = self._connection, self._connection.credit
        credit.promised -= self._promise
        self._window = next_window(
            self._window,
            kept_up=not self._chunks,
            promised=credit.promised,
            far=connection.is_far,
            limits=connection.limits,
        )
        self._promise = self._window - INITIAL_CREDIT
        credit.promised += self._promise
        limit = self._consumed + self._window
        if limit > self._granted:  # what was promised stays promised, should the window shrink
            self._granted = limit
            credit.grant(self.id, self._consumed, limit)

    async def _park_reader(self) -> None:
        self._reader = trio.lowlevel.current_task()

        def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
            self._reader = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    # -- ending --
    def reset(self, code: int) -> None:
        """Abandon our direction at once: the peer's reader gets :exc:`StreamReset`."""
        if self._send_error is None or self._send_error is _ENDED:
            self._send_error = _CLOSED
            self._wake_sender()
            self._connection.abandon(self.id, code)

    def stop(self, code: int) -> None:
        """Read no further: unread bytes are dropped, the peer's sender gets StreamStopped."""
        more_to_come = self._receive_error is None and not self._fin_received
        self._end_receiving(_CLOSED)
        if more_to_come:
            self._connection.refuse(self.id, code)

    def abort(self, code: int) -> None:
        """Reset and stop: end both directions without ceremony. Never blocks."""
        self.reset(code)
        self.stop(code)

    async def aclose(self) -> None:
        """End our direction cleanly and stop reading. A sender at work gets ClosedResourceError.

        What was sent before still arrives; cancellation cannot keep the stream from being closed.
        """
        if self._send_error is None:
            if self._sending:
                self.reset(codes.CANCELLED)
            else:
                self._hand_over(b"", fin=True)
        self._send_error = _CLOSED
        self.stop(codes.DONE)
        await checkpoint()

    # -- what the connection reports --
    def on_data(self, data: bytes, fin: bool) -> None:
        if self._receive_error is not None:
            return
        if fin and self._connection.limits.peer_credit:
            data = data[: -len(END_MARK)]
        if data:
            self._append(data)
        if fin:
            self._fin_received = True
            self._settle_promise()
        self._wake_reader()

    def _append(self, data: bytes) -> None:
        size, chunks, connection = len(data), self._chunks, self._connection
        self._received += size
        connection.credit.unread += size
        if chunks and size < SMALL and len(chunks[-1]) < 2 * SMALL:
            chunks[-1] += data
        else:
            chunks.append(data)
        if self._received > self._granted:
            self.cut_off(codes.FLOW_CONTROL)
        elif connection.credit.unread > connection.limits.guard_bytes:
            connection.credit.relieve()

    def cut_off(self, code: int) -> None:
        """End both directions because of how this stream is used; its users learn *code*."""
        self._end_receiving(StreamReset(code))
        self._connection.refuse(self.id, code)
        self.on_stopped(code)

    @property
    def received(self) -> int:
        """Bytes that came in order, read or not."""
        return self._received

    @property
    def unread(self) -> int:
        """Bytes received that nobody has taken."""
        return self._received - self._consumed

    @property
    def read_at(self) -> float:
        """When something was last taken, or the stream came to be; by the connection's clock."""
        return self._read_at

    def on_reset(self, code: int) -> None:
        if self._receive_error is None and not self._fin_received:
            self._end_receiving(StreamReset(code))

    def on_stopped(self, code: int) -> None:
        if self._send_error is None or self._send_error is _ENDED:
            self._send_error = StreamStopped(code)
            self._wake_sender()
            self._connection.abandon(self.id, code)

    def on_grant(self, limit: int) -> None:
        if limit > self._limit:
            self._limit = limit
            self._wake_sender()

    def on_connection_closed(self, error: QuicError) -> None:
        if self._send_error is None:
            self._send_error = error
        if self._receive_error is None and not self._fin_received:
            self._receive_error = error
        self._settle_promise()
        self._wake_reader()
        self._wake_sender()

    def wake_if_roomy(self) -> bool:
        """Wake a sender that waits for room, if there is enough now; tell whether it woke."""
        if not self._connection.is_roomy(self):
            return False
        self._wake_sender()
        return True

    def _end_receiving(self, error: Exception) -> None:
        self._receive_error = error
        self._connection.credit.unread -= self.unread
        self._consumed = self._received
        self._chunks.clear()
        self._settle_promise()
        self._wake_reader()

    def _settle_promise(self) -> None:
        self._connection.credit.promised -= self._promise
        self._promise = 0

    def _wake_reader(self) -> None:
        task, self._reader = self._reader, None
        if task is not None:
            self._connection.woke()
            trio.lowlevel.reschedule(task)

    def _wake_sender(self) -> None:
        task, self._sender = self._sender, None
        if task is not None:
            self._connection.room.waiting.pop(self, None)
            self._connection.woke()
            trio.lowlevel.reschedule(task)


_ENDED = trio.ClosedResourceError("this side of the stream was ended")
_CLOSED = trio.ClosedResourceError("this stream was closed")


def _raise(error: Exception) -> NoReturn:
    if isinstance(error, QuicError):
        raise error.again()
    raise trio.ClosedResourceError(*error.args)
