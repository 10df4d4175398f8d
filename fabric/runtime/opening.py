"""Opens channels: which instances may be tried, in which order, and what each no means.

The opener asks the terms of the service first and refuses what the offering node would refuse,
in the same words and without a round trip. Then it tries one connected instance after the other,
within one deadline, until one says yes or none is left that could. Nothing is sent behind
``Open``: a payload that one instance has seen could not be given to the next.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager

import trio
from attrs import define, field

from fabric.codes import Code
from fabric.core.access import Subject
from fabric.core.channel import FINAL
from fabric.core.codec import MAX_OPEN, FrameReader, encode
from fabric.core.frames import CHANNEL_ID_BYTES, MOST_DEADLINE, Accepted, Open, Refused
from fabric.core.instances import WORTH_ANOTHER, Candidate, Loads, attempt_within, ranked
from fabric.core.offers import OfferBook
from fabric.errors import ChannelBroken, RefusedError, RemoteProtocolError
from fabric.runtime.admission import next_frame
from fabric.runtime.channels import Channel, Channels
from fabric.runtime.closing import code_of
from fabric.runtime.links import AnyLink
from fabric.runtime.local import AnyStream
from fabric.runtime.refusals import RefusalLog
from fabric.trio_quic import QuicError


@define(eq=False, kw_only=True)
class Opener:
    """Opens channels for this node, by the terms that it knows and over the links that stand."""

    me: Subject
    book: OfferBook
    channels: Channels
    refusals: RefusalLog
    links: Callable[[], Iterable[AnyLink]]
    is_draining: bool = field(init=False, default=False)
    loads: Loads = field(init=False, factory=Loads)

    @asynccontextmanager
    async def open_channel(
        self, service: str, *, client: str | None = None, deadline: float = 5.0
    ) -> AsyncGenerator[Channel]:
        """Hold a channel to *service* for the body of the ``async with``.

        Raises :exc:`RefusedError` when nobody said yes within *deadline* seconds. Leaving the
        body cleanly ends our direction and reads no further; leaving it by an exception resets
        the channel, so that the other end does not take a fragment for the whole.
        """
        link, channel = await self._open(service, client, deadline)
        try:
            yield channel
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
            link.channel_ended()
            self.loads.ended(link.member.name, service)

    async def _open(
        self, service: str, client: str | None, deadline: float
    ) -> tuple[AnyLink, Channel]:
        channel_id = os.urandom(CHANNEL_ID_BYTES)
        ask = _Ask(service, client, channel_id)
        try:
            self._object(ask)
            return await self._try_instances(ask, trio.current_time() + deadline)
        except RefusedError as refused:
            self._log(ask, refused)
            raise

    def _object(self, ask: _Ask) -> None:
        """Raise what speaks against asking anybody."""
        if self.is_draining:
            raise ask.refused(Code.DRAINING)
        if not self.book.knows(ask.service):
            raise ask.refused(Code.UNKNOWN_SERVICE)
        terms = self.book.declared.get(ask.service)
        if terms and (code := terms.objection(self.me, client=ask.client)):
            raise ask.refused(code)

    async def _try_instances(self, ask: _Ask, until: float) -> tuple[AnyLink, Channel]:
        tried: set[AnyLink] = set()
        last: RefusedError | None = None
        while links := self._instances(ask, tried):
            remaining = until - trio.current_time()
            if remaining <= 0:
                raise last or ask.refused(Code.DEADLINE)
            tried.add(links[0])
            try:
                within = attempt_within(remaining, len(links))
                return links[0], await self._attempt(ask, links[0], within)
            except RefusedError as refused:
                if refused.code not in WORTH_ANOTHER:
                    raise
                last = refused
        raise last or self._nobody(ask)

    def _instances(self, ask: _Ask, tried: set[AnyLink]) -> list[AnyLink]:
        """Return the links to try, best first. Asked anew after each no: links come and go."""
        links = {
            link.member.name: link
            for link in self.links()
            if link not in tried
            and link.takes_channels
            and self.book.offers(link.member.name, ask.service)
            and self._objection_at(ask, link) is None
        }
        if len(links) < 2:
            return list(links.values())
        candidates = (
            Candidate(name, self.loads.of(name, ask.service), link.connection.rtt)
            for name, link in links.items()
        )
        return [links[name] for name in ranked(candidates)]

    def _objection_at(self, ask: _Ask, link: AnyLink) -> Code | None:
        terms = self.book.terms(ask.service, link.member.name)
        return terms.objection(self.me, client=ask.client) if terms else None

    def _nobody(self, ask: _Ask) -> RefusedError:
        """Return why there was no instance to try: none there, or none that would let us in."""
        objections = [
            self._objection_at(ask, link)
            for link in self.links()
            if link.takes_channels and self.book.offers(link.member.name, ask.service)
        ]
        return ask.refused(next((code for code in objections if code), Code.NO_INSTANCE))

    async def _attempt(self, ask: _Ask, link: AnyLink, within: float) -> Channel:
        """Ask the instance at *link*; raise :exc:`RefusedError` for its no, or ours."""
        self.loads.began(link.member.name, ask.service)
        link.channel_began()
        try:
            return await self._ask(ask, link, within)
        except BaseException:
            link.channel_ended()
            self.loads.ended(link.member.name, ask.service)
            raise

    async def _ask(self, ask: _Ask, link: AnyLink, within: float) -> Channel:
        stream: AnyStream | None = None
        hop = link.member.name
        try:
            with trio.move_on_after(within):
                connection = link.connection
                stream = connection.open_stream_nowait() or await connection.open_stream()
                return await self._converse(ask, stream, link, within)
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
        self, ask: _Ask, stream: AnyStream, link: AnyLink, within: float
    ) -> Channel:
        stream.send_nowait(encode(ask.frame(within)))  # always fits a fresh stream's credit
        reader, hop = FrameReader(limit=MAX_OPEN), link.member.name
        match await next_frame(stream, reader):
            case Accepted(load=load):
                self.loads.told(hop, ask.service, load)
                return self._opened(ask, stream, hop, reader.rest())
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
