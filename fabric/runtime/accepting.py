"""Accepts what peers open: channels, who asks, for what, and whether this node says yes.

Authorisation happens here, at the node that offers the service, whatever the opener checked
before. It is by the name, area, roles and labels that the peer's signed record gives it, and by
the terms that the service's signed record states.

The first frame of a stream says what the stream is: ``Open`` begins a channel, ``Root`` a sync.

A channel costs one task, in the nursery of whoever serves it. The first frame nearly always comes
whole with the stream, and is then read by the link's accept task, which also says no: a refused
channel costs no task at all.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

import trio
from attrs import define

from fabric.codes import Code
from fabric.core.access import Subject
from fabric.core.channel import FINAL, State
from fabric.core.codec import MAX_OPEN, FrameReader
from fabric.core.frames import Frame, Open, Root
from fabric.core.identity import NodeId
from fabric.core.offers import Terms
from fabric.errors import ChannelBroken, RefusedError, RemoteProtocolError
from fabric.runtime.admission import next_frame
from fabric.runtime.channels import Channels
from fabric.runtime.inbound import InboundChannel, send_refusal
from fabric.runtime.links import AnyLink, Link
from fabric.runtime.local import AnyStream, LocalLink
from fabric.runtime.refusals import RefusalLog
from fabric.runtime.services import Offering, Services
from fabric.runtime.supervise import leaves
from fabric.trio_quic import QuicError, Stream

OPEN_WITHIN: Final = 5.0
"""Seconds for the rest of an ``Open`` whose beginning came alone."""

MOST_AT_ONCE: Final = 64
"""Opens of one peer that are judged before others get their turn."""

MOST_PARTIAL: Final = 64
"""Opens of one peer that are read piecemeal at a time: loss explains a few, not many."""


class Registry(Protocol):
    """What the offering node asks of the registry, and tells it. Nothing in it waits."""

    @property
    def me(self) -> NodeId: ...
    def objection(self, service: str, opener: Subject, *, client: str | None) -> Code | None: ...
    def terms(self, service: str) -> Terms | None: ...
    def proved(self, service: str, node: NodeId, rtt: float, via: str) -> None: ...


@define(eq=False, kw_only=True)
class Accepter:
    """Takes the channels that peers open, and gives each to whoever serves its service."""

    name: Callable[[], str]
    """What this node is called now, said in refusals."""
    services: Services
    registry: Registry
    take_sync: Callable[[Link, Stream, FrameReader, Root], bool]
    """Takes over a stream that begins with ``Root``; returns whether it had room for it."""
    channels: Channels
    refusals: RefusalLog

    async def accept_channels(self, link: AnyLink) -> None:
        """Take channels on *link* until its connection is closed, by :exc:`ConnectionClosed`."""
        partial = trio.CapacityLimiter(MOST_PARTIAL)
        async with trio.open_nursery() as nursery:
            while True:
                self._take(await link.connection.accept_stream(), link, nursery, partial)
                for _ in range(MOST_AT_ONCE):
                    stream = link.connection.accept_stream_nowait()
                    if stream is None:
                        break
                    self._take(stream, link, nursery, partial)

    def _take(
        self,
        stream: AnyStream,
        link: AnyLink,
        nursery: trio.Nursery,
        partial: trio.CapacityLimiter,
    ) -> None:
        """Read the first frame of what has come; a stream is seen when something of it has."""
        reader = FrameReader(limit=MAX_OPEN)
        try:
            with suppress(trio.WouldBlock):
                reader.feed(stream.receive_nowait())
            frame = reader.next_frame()
        except QuicError:  # reset at once: nobody is left to be answered
            stream.abort(Code.CANCELLED)
            return
        except RemoteProtocolError as error:
            self._reject(stream, link, error)
            return
        if frame is not None:
            self._judge(frame, reader, stream, link)
        elif partial.available_tokens:
            nursery.start_soon(self._read_rest, reader, stream, link, partial)
        else:
            stream.abort(Code.BUSY)

    async def _read_rest(
        self, reader: FrameReader, stream: AnyStream, link: AnyLink, partial: trio.CapacityLimiter
    ) -> None:
        try:
            async with partial:
                with trio.fail_after(OPEN_WITHIN):
                    frame = await next_frame(stream, reader)
        except QuicError:
            stream.abort(Code.CANCELLED)
        except RemoteProtocolError as error:
            self._reject(stream, link, error)
        except trio.TooSlowError:
            self._reject(stream, link, RemoteProtocolError(Code.DEADLINE, "no whole Open"))
        else:
            self._judge(frame, reader, stream, link)

    def _judge(self, frame: Frame, reader: FrameReader, stream: AnyStream, link: AnyLink) -> None:
        """Give the stream to whom it is for, by its first frame. Never waits."""
        match frame:
            case Open():
                self._judge_open(frame, reader, stream, link)
            case Root() if isinstance(link, Link) and isinstance(stream, Stream):
                if not self.take_sync(link, stream, reader, frame):
                    stream.abort(Code.BUSY)
            case _:
                what = f"{type(frame).__name__} at the start of a stream"
                self._reject(stream, link, RemoteProtocolError(Code.UNEXPECTED_FRAME, what))

    def _judge_open(
        self, ask: Open, reader: FrameReader, stream: AnyStream, link: AnyLink
    ) -> None:
        """Give the channel to its service's handler, or say why not."""
        if not reader.is_between_frames:
            what = "bytes behind Open, before Accepted"
            self._reject(stream, link, RemoteProtocolError(Code.UNEXPECTED_FRAME, what))
        elif code := self._objection(ask, link):
            self._refuse(ask, stream, link, code)
        else:
            self._begin(ask, stream, link, self.services.offerings[ask.service])

    def _objection(self, ask: Open, link: AnyLink) -> Code | None:
        if self.services.is_draining:
            return Code.DRAINING
        offering = self.services.offerings.get(ask.service)
        if offering is None:
            return Code.UNKNOWN_SERVICE
        objection = self._objection_to(ask, link) or self.services.may_offer(ask.service)
        if objection is not None:
            return objection
        terms = self.registry.terms(ask.service)
        return Code.SERVICE_FULL if offering.is_full(terms.max_channels if terms else 0) else None

    def _objection_to(self, ask: Open, link: AnyLink) -> Code | None:
        """Return what speaks against whoever asks. Of itself, a node may ask: its opener has put
        the same question for its user, and a probe asks for nobody."""
        if isinstance(link, LocalLink):
            return None
        return self.registry.objection(ask.service, link.member.subject, client=ask.client)

    # -- no --
    def _reject(self, stream: AnyStream, link: AnyLink, error: RemoteProtocolError) -> None:
        """Refuse a channel that never said which it is."""
        send_refusal(stream, error.code, error.detail, hop=self.name(), channel_id="")
        self._log(link, error.code, error.detail, service="", channel="", client=None)

    def _refuse(self, ask: Open, stream: AnyStream, link: AnyLink, code: Code) -> None:
        channel_id = ask.channel_id.hex()
        send_refusal(stream, code, "", hop=self.name(), channel_id=channel_id)
        self._log(link, code, "", service=ask.service, channel=channel_id, client=ask.client)

    def _log(
        self,
        link: AnyLink,
        code: Code,
        detail: str,
        *,
        service: str,
        channel: str,
        client: str | None,
    ) -> None:
        self.channels.metrics.channels_refused.add(service, code, "in")
        self.refusals.refused(
            "channel.refused",
            code,
            trio.current_time(),
            channel=channel,
            service=service,
            direction="in",
            peer=link.member.name,
            client=client,
            detail=detail,
        )

    # -- yes --
    def _begin(self, ask: Open, stream: AnyStream, link: AnyLink, offering: Offering) -> None:
        offering.channels += 1
        link.channel_began()
        channel = InboundChannel(
            stream,
            self.channels,
            id=ask.channel_id.hex(),
            service=ask.service,
            peer=link.member.name,
            client=ask.client,
            me=self.name(),
            load=offering.channels,
        )
        asked_at = trio.current_time()
        channel.on_accepted = lambda: self._served(ask.service, asked_at)
        answer_by = asked_at + ask.deadline / 1000
        offering.nursery.start_soon(self._carry, channel, offering, link, answer_by)

    def _served(self, service: str, asked_at: float) -> None:
        """Take a channel that was accepted here as proof that the service works."""
        self.registry.proved(service, self.registry.me, trio.current_time() - asked_at, "served")

    async def _carry(
        self, channel: InboundChannel, offering: Offering, link: AnyLink, answer_by: float
    ) -> None:
        """One channel's whole life on this side."""
        try:
            await _handle(channel, offering, answer_by)
        finally:
            if channel.state is State.REFUSED:
                self._log(
                    link,
                    channel.code or Code.INTERNAL_ERROR,
                    "",
                    service=channel.service,
                    channel=channel.id,
                    client=channel.client,
                )
            channel.leave()
            link.channel_ended()
            offering.channels -= 1


async def _handle(channel: InboundChannel, offering: Offering, answer_by: float) -> None:
    """Run the handler and end the channel as it did.

    What the other end did (:exc:`ChannelBroken`) or what was refused further on
    (:exc:`RefusedError`) ends this channel alone. Anything else is the handler's bug: the channel
    is reset, and the exception goes on to whoever serves.
    """
    try:
        try:
            if offering.auto_accept:
                channel.accept_nowait()
                await offering.handler(channel)
            else:
                await _handle_within(channel, offering, answer_by)
        except* (ChannelBroken, RefusedError) as group:
            for error in leaves(group):
                _end(channel, error.code if isinstance(error, _CODED) else Code.INTERNAL_ERROR)
        if channel.state is State.OPENING:
            channel.refuse_nowait(Code.INTERNAL_ERROR, "the service gave no answer")
        await channel.aclose()
    except trio.Cancelled:
        _end(channel, Code.CANCELLED)
        raise
    except BaseException:
        _end(channel, Code.INTERNAL_ERROR)
        raise


_CODED = (ChannelBroken, RefusedError)


async def _handle_within(channel: InboundChannel, offering: Offering, answer_by: float) -> None:
    with trio.CancelScope(deadline=answer_by) as scope:
        channel.answer_by = scope
        await offering.handler(channel)
    if scope.cancelled_caught and channel.state is State.OPENING:
        channel.refuse_nowait(Code.DEADLINE)


def _end(channel: InboundChannel, code: Code) -> None:
    """End *channel* for *code*: by a refusal while that is still an answer, else by a reset."""
    if channel.state is State.OPENING and code is not Code.CANCELLED:
        channel.refuse_nowait(code)
    elif channel.state not in FINAL:
        channel.reset(code)
