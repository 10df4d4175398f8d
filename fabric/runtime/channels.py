"""Service channels: the byte stream to a service, and the register of those that are open.

A channel adds to its QUIC stream what a user of it must know (an id that both ends log, the
service, the node at the other end, the client) and turns every break into one coded exception.
On the hot path it adds one call, one ``try`` and one addition, nothing else.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NoReturn, Protocol

import structlog
import trio
from attrs import define, field, frozen

from fabric.codes import Code
from fabric.core.channel import FINAL, Event, State, after
from fabric.errors import ChannelBroken
from fabric.runtime.closing import code_of
from fabric.runtime.events import EventBus
from fabric.runtime.metrics import Metrics
from fabric.trio_quic import QuicError, StreamStopped

log = structlog.get_logger()

REMEMBERED: Final = 1000
"""Ended channels that can still be asked for by id: half a megabyte."""


class ByteStream(Protocol):
    """What carries a channel: a stream of a connection, or one end of a pipe in this process."""

    @property
    def run_bytes(self) -> int: ...
    async def send_all(self, data: bytes | bytearray | memoryview) -> None: ...
    async def wait_send_all_might_not_block(self) -> None: ...
    async def send_all_eof(self, data: bytes | bytearray | memoryview) -> None: ...
    async def send_eof(self) -> None: ...
    async def receive_some(self, max_bytes: int | None = None) -> bytes: ...
    def abort(self, code: int) -> None: ...
    async def aclose(self) -> None: ...


@frozen(kw_only=True)
class ChannelInfo:
    """A channel at one moment, as the admin socket shows it."""

    id: str
    service: str
    direction: str
    """``out`` if it was opened here, ``in`` if it was accepted here."""
    peer: str
    client: str | None
    state: State
    age_s: float
    sent_bytes: int
    received_bytes: int
    code: Code | None
    """Why it ended; ``None`` while it has not."""

    @property
    def is_proof(self) -> bool:
        """Whether it only showed that the service is there: accepted here for no client, and ended
        with nothing carried. Whoever uses a service opens six such a minute."""
        empty = not (self.sent_bytes or self.received_bytes)
        asked = self.direction == "in" and self.client is None
        return asked and empty and self.state is State.DONE


class Channel(trio.abc.HalfCloseableStream):
    """A byte stream to a service, or from an opener, by way of the fabric.

    At most one task may send and one receive at a time. When the channel is broken, by whoever,
    sending and receiving raise :exc:`~fabric.errors.ChannelBroken` with the code.
    """

    __slots__ = (
        "_early", "_register", "_state", "_stream", "client", "code", "direction", "has_line",
        "id", "opened_at", "peer", "received_bytes", "sent_bytes", "service",
    )  # fmt: skip

    def __init__(
        self,
        stream: ByteStream,
        register: Channels,
        *,
        id: str,  # noqa: A002 -- what it is called everywhere else
        service: str,
        peer: str,
        client: str | None,
        direction: str,
    ) -> None:
        self.id = id
        """32 hexadecimal digits, the same in both ends' logs."""
        self.service = service
        self.peer = peer
        """Name of the node at the other end."""
        self.client = client
        """Address of the client outside the fabric, or ``None``."""
        self.direction = direction
        self.has_line = True
        """Whether its end is logged as ``channel.closed``; its carrier may have a fuller line."""
        self.opened_at = trio.current_time()
        self.sent_bytes = 0
        self.received_bytes = 0
        self.code: Code | None = None
        self._stream = stream
        self._register = register
        self._state = State.OPENING
        self._early = b""
        register.entered(self)

    def __repr__(self) -> str:
        return f"<Channel {self.id} {self.service} {self._state} {self.direction} {self.peer}>"

    @property
    def state(self) -> State:
        return self._state

    # -- sending --
    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of *data*; waits while the reader at the other end does not read."""
        try:
            await self._stream.send_all(data)
        except (QuicError, trio.ClosedResourceError) as error:
            self._break_sending(error)
        self.sent_bytes += len(data)

    @property
    def run_bytes(self) -> int:
        """What leaves by one system call: best sent are multiples of it, and at least four."""
        return self._stream.run_bytes

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until there is room to send; raises as :meth:`send_all` if there never will be."""
        try:
            await self._stream.wait_send_all_might_not_block()
        except (QuicError, trio.ClosedResourceError) as error:
            self._break_sending(error)

    async def send_eof(self) -> None:
        """End our direction; receiving goes on. Again does nothing."""
        try:
            await self._stream.send_eof()
        except (QuicError, trio.ClosedResourceError) as error:
            self._break_sending(error)
        self._sent_eof()

    async def send_all_eof(self, data: bytes | bytearray | memoryview) -> None:
        """Send *data* and end our direction: one packet where :meth:`send_eof` takes its own."""
        try:
            await self._stream.send_all_eof(data)
        except (QuicError, trio.ClosedResourceError) as error:
            self._break_sending(error)
        self.sent_bytes += len(data)
        self._sent_eof()

    def _sent_eof(self) -> None:
        if self._state in {State.OPEN, State.GOT_EOF}:
            self._state = after(self._state, Event.SENT_EOF)

    # -- receiving --
    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return the next piece as it came, at most *max_bytes*; ``b""`` is the clean end."""
        if self._early:
            return await self._receive_early(max_bytes)
        try:
            data = await self._stream.receive_some(max_bytes)
        except (QuicError, trio.ClosedResourceError) as error:
            self._break(error)
        if not data and self._state in {State.OPEN, State.SENT_EOF}:
            self._state = after(self._state, Event.GOT_EOF)
        self.received_bytes += len(data)
        return data

    async def _receive_early(self, max_bytes: int | None) -> bytes:
        await trio.lowlevel.checkpoint()
        size = len(self._early) if max_bytes is None else max_bytes
        data, self._early = self._early[:size], self._early[size:]
        self.received_bytes += len(data)
        return data

    # -- ending --
    async def aclose(self) -> None:
        """End our direction cleanly and read no further. What was sent still arrives."""
        if self._state in FINAL:
            await trio.lowlevel.checkpoint()
            return
        if self._state is State.OPENING:
            self.reset(Code.CANCELLED)
            return
        try:
            await self._stream.aclose()
        finally:
            for event, states in _CLOSING:
                if self._state in states:
                    self._state = after(self._state, event)

    def reset(self, code: Code) -> None:
        """Break the channel at once, both ways: the other end learns *code*. Never blocks.

        Nothing if the channel is over.
        """
        if self._state not in FINAL:
            self._state = after(self._state, Event.BROKE)
            self.code = code
            self._early = b""
            self._stream.abort(code)

    def opened(self, early: bytes = b"") -> None:
        """Note that the channel was accepted; *early* bytes of it came along."""
        self._state = after(self._state, Event.ACCEPTED)
        self._early = early

    def refused(self, code: Code) -> None:
        """Note that the channel was refused, by either end."""
        self._state = after(self._state, Event.REFUSED)
        self.code = code

    def _break_sending(self, error: Exception) -> NoReturn:
        """As :meth:`_break`, but one who only reads no further may still have much to say."""
        if isinstance(error, StreamStopped):
            raise ChannelBroken(code_of(error), str(error)) from error
        self._break(error)

    def _break(self, error: Exception) -> NoReturn:
        """Raise what *error* of the stream means here; both directions are over with it."""
        if isinstance(error, QuicError):
            code = code_of(error)
            self.reset(code)
            raise ChannelBroken(code, str(error)) from error
        if self._state is State.BROKEN and self.code is not None:  # by another task of ours
            raise ChannelBroken(self.code) from None
        raise error

    def info(self) -> ChannelInfo:
        """Return the channel as of now."""
        return ChannelInfo(
            id=self.id,
            service=self.service,
            direction=self.direction,
            peer=self.peer,
            client=self.client,
            state=self._state,
            age_s=round(trio.current_time() - self.opened_at, 3),
            sent_bytes=self.sent_bytes,
            received_bytes=self.received_bytes,
            code=Code.DONE if self._state is State.DONE else self.code,
        )

    def leave(self) -> None:
        """Be struck off the register, with the one log line of this channel's life."""
        self._register.left(self)


_CLOSING = (
    (Event.SENT_EOF, frozenset({State.OPEN, State.GOT_EOF})),
    # Closing means to want no more: for the table that is as good as the end of what came.
    (Event.GOT_EOF, frozenset({State.SENT_EOF})),
)


@define(eq=False)
class Channels:
    """Every channel that is open at this node, and the last of those that were."""

    metrics: Metrics
    events: EventBus
    _live: dict[Channel, None] = field(init=False, factory=dict)
    """In the order of their opening. Not by id: a peer chooses that, and could choose it twice."""
    _ended: OrderedDict[str, ChannelInfo] = field(init=False, factory=OrderedDict)
    _emptied: trio.Event | None = field(init=False, default=None)

    def __len__(self) -> int:
        return len(self._live)

    def entered(self, channel: Channel) -> None:
        self._live[channel] = None

    def left(self, channel: Channel) -> None:
        """Strike *channel* off; write its line and count it. Nothing the second time."""
        if channel not in self._live:
            return
        del self._live[channel]
        if not self._live and self._emptied is not None:
            self._emptied.set()
        info = channel.info()
        self._remember(info)
        self._count(info)
        if info.state is not State.REFUSED:
            if channel.has_line:
                _log_ended(info)
            self.events.publish(
                "channel.closed", channel=info.id, service=info.service, code=info.code
            )

    def _remember(self, info: ChannelInfo) -> None:
        self._ended[info.id] = info
        if len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)

    def _count(self, info: ChannelInfo) -> None:
        metrics, service = self.metrics, info.service
        metrics.channel_bytes.add(service, "sent", by=info.sent_bytes)
        metrics.channel_bytes.add(service, "received", by=info.received_bytes)
        if info.state is State.BROKEN:
            metrics.channels_reset.add(service, info.code or Code.INTERNAL_ERROR)

    def find(self, channel_id: str) -> ChannelInfo | None:
        """Return the channel of that id, open or among the last that were."""
        for channel in self._live:
            if channel.id == channel_id:
                return channel.info()
        return self._ended.get(channel_id)

    def view(self) -> list[ChannelInfo]:
        """Return every open channel, the oldest first."""
        return [channel.info() for channel in self._live]

    async def wait_empty(self) -> None:
        """Wait until no channel is open. New ones meanwhile are waited for too."""
        await trio.lowlevel.checkpoint()
        while self._live:
            if self._emptied is None or self._emptied.is_set():
                self._emptied = trio.Event()
            await self._emptied.wait()

    def reset_all(self, code: Code) -> int:
        """Break every open channel; return how many that were."""
        open_now = [each for each in self._live if each.state not in FINAL]
        for channel in open_now:
            channel.reset(code)
        return len(open_now)


def _log_ended(info: ChannelInfo) -> None:
    tell = log.debug if info.is_proof else log.info
    tell(
        "channel.closed",
        channel=info.id,
        service=info.service,
        direction=info.direction,
        peer=info.peer,
        client=info.client,
        sent_bytes=info.sent_bytes,
        received_bytes=info.received_bytes,
        age_s=info.age_s,
        code=info.code.label if info.code is not None else None,
    )
