"""The peers of this node: one supervised task each, which dials, says Hello, keeps and redials.

Theory of operation
===================

A peer's task owns every link to that peer. It dials while the peer is wanted, no link stands and
the roster knows a way; what dials us is judged by the meeting and handed over to the task of the
peer that it proved to be. Which of two links stands is decided in :mod:`fabric.core.standing`, at
the moment of admission and without a wait, so the two ways in cannot disagree.

::

    meeting:   stranger -- Hello --> admitted --.
    seeds:     dial -- Hello ------> admitted ---+-> inbox of the peer --> link runs until closed
    peer task: dial -- Hello ------> admitted --'

There is a peer for everybody who is wanted or connected; who is neither is let go after a while.
A peer's task that meets weather is restarted alone, its links with it; other peers notice
nothing. A peer whose record is revoked loses its links and its task at once.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, NoReturn, Protocol

import structlog
import trio
from attrs import define, field

from fabric.codes import Code
from fabric.config import HostPort
from fabric.core.admission import Admit, Myself, Ourselves
from fabric.core.backoff import Backoff, Redial
from fabric.core.frames import Bye, Draining, Frame
from fabric.core.identity import NodeId
from fabric.core.planes import Planes
from fabric.core.roster import Address, DialIntent, Member
from fabric.core.standing import Judgement, Verdict
from fabric.errors import RefusedError
from fabric.runtime.admission import Control
from fabric.runtime.closing import aclose, close, code_of_close
from fabric.runtime.dialling import Dialling
from fabric.runtime.events import EventBus
from fabric.runtime.links import Link
from fabric.runtime.peer import Peer, PeerState
from fabric.runtime.refused_peers import RefusedPeers
from fabric.runtime.supervise import keep_running
from fabric.trio_quic import Endpoint

log = structlog.get_logger()

PLANE: Final = "peers"

LOOK_AGAIN: Final = 5.0
"""Seconds until the roster is asked again for a way to a peer that had none."""

STAYED_FOR: Final = 2.0
"""Seconds after which the end of a link is a loss. One that ends sooner was an attempt that
failed: whoever admits and closes at once is not dialled as eagerly as who has restarted."""

SLOWLY: Final = 60.0
"""Seconds between two dials of a peer that nobody has seen for long."""

FLUSH_WITHIN: Final = 1.0
"""Seconds for the last words."""

MOST_LINKS: Final = 8
"""Links to one peer at a time. Two dials at once make two, and weather perhaps a third before the
first is known to be dead; who makes more has a key but no manners, and loses the oldest."""


class Audience(Protocol):
    """Whoever is told what peers say and that they come and go. Nothing in it waits."""

    def connected(self, link: Link) -> None:
        """*link* stands now, in place of another of the same peer or of none."""

    def disconnected(self, member: Member, code: Code) -> None:
        """No link to *member* stands any more."""

    def missed(self, member: Member, address: Address, code: Code) -> None:
        """A dial of *member* at *address* came to nothing."""

    def heard(self, link: Link, frame: Frame) -> None:
        """See :meth:`fabric.runtime.links.Owner.heard`."""

    async def sync(self, link: Link) -> None:
        """See :meth:`fabric.runtime.links.Owner.sync`."""


@define(eq=False, kw_only=True)
class Peers:
    """The peers plane. :meth:`run` keeps it; everything else only looks or hands over."""

    we: Ourselves
    planes: Planes
    events: EventBus
    refused: RefusedPeers
    rng: random.Random
    accept_channels: Callable[[Link], Awaitable[None]]
    """Takes the channels that a peer opens, until the link's connection is closed."""
    audience: Audience = field(init=False)
    by_id: dict[NodeId, Peer] = field(init=False, factory=dict)
    dialling: Dialling = field(init=False)
    _nursery: trio.Nursery | None = field(init=False, default=None)
    _endpoint: Endpoint | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self.dialling = Dialling(self.we, self.enter)

    @property
    def me(self) -> Myself:
        return self.we.me

    async def run(self, endpoint: Endpoint) -> NoReturn:
        """Keep every peer until cancelled, one task each."""
        async with trio.open_nursery() as nursery:
            self._nursery, self._endpoint = nursery, endpoint
            try:
                for peer in self.by_id.values():
                    self._start(peer)
                await trio.sleep_forever()
            finally:
                self._nursery = None
        raise AssertionError("sleep_forever returned")

    def _start(self, peer: Peer) -> None:
        """Run *peer*'s task, in the nursery if it is there already, else once it is."""
        if self._nursery is None or self._endpoint is None:
            return
        peer.scope = trio.CancelScope()
        self._nursery.start_soon(self._keep_running, peer, peer.scope, self._endpoint)

    async def _keep_running(self, peer: Peer, scope: trio.CancelScope, endpoint: Endpoint) -> None:
        backoff = Backoff(self.rng, floor=0.2, ceiling=5)
        with scope:
            body = partial(self._keep_peer, peer, endpoint)
            await keep_running(f"peer {peer.member.name}", body, backoff)

    # -- who is a peer --
    def changed(self, node: NodeId) -> None:
        """Take what the roster says of *node* now; who is no member any more is let go."""
        if (peer := self.by_id.get(node)) is None:
            return
        member = self.we.roster.by_key(peer.member.key)
        if member is None:
            self._drop(peer, self.we.roster.why_not(peer.member.key))
            return
        peer.member = member
        for link in peer.links.values():
            link.member = member

    def moved(self, node: NodeId) -> None:
        """Dial *node* where the roster has it now, if it is to be dialled."""
        peer = self.by_id.get(node)
        if peer is not None and peer.link is None and peer.is_wanted:
            peer.nudge()

    def seek(self, node: NodeId, *, slowly: bool = False) -> None:
        """Dial *node* from now on while no link to it stands; nothing, if it is no member."""
        if (peer := self._peer_of(node)) is not None:
            peer.want(True, slowly=slowly)

    def let_go(self, node: NodeId) -> None:
        """Dial *node* no more, and close the links that we dialled, unless channels use them."""
        if (peer := self.by_id.get(node)) is None:
            return
        peer.want(False)
        for link in peer.open_links():
            if link.connection.is_dialler and not link.channels:
                close(link.connection, Code.DONE, "not needed any more")
        self._forget_if_stray(peer)

    def nudge(self, node: NodeId) -> None:
        """Dial *node* now, once, whatever a backoff says; nothing while a link to it stands."""
        peer = self._peer_of(node)
        if peer is not None and peer.link is None:
            peer.nudge()

    async def connected(self, node: NodeId) -> Link:
        """Wait until a link to *node* stands. Raises :exc:`RefusedError` for who is no member."""
        if (peer := self._peer_of(node)) is None:
            raise RefusedError(Code.UNKNOWN_KEY, node)
        return await peer.wait_connected()

    def link_to(self, node: NodeId) -> Link | None:
        """Return the link to *node* on which channels are opened."""
        peer = self.by_id.get(node)
        return peer.link if peer is not None else None

    def reason(self, node: NodeId) -> Code | None:
        """Return why no link to *node* stands, as far as is known."""
        peer = self.by_id.get(node)
        return peer.reason if peer is not None else None

    def _peer_of(self, node: NodeId) -> Peer | None:
        if (peer := self.by_id.get(node)) is not None:
            return peer
        member = self.we.roster.by_id(node)
        if member is None or node == self.me.node_id:
            return None
        return self._peer_for(member)

    def _peer_for(self, member: Member) -> Peer:
        peer = self.by_id.get(member.node_id)
        if peer is None:
            peer = self.by_id[member.node_id] = Peer(member, Redial(self.rng))
            self._start(peer)
        return peer

    def _forget_if_stray(self, peer: Peer) -> None:
        """Let go of a peer that is neither wanted nor connected: its task costs memory."""
        if peer.is_stray and self.by_id.get(peer.member.node_id) is peer:
            peer.end(peer.reason or Code.HANDSHAKE_TIMEOUT)
            del self.by_id[peer.member.node_id]

    def _drop(self, peer: Peer, code: Code) -> None:
        """End every link to *peer*, which is a peer no more for the reason *code*."""
        log.warning("peer.dropped", peer=peer.member.name, code=code)
        self.events.publish("peer.dropped", peer=peer.member.name, code=code)
        peer.is_nudged = False
        peer.want(False)
        if peer.link is None:
            peer.reason = code
        for link in peer.open_links():
            close(link.connection, code)
        self._forget_if_stray(peer)

    def bar(self, node: NodeId, code: Code) -> None:
        """Close every link to *node* for *code*. Who may return, and when, the roster says."""
        if (peer := self.by_id.get(node)) is not None:
            for link in peer.open_links():
                close(link.connection, code)

    def post(self, to: NodeId, frame: Frame) -> bool:
        """Put *frame* in the outbox of the link to *to*; return whether there was room."""
        link = self.link_to(to)
        return link is not None and link.post(frame)

    def pause(self, node: NodeId, until: float) -> None:
        """Read nothing more of *node*'s control streams before *until*."""
        if (peer := self.by_id.get(node)) is not None:
            for link in peer.links.values():
                link.paused_until = until

    # -- for links --
    def heard(self, link: Link, frame: Frame) -> None:
        """Take what a peer said on its control stream."""
        name = link.member.name
        match frame:
            case Draining(until=until):
                log.info("peer.draining", peer=name, until_s=until / 1000)
                self.events.publish("peer.draining", peer=name)
            case Bye(code=code):
                if code == Code.DUPLICATE:
                    link.spare()  # or who says this of every link would have any number of them
                    self._retire(self._peer(link), link, Code.DUPLICATE)
        self.audience.heard(link, frame)

    async def sync(self, link: Link) -> None:
        await self.audience.sync(link)

    def progressed(self) -> None:
        """Raise the plane's watermark: a link was looked at."""
        self.planes.progressed(PLANE, trio.current_time())

    def _peer(self, link: Link) -> Peer:
        return self.by_id[link.member.node_id]

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
            await peer.wait_to_be_dialled()
            if ways := self._ways_to(peer):
                await self._dial(peer, ways, endpoint)
            peer.settled.set()
            self._forget_if_stray(peer)
            await self._wait_before_next(peer)

    async def _wait_before_next(self, peer: Peer) -> None:
        """Wait until *peer* may be dialled again; anew, when a link came meanwhile and went."""
        while True:
            await peer.wait_vacant()
            await peer.wait_before_next(self._delay(peer))
            if peer.link is None:
                return

    def _delay(self, peer: Peer) -> float:
        """Return the seconds until *peer* is dialled again."""
        if not self._ways_to(peer):
            return LOOK_AGAIN
        refused = peer.state is PeerState.REFUSED
        delay = peer.redial.next_delay(trio.current_time(), refused=refused)
        return max(delay, SLOWLY * self.rng.uniform(0.75, 1.25)) if peer.is_slow else delay

    def _ways_to(self, peer: Peer) -> Sequence[DialIntent]:
        return [] if self.dialling.is_over else self.we.roster.ways_to(peer.member)

    async def _dial(self, peer: Peer, ways: Sequence[DialIntent], endpoint: Endpoint) -> None:
        """Try the *ways* to *peer*, each once. Whatever comes of it is in the peer's state."""

        def missed(way: DialIntent, refused: RefusedError) -> None:
            peer.missed(refused)
            self.refused.tell(refused, way.address, side="dialler", peer=peer.member.name)
            self.audience.missed(peer.member, way.address, refused.code)

        if peer.state is not PeerState.REFUSED:  # that stays to be seen until there is better news
            peer.turn(PeerState.DIALLING, peer.reason)
        timeout = peer.redial.attempt_timeout(trio.current_time())
        await self.dialling.dial(
            ways, endpoint, timeout, missed=missed, is_moot=lambda: peer.link is not None
        )

    # -- links come and go --
    def enter(self, admit: Admit, control: Control) -> None:
        """Register an admitted connection. Nothing waits in here: see :mod:`.admission`."""
        peer, judgement = self._peer_for(admit.member), admit.judgement
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
        self.audience.connected(link)

    def _retire(self, peer: Peer, link: Link, code: Code) -> bool:
        """Let *link* stand no more; a spare one may take its place. Return whether it stood."""
        promoted = self.we.standings.ended(link.claim)
        if peer.link is not link:
            return False
        if promoted is not None:
            peer.links[promoted].stand()
            peer.stand(peer.links[promoted])
            self.audience.connected(peer.links[promoted])
            return True
        if trio.current_time() - link.opened_at >= STAYED_FOR:
            peer.redial.lost(trio.current_time())
        peer.turn(PeerState.WAITING, code)
        peer.stand(None)
        self.events.publish("peer.disconnected", peer=peer.member.name, code=code)
        self.audience.disconnected(peer.member, code)
        return True

    def _left(self, peer: Peer, link: Link) -> None:
        peer.links.pop(link.claim, None)
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
        link.over.set()
        self._forget_if_stray(peer)

    # -- the end --
    async def tell_all(self, frame: Frame) -> None:
        """Put *frame* on every link, all at once; returns when each has it or is closed."""
        async with trio.open_nursery() as nursery:
            for link in self.all_links():
                nursery.start_soon(link.tell, frame)

    async def flush(self) -> None:
        """Wait until what waits in the links' outboxes has left, or a second has passed."""
        with trio.move_on_after(FLUSH_WITHIN):
            async with trio.open_nursery() as nursery:
                for link in self.all_links():
                    nursery.start_soon(link.outbox.wait_empty)

    async def close_all(self, code: Code) -> None:
        """Close every link once what was sent has arrived, or after a second."""
        async with trio.open_nursery() as nursery:
            for link in self.all_links():
                nursery.start_soon(aclose, link.connection, code)

    async def wait_settled(self) -> None:
        """Wait until every peer is connected or was tried once."""
        for peer in list(self.by_id.values()):  # who is met meanwhile is settled
            await peer.settled.wait()

    def standing_links(self) -> list[Link]:
        """Return the links on which channels are opened."""
        return [peer.link for peer in self.by_id.values() if peer.link is not None]

    def all_links(self) -> list[Link]:
        """Return every link, those that are spare too."""
        return [link for peer in self.by_id.values() for link in peer.open_links()]
