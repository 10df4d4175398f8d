"""Opens channels: which instances may be tried, in which order, and what each no means.

The registry says from memory what speaks against opening a service at all, in the words of the
offering node and without a round trip, and else whom to ask, best first. One instance after the
other is tried, within one deadline, until one says yes or none is left that could; a node that
this one has no link to is dialled first. Nothing is sent behind ``Open``: a payload that one
instance has seen could not be given to the next. What came of each attempt is told to the
registry: a channel that was opened is the best proof that the service works.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from typing import Final, Protocol

import trio
from attrs import define, field, frozen

from fabric.codes import Code
from fabric.core.channel import FINAL
from fabric.core.codec import MAX_OPEN, FrameReader, encode
from fabric.core.frames import CHANNEL_ID_BYTES, MOST_DEADLINE, Accepted, Open, Refused
from fabric.core.identity import NodeId
from fabric.core.instances import Loads, attempt_within
from fabric.core.resolution import Instance, Resolution, is_worth_another
from fabric.errors import ChannelBroken, RefusedError, RemoteProtocolError
from fabric.runtime.admission import next_frame
from fabric.runtime.channels import Channel, Channels
from fabric.runtime.closing import code_of
from fabric.runtime.links import AnyLink, Link
from fabric.runtime.local import AnyStream
from fabric.runtime.refusals import RefusalLog
from fabric.trio_quic import QuicError

FAIR_WAIT: Final = 1.0
"""Seconds that an instance must have had before its silence speaks against it: a caller with a
deadline of milliseconds is not to talk a service down."""


class Registry(Protocol):
    """What the opener asks of the registry, and tells it. Nothing in it waits."""

    def resolve(
        self, service: str, *, client: str | None = None, besides: Collection[NodeId] = ()
    ) -> Resolution: ...
    def proved(self, service: str, node: NodeId, rtt: float, via: str) -> None: ...
    def failed(self, service: str, node: NodeId, code: Code, via: str) -> None: ...


@define(eq=False, kw_only=True)
class LinkReach:
    """How far this node's links reach, and how busy the far ends are: the registry's ``Reach``."""

    link_to: Callable[[NodeId], AnyLink | None]
    """Returns the link to a node that stands, or to this node itself."""
    connect: Callable[[NodeId, float], Awaitable[AnyLink]]
    """Has a node dialled, and returns the link once it stands; raises :exc:`RefusedError` when it
    does not within so many seconds."""
    loads: Loads = field(init=False, factory=Loads)

    def is_linked(self, node: NodeId) -> bool:
        link = self.link_to(node)
        return link is not None and link.takes_channels

    def rtt(self, node: NodeId) -> float | None:
        link = self.link_to(node)
        return None if link is None else link.connection.rtt

    def load(self, node: NodeId, service: str) -> int:
        return self.loads.of(node, service)


@define(eq=False, kw_only=True)
class Opener:
    """Opens channels for this node, to whom the registry names and over the links that stand."""

    registry: Registry
    reach: LinkReach
    channels: Channels
    refusals: RefusalLog
    is_draining: bool = field(init=False, default=False)

    @property
    def loads(self) -> Loads:
        return self.reach.loads

    @asynccontextmanager
    async def open_channel(
        self, service: str, *, client: str | None = None, deadline: float = 5.0
    ) -> AsyncGenerator[Channel]:
        """Hold a channel to *service* for the body of the ``async with``.

        Raises :exc:`RefusedError` when nobody said yes within *deadline* seconds. Leaving the
        body cleanly ends our direction and reads no further; leaving it by an exception resets
        the channel, so that the other end does not take a fragment for the whole.
        """
        ask = _Ask(service, client, os.urandom(CHANNEL_ID_BYTES))
        try:
            won = await self._open(ask, trio.current_time() + deadline)
        except RefusedError as refused:
            self._log(ask, refused)
            raise
        async with self._held(won):
            yield won.channel

    async def probe(self, service: str, node: NodeId, within: float) -> float:
        """Open *service* at that very *node*, end the channel, and return what the yes took.

        Raises :exc:`RefusedError`, also when there is no yes *within* so many seconds. Tells the
        registry nothing: it asked. Whether this node may open the service is left to the other
        end; of itself it may always ask.
        """
        ask = _Ask(service, None, os.urandom(CHANNEL_ID_BYTES))
        won = await self._attempt(ask, node, node, within)
        won.channel.has_line = False  # six a minute, and the registry tells what they come to
        async with self._held(won):
            return won.rtt

    @asynccontextmanager
    async def _held(self, won: _Won) -> AsyncGenerator[None]:
        """End the channel as the body ends, and be done with it."""
        channel = won.channel
        try:
            yield
            if channel.state not in FINAL:
                await channel.aclose()
        except ChannelBroken as broken:
            channel.reset(broken.code)
            raise
        except trio.Cancelled:
            channel.reset(Code.CANCELLED)
            raise
        except BaseException:
            channel.reset(Code.INTERNAL_ERROR)
            raise
        finally:
            channel.leave()
            won.link.channel_ended()
            self.loads.ended(won.node, channel.service)

    # -- which instance --
    async def _open(self, ask: _Ask, until: float) -> _Won:
        """Try one instance after the other; raise the last no, or what speaks against all."""
        if self.is_draining:
            raise ask.refused(Code.DRAINING)
        tried: set[NodeId] = set()
        last: RefusedError | None = None
        while instances := self._instances(ask, tried, last):
            remaining = until - trio.current_time()
            if remaining <= 0:
                raise last or ask.refused(Code.DEADLINE)
            tried.add(instances[0].node)
            try:
                within = attempt_within(remaining, len(instances))
                return await self._try(ask, instances[0], within)
            except RefusedError as refused:
                if not (isinstance(refused, _Unreached) or is_worth_another(refused.code)):
                    raise
                last = refused
        raise last or ask.refused(Code.NO_INSTANCE)

    def _instances(
        self, ask: _Ask, tried: set[NodeId], last: RefusedError | None
    ) -> tuple[Instance, ...]:
        """Return whom to ask, best first. Resolved anew after each no: nodes come and go."""
        resolution = self.registry.resolve(ask.service, client=ask.client, besides=tried)
        if resolution.objection is not None:
            raise last or ask.refused(resolution.objection)
        return resolution.instances

    async def _try(self, ask: _Ask, instance: Instance, within: float) -> _Won:
        """Ask *instance*, and tell the registry what came of it."""
        service, node = ask.service, instance.node
        until = trio.current_time() + within
        try:
            won = await self._attempt(ask, node, instance.name, within)
        except RefusedError as refused:
            is_late = refused.code is Code.DEADLINE or trio.current_time() >= until
            if not is_late or within >= FAIR_WAIT:
                self.registry.failed(service, node, refused.code, "channel")
            raise
        self.registry.proved(service, node, won.rtt, "channel")
        return won

    # -- one instance --
    async def _attempt(self, ask: _Ask, node: NodeId, name: str, within: float) -> _Won:
        """Ask *node*, called *name*; raise :exc:`RefusedError` for its no, or ours."""
        until = trio.current_time() + within
        self.loads.began(node, ask.service)
        try:
            while True:
                link = await self._link(ask, node, name, _left(until))
                try:
                    return await self._ask_over(ask, node, link, until)
                except RefusedError:
                    if not (isinstance(link, Link) and link.was_let_go):
                        raise
                with trio.move_on_at(until):  # it is dialled anew, once it is out of the way
                    await link.over.wait()
        except BaseException:
            self.loads.ended(node, ask.service)
            raise

    async def _ask_over(self, ask: _Ask, node: NodeId, link: AnyLink, until: float) -> _Won:
        if not link.takes_channels:
            code = Code.DRAINING if link.connection.closed is None else Code.PEER_LOST
            raise ask.refused(code, hop=link.member.name)
        link.channel_began()
        try:
            return await self._ask(ask, node, link, _left(until))
        except BaseException:
            link.channel_ended()
            raise

    async def _link(self, ask: _Ask, node: NodeId, name: str, within: float) -> AnyLink:
        """Return a link to *node*, dialled if need be."""
        link = self.reach.link_to(node)
        if link is None:
            try:
                link = await self.reach.connect(node, within)
            except RefusedError as refused:
                raise ask.unreached(refused, name) from refused
        return link

    async def _ask(self, ask: _Ask, node: NodeId, link: AnyLink, within: float) -> _Won:
        stream: AnyStream | None = None
        hop = link.member.name
        try:
            with trio.move_on_after(within):
                connection = link.connection
                stream = connection.open_stream_nowait() or await connection.open_stream()
                return await self._converse(ask, stream, node, link, within)
            raise ask.refused(Code.DEADLINE, hop=hop)
        except (RefusedError, QuicError, RemoteProtocolError) as error:
            refused = _as_refusal(ask, error, hop)
            if stream is not None:
                stream.abort(refused.code)
            raise refused from (None if refused is error else error)
        except BaseException:
            if stream is not None:
                stream.abort(Code.CANCELLED)
            raise

    async def _converse(
        self, ask: _Ask, stream: AnyStream, node: NodeId, link: AnyLink, within: float
    ) -> _Won:
        began = trio.current_time()
        stream.send_nowait(encode(ask.frame(within)))  # always fits a fresh stream's credit
        reader, hop = FrameReader(limit=MAX_OPEN), link.member.name
        match await next_frame(stream, reader):
            case Accepted(load=load):
                self.loads.told(node, ask.service, load)
                channel = self._opened(ask, stream, hop, reader.rest())
                return _Won(node, link, channel, trio.current_time() - began)
            case Refused(code=code, reason=reason, hop=refuser):
                raise ask.refused(Code.from_wire(code), reason, hop=refuser or hop)
            case other:
                what = f"{type(other).__name__} in answer to Open"
                raise RemoteProtocolError(Code.UNEXPECTED_FRAME, what)

    def _opened(self, ask: _Ask, stream: AnyStream, peer: str, early: bytes) -> Channel:
        channel = Channel(
            stream,
            self.channels,
            id=ask.channel_id.hex(),
            service=ask.service,
            peer=peer,
            client=ask.client,
            direction="out",
        )
        channel.opened(early)
        self.channels.metrics.channels_opened.add(ask.service, "out")
        return channel

    def _log(self, ask: _Ask, refused: RefusedError) -> None:
        self.channels.metrics.channels_refused.add(ask.service, refused.code, "out")
        self.refusals.refused(
            "channel.refused",
            refused.code,
            trio.current_time(),
            channel=refused.channel_id,
            service=ask.service,
            direction="out",
            peer=refused.hop,
            client=ask.client,
            detail=refused.detail,
        )
        self.channels.events.publish(
            "channel.refused",
            channel=refused.channel_id,
            service=ask.service,
            code=refused.code,
            peer=refused.hop,
        )


def _left(until: float) -> float:
    """Return the seconds that are left; a process that was busy may be late."""
    return max(0.0, until - trio.current_time())


def _as_refusal(
    ask: _Ask, error: RefusedError | QuicError | RemoteProtocolError, hop: str
) -> RefusedError:
    match error:
        case RefusedError():
            return error
        case QuicError():
            return ask.refused(code_of(error), str(error), hop=hop)
        case RemoteProtocolError():
            return ask.refused(error.code, error.detail, hop=hop)


class _Unreached(RefusedError):
    """There was no link to the node, for whatever reason: another one may be linked."""


@frozen(eq=False)
class _Won:
    """A channel that was accepted, and where."""

    node: NodeId
    link: AnyLink
    channel: Channel
    rtt: float
    """Seconds from ``Open`` to ``Accepted``."""


@define(eq=False)
class _Ask:
    """What is asked for: the same of every instance, under one channel id."""

    service: str
    client: str | None
    channel_id: bytes

    def frame(self, within: float) -> Open:
        return Open(
            channel_id=self.channel_id,
            service=self.service,
            deadline=max(1, min(int(within * 1000), MOST_DEADLINE)),
            client=self.client,
        )

    def refused(self, code: Code, detail: str = "", *, hop: str = "") -> RefusedError:
        return RefusedError(code, detail, hop=hop, channel_id=self.channel_id.hex())

    def unreached(self, why: RefusedError, name: str) -> RefusedError:
        """Return *why* the node *name* could not be connected, as the refusal of this channel."""
        return _Unreached(why.code, why.detail, hop=name, channel_id=self.channel_id.hex())
