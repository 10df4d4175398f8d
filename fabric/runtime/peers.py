"""The peers of this node: one supervised task each, which dials, says Hello, keeps and redials.

Theory of operation
===================

A peer's task owns every link to that peer. It dials while no link stands and the roster knows a
way; what dials us is judged by the acceptor task and handed over to the task of the peer that it
proved to be. Which of two links stands is decided in :mod:`fabric.core.standing`, at the moment
of admission and without a wait, so the two ways in cannot disagree.

::

    acceptor:  stranger -- Hello --> admitted --.
                                                 >-- inbox of the peer --> link runs until closed
    peer task: dial -- Hello ------> admitted --'

A peer's task that meets weather is restarted alone, its links with it; other peers notice nothing.
"""

from __future__ import annotations

import os
import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, NoReturn

import structlog
import trio
from attrs import define, field

from fabric.codes import Code
from fabric.config import HostPort
from fabric.core.admission import Acceptor, Admit, Dialler, Myself
from fabric.core.backoff import Backoff, Redial
from fabric.core.codec import encode
from fabric.core.frames import CHALLENGE_KIND, Bye, Challenge, Draining, Frame, Offers
from fabric.core.identity import NONCE_BYTES, NodeId
from fabric.core.offers import OfferBook
from fabric.core.planes import Planes
from fabric.core.roster import Address, DialIntent, Roster
from fabric.core.standing import Judgement, Standings, Verdict
from fabric.errors import RefusedError
from fabric.net.resolve import resolve
from fabric.runtime.admission import Control, receive_hello, refusal_of, send_hello
from fabric.runtime.closing import aclose, close, code_of_close
from fabric.runtime.events import EventBus
from fabric.runtime.links import Link
from fabric.runtime.metrics import Metrics
from fabric.runtime.peer import UNREACHED, Peer, PeerState
from fabric.runtime.refusals import RefusalLog
from fabric.runtime.services import Services
from fabric.runtime.supervise import keep_running
from fabric.trio_quic import Connection, ConnectionClosed, Endpoint

log = structlog.get_logger()

PLANE: Final = "peers"

LOOK_AGAIN: Final = 5.0
"""Seconds until the roster is asked again for a way to a peer that had none."""


MOST_LINKS: Final = 8
"""Links to one peer at a time. Two dials at once make two, and weather perhaps a third before the
first is known to be dead; who makes more has a key but no manners, and loses the oldest."""

STRANGERS_EVERY: Final = 1.0
"""Seconds between two looks at the handshakes that came to nothing."""


@define(eq=False, kw_only=True)
class Peers:
    """The peers plane. :meth:`run` keeps it; everything else only looks or hands over."""

    me: Myself
    roster: Roster
    book: OfferBook
    services: Services
    planes: Planes
    metrics: Metrics
    events: EventBus
    refusals: RefusalLog
    rng: random.Random
    accept_channels: Callable[[Link], Awaitable[None]]
    """Takes the channels that a peer opens, until the link's connection is closed."""
    by_id: dict[NodeId, Peer] = field(init=False)
    standings: Standings = field(init=False)
    _greeted: dict[Connection, bytes] = field(init=False, factory=dict)
    """Nonces of the challenges whose connections are not through TLS yet. Bounded by what the
    endpoint lets strangers have, each for five seconds."""

    def __attrs_post_init__(self) -> None:
        self.standings = Standings(self.me.node_id)
        self.by_id = {
            member.node_id: Peer(member, Redial(self.rng)) for member in self.roster.members()
        }

    def challenge(self, connection: Connection) -> tuple[int, bytes]:
        """Return what the endpoint sends with an accepted connection's first flight."""
        nonce = self._greeted[connection] = os.urandom(NONCE_BYTES)
        return CHALLENGE_KIND, encode(Challenge(nonce=nonce))

    async def run(self, endpoint: Endpoint) -> NoReturn:
        """Keep every peer until cancelled: one task each, and one that meets strangers."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._accept, endpoint)
            nursery.start_soon(self._hear_of_strangers)
            for peer in self.by_id.values():
                name, backoff = f"peer {peer.member.name}", Backoff(self.rng, floor=0.2, ceiling=5)
                body = partial(self._keep_peer, peer, endpoint)
                nursery.start_soon(keep_running, name, body, backoff)
        raise AssertionError("keep_running returned")

    # -- for links --
    def heard(self, link: Link, frame: Offers | Draining | Bye) -> None:
        """Take what a peer said on its control stream."""
        name = link.member.name
        match frame:
            case Offers(names=names):
                self.book.hear(name, frame)
                self.events.publish("offers.changed", peer=name, offers=names)
            case Draining(until=until):
                log.info("peer.draining", peer=name, until_s=until / 1000)
                self.events.publish("peer.draining", peer=name)
            case Bye(code=code) if code == Code.DUPLICATE:
                self._retire(self._peer(link), link, Code.DUPLICATE)

    def progressed(self) -> None:
        """Raise the plane's watermark: a link was probed."""
        self.planes.progressed(PLANE, trio.current_time())

    def _peer(self, link: Link) -> Peer:
        return self.by_id[link.member.node_id]

    # -- the acceptor --
    async def _accept(self, endpoint: Endpoint) -> NoReturn:
        async with trio.open_nursery() as nursery:
            while True:
                connection = await endpoint.accept()
                self.progressed()
                # Taken here: once it is closed _hear_of_strangers would find it, and tell of it.
                nursery.start_soon(self._meet, connection, self._greeted.pop(connection))

    async def _meet(self, connection: Connection, nonce: bytes) -> None:
        acceptor = Acceptor(
            me=self.me,
            roster=self.roster,
            standings=self.standings,
            nonce=nonce,
        )
        try:
            await receive_hello(connection, acceptor, self._enter)
        except RefusedError as refused:
            address = connection.remote_address
            self._tell_refused(refused, address, side="acceptor", peer=acceptor.claimant)

    async def _hear_of_strangers(self) -> NoReturn:
        """Tell of those who left within the handshake: most of all that they expected another key
        here, which their side alone would know otherwise."""
        while True:
            await trio.sleep(STRANGERS_EVERY)
            for connection in [each for each in self._greeted if each.closed is not None]:
                del self._greeted[connection]
                assert connection.closed is not None
                refused = refusal_of(connection.closed)
                self._tell_refused(refused, connection.remote_address, side="acceptor", peer="")

    # -- one peer --
    async def _keep_peer(self, peer: Peer, endpoint: Endpoint) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._dial_when_vacant, peer, endpoint)
            while True:
                nursery.start_soon(self._keep_link, peer, await peer.next_link())

    async def _keep_link(self, peer: Peer, link: Link) -> None:
        try:
            await link.run(self.accept_channels)
        finally:
            self._left(peer, link)

    async def _dial_when_vacant(self, peer: Peer, endpoint: Endpoint) -> NoReturn:
        while True:
            await peer.wait_vacant()
            ways = self.roster.ways_to(peer.member)
            if not ways:
                peer.settled.set()
                await trio.sleep(LOOK_AGAIN)
                continue
            for way in ways:
                if peer.link is None:
                    await self._dial(peer, way, endpoint)
            if peer.link is None:
                refused = peer.state is PeerState.REFUSED
                await trio.sleep(peer.redial.next_delay(trio.current_time(), refused=refused))

    async def _dial(self, peer: Peer, way: DialIntent, endpoint: Endpoint) -> None:
        """Try one way to *peer*, once. Whatever comes of it is in the peer's state."""
        if peer.state is not PeerState.REFUSED:  # that stays to be seen until there is better news
            peer.turn(PeerState.DIALLING, peer.reason)
        timeout = peer.redial.attempt_timeout(trio.current_time())
        try:
            address = await resolve(way.address, v6=":" in endpoint.address[0], timeout=timeout)
            connection = await endpoint.connect(address, pin=way.pin, timeout=timeout)
        except ConnectionClosed as closed:
            self._missed(peer, way, refusal_of(closed))
            return
        except OSError as error:
            self._missed(peer, way, RefusedError(Code.HANDSHAKE_TIMEOUT, str(error)))
            return
        try:
            await self._introduce(connection, way)
        except RefusedError as refused:
            self._missed(peer, way, refused)

    async def _introduce(self, connection: Connection, way: DialIntent) -> None:
        assert connection.peer_key is not None
        dialler = Dialler(
            me=self.me,
            roster=self.roster,
            standings=self.standings,
            intent=way,
            acceptor_key=connection.peer_key,
            nonce=os.urandom(NONCE_BYTES),
        )
        try:
            await send_hello(connection, dialler, self._enter)
        except trio.Cancelled:
            close(connection, Code.SHUTTING_DOWN)
            raise

    # -- links come and go --
    def _enter(self, admit: Admit, control: Control) -> None:
        """Register an admitted connection. Nothing waits in here: see :mod:`.admission`."""
        peer, judgement = self.by_id[admit.member.node_id], admit.judgement
        link = Link(admit.member, admit.claim, control, owner=self, is_spare=not judgement.stands)
        self._make_way(peer, judgement)
        peer.links[admit.claim] = link
        if judgement.stands:
            self._stands(peer, link, admit)
        if not peer.offer(link):
            close(link.connection, Code.BUSY)
            self._left(peer, link)

    def _make_way(self, peer: Peer, judgement: Judgement) -> None:
        """Do to the links that *peer* has what follows from one more."""
        if judgement.verdict is Verdict.REPLACE:  # they all are of the process before
            for link in peer.links.values():
                close(link.connection, Code.REPLACED)
        elif judgement.displaced is not None and judgement.displaced in peer.links:
            peer.links[judgement.displaced].spare()
        spares = [link for link in peer.open_links() if link.is_spare]
        for link in spares[: max(0, len(spares) + 2 - MOST_LINKS)]:
            close(link.connection, Code.BUSY, "too many links of one peer")

    def _stands(self, peer: Peer, link: Link, admit: Admit) -> None:
        peer.stand(link)
        peer.turn(PeerState.CONNECTED)
        log.info(
            "peer.connected",
            peer=peer.member.name,
            address=str(HostPort(*link.connection.remote_address)),
            dialled_by=self.me.name if link.connection.is_dialler else peer.member.name,
            version=admit.version,
            boot_seq=admit.claim.boot_seq,
            replaces=admit.judgement.verdict is Verdict.REPLACE,
        )
        self.events.publish("peer.connected", peer=peer.member.name)

    def _retire(self, peer: Peer, link: Link, code: Code) -> bool:
        """Let *link* stand no more; a spare one may take its place. Return whether it stood."""
        promoted = self.standings.ended(link.claim)
        if peer.link is not link:
            return False
        if promoted is not None:
            peer.links[promoted].stand()
            peer.stand(peer.links[promoted])
            return True
        self.book.forget(peer.member.name)
        peer.redial.lost(trio.current_time())
        peer.turn(PeerState.WAITING, code)
        peer.stand(None)
        self.events.publish("peer.disconnected", peer=peer.member.name, code=code)
        return True

    def _left(self, peer: Peer, link: Link) -> None:
        del peer.links[link.claim]
        closed = link.connection.closed
        code = code_of_close(closed) if closed is not None else Code.CANCELLED
        stood = self._retire(peer, link, code)
        log.info(
            "peer.disconnected",
            peer=peer.member.name,
            code=code,
            stood=stood,
            age_s=round(trio.current_time() - link.opened_at, 3),
            sent_bytes=link.connection.bytes_sent,
            received_bytes=link.connection.bytes_received,
        )

    # -- refusals --
    def _missed(self, peer: Peer, way: DialIntent, refused: RefusedError) -> None:
        peer.missed(refused)
        self._tell_refused(refused, way.address, side="dialler", peer=peer.member.name)

    def _tell_refused(
        self, refused: RefusedError, address: Address, *, side: str, peer: str
    ) -> None:
        """Count, log and publish an attempt that came to nothing, on the side that it is on."""
        code = refused.code
        if code is Code.DUPLICATE:
            return  # the other of two dials was kept: that is success
        # Not being there is no refusal, and is told under another name.
        event = "peer.missed" if code in UNREACHED else "peer.refused"
        self.metrics.hellos_refused.add(code, side)
        self.refusals.refused(
            event,
            code,
            trio.current_time(),
            peer=peer,
            address=str(HostPort(*address)),
            side=side,
            by="peer" if refused.hop else "here",
            detail=refused.detail,
        )
        self.events.publish(event, peer=peer, code=code, side=side)

    # -- the end --
    async def tell_all(self, frame: Frame) -> None:
        """Put *frame* on every link, all at once; returns when each has it or is closed."""
        async with trio.open_nursery() as nursery:
            for link in self.all_links():
                nursery.start_soon(link.tell, frame)

    async def close_all(self, code: Code) -> None:
        """Close every link once what was sent has arrived, or after a second."""
        async with trio.open_nursery() as nursery:
            for link in self.all_links():
                nursery.start_soon(aclose, link.connection, code)

    async def wait_settled(self) -> None:
        """Wait until every peer is connected or was tried once."""
        for peer in self.by_id.values():
            await peer.settled.wait()

    def standing_links(self) -> list[Link]:
        """Return the links on which channels are opened."""
        return [peer.link for peer in self.by_id.values() if peer.link is not None]

    def all_links(self) -> list[Link]:
        """Return every link, those that are spare too."""
        return [link for peer in self.by_id.values() for link in peer.open_links()]
