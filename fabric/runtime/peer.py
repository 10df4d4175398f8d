"""One peer as seen from here: what it is doing, whether it is wanted, and the links to it."""

from __future__ import annotations

import enum
from typing import Final

import trio
from attrs import define, field

from fabric.codes import Code
from fabric.core.backoff import Redial
from fabric.core.roster import Member
from fabric.core.standing import Claim
from fabric.errors import RefusedError
from fabric.runtime.links import Link
from fabric.runtime.refused_peers import UNREACHED

MOST_ARRIVALS: Final = 8
"""Admitted connections that wait for their peer's task: it takes them at once, unless it is
being restarted."""


class PeerState(enum.StrEnum):
    """What a peer is doing, as seen from here."""

    CONNECTED = "connected"
    DIALLING = "dialling"
    WAITING = "waiting"
    """Between two dials, until it dials us, or until it is wanted."""
    REFUSED = "refused"
    """The last attempt ended in a refusal, by either end. It is tried again all the same."""


@define(eq=False)
class Peer:
    """One peer and its links. Its own task is the only one to run them."""

    member: Member
    """As its record describes it now."""
    redial: Redial
    scope: trio.CancelScope = field(init=False, factory=trio.CancelScope)
    """Around its tasks, anew each time that they start: cancelled when it is a peer no more."""
    state: PeerState = field(init=False, default=PeerState.WAITING)
    reason: Code | None = field(init=False, default=None)
    """Why it is not connected; ``None`` while it is, and before the first attempt."""
    since: float = field(init=False, factory=trio.current_time)
    """When :attr:`state` began."""
    link: Link | None = field(init=False, default=None)
    """The one that stands."""
    settled: trio.Event = field(init=False, factory=trio.Event)
    """Set once it is connected, or a first attempt has failed, or there is no way to dial it."""
    links: dict[Claim, Link] = field(init=False, factory=dict)
    is_wanted: bool = field(init=False, default=False)
    """Whether this node dials it while no link stands."""
    is_slow: bool = field(init=False, default=False)
    """Whether once a minute is often enough: nobody has seen it for long."""
    is_nudged: bool = field(init=False, default=False)
    """Whether it is to be dialled once more, wanted or not, and whatever the backoff."""
    over: Code | None = field(init=False, default=None)
    """Why it is a peer no more, once it is none."""
    _changed: trio.Event = field(init=False, factory=trio.Event)
    _nudged: trio.Event = field(init=False, factory=trio.Event)
    _arriving: trio.MemorySendChannel[Link] = field(init=False)
    _arrivals: trio.MemoryReceiveChannel[Link] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.redial.lost(self.since)  # who starts is as eager as who has just lost a peer
        self._arriving, self._arrivals = trio.open_memory_channel(MOST_ARRIVALS)

    def turn(self, state: PeerState, reason: Code | None = None) -> None:
        """Be in *state* from now on, for *reason*."""
        if state is not self.state:
            self.since = trio.current_time()
        if state is not PeerState.DIALLING:
            self.settled.set()
        self.state, self.reason = state, reason

    def missed(self, refused: RefusedError) -> None:
        """Note an attempt that did not get through. A connected peer is not concerned."""
        if self.link is not None:
            return
        has_left = self.reason is Code.SHUTTING_DOWN and refused.code is Code.HANDSHAKE_TIMEOUT
        code = Code.SHUTTING_DOWN if has_left else refused.code  # its own word explains more
        self.turn(PeerState.WAITING if code in UNREACHED else PeerState.REFUSED, code)

    def offer(self, link: Link) -> bool:
        """Hand *link* to the peer's task, or return that it takes no more now."""
        try:
            self._arriving.send_nowait(link)
        except trio.WouldBlock:
            return False
        return True

    async def next_link(self) -> Link:
        """Wait for a link that was admitted."""
        return await self._arrivals.receive()

    def open_links(self) -> list[Link]:
        """Return its links but for those that are closed already, the oldest first."""
        return [link for link in self.links.values() if link.connection.closed is None]

    def stand(self, link: Link | None) -> None:
        """Open channels on *link* from now on, or, without one, on nothing."""
        self.link = link
        if link is not None:
            self._nudged.set()  # what is waited for is a dial that is not needed any more
        self._change()

    @property
    def is_stray(self) -> bool:
        """Whether nothing is left to be done for it."""
        return not (self.is_wanted or self.is_nudged or self.links)

    def want(self, wanted: bool, *, slowly: bool = False) -> None:
        """Dial it from now on while no link stands, or do so no more."""
        is_other = (wanted, slowly) != (self.is_wanted, self.is_slow)
        self.is_wanted, self.is_slow = wanted, slowly
        if is_other:
            self._nudged.set()  # what was waited for was the pace of before
            self._change()

    def nudge(self) -> None:
        """Try it now, once: the wait before the next attempt is over."""
        self.is_nudged = True
        self._nudged.set()
        self._change()

    def _change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def wait_to_be_dialled(self) -> None:
        """Wait until no link stands and it is wanted, or nudged: it holds still on return."""
        await trio.lowlevel.checkpoint()  # before the look, for a link may come in any wait
        while self.link is not None or not (self.is_wanted or self.is_nudged):
            await self._changed.wait()
        self.is_nudged = False

    async def wait_vacant(self) -> None:
        """Wait until no link stands."""
        while self.link is not None:
            await self._changed.wait()

    async def wait_connected(self) -> Link:
        """Wait until a link stands, and return it. Raises :exc:`RefusedError` once it is over."""
        while self.link is None:
            if self.over is not None:
                raise RefusedError(self.over)
            await self._changed.wait()
        return self.link

    def end(self, code: Code) -> None:
        """Be a peer no more, because of *code*."""
        self.over = code
        self.scope.cancel()
        self._change()

    async def wait_before_next(self, seconds: float) -> None:
        """Wait *seconds*, or until nudged, or wanted otherwise than before, or linked."""
        self._nudged = trio.Event()
        if not self.is_nudged:
            with trio.move_on_after(seconds):
                await self._nudged.wait()
