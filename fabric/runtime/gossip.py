"""The gossip plane: what peers say of records goes into the core, what it decides is carried out.

Theory of operation
===================

::

    links (Records), sync streams, Hello, probes (roots), this node's own words, files
        |
        v
    GossipPlane.receive(event) --> core --> effects --.-- Records frames, into links' outboxes
                                                      |-- sync streams: write, pause, reset
                                                      |-- the peer cache: store, drop
                                                      |-- whoever goes by what the directory says
                                                      '-- counters, alarms, bars

One event is carried out whole before the next is taken, also when what follows from it (a record
that makes this node publish a new word) is an event again: that waits its turn. Nothing in here
blocks: what leaves is put in bounded outboxes, what is to be stored is handed to the cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, NoReturn, Protocol

import structlog
import trio
from attrs import define, field

from fabric.codes import Code
from fabric.core import gossip_events as told
from fabric.core.envelope import Envelope
from fabric.core.frames import Frame, Records
from fabric.core.gossip import Gossip
from fabric.core.identity import NodeId
from fabric.core.parcels import parcels
from fabric.core.planes import Planes
from fabric.core.records import Key
from fabric.core.wave import Item, Send
from fabric.runtime.beat import next_beat
from fabric.runtime.events import EventBus
from fabric.runtime.in_turn import InTurn
from fabric.runtime.metrics import Metrics
from fabric.runtime.timer import Timer
from fabric.store.peer_cache import PeerCache

log = structlog.get_logger()

PLANE: Final = "gossip"

FLOOR: Final = "time_floor"
"""The fact under which the cache keeps the time floor."""

QUIET_FOR: Final = 60.0
"""Seconds between two lines of one alarm: a person reads no faster."""


class Outward(Protocol):
    """Where frames leave this node, and streams are paused. Nothing in it waits."""

    def post(self, to: NodeId, frame: Frame) -> bool:
        """Put *frame* in the outbox of the link to *to*; return whether there was room."""

    def bar(self, node: NodeId, code: Code, until: float) -> None:
        """Close every link to *node* for *code*, and admit none before *until*."""

    def pause(self, node: NodeId, until: float) -> None:
        """Read nothing of the control stream of *node* before *until*."""


class SyncOutward(Protocol):
    """The sync streams. Nothing in it waits."""

    def send(self, to: NodeId, frame: Frame) -> None: ...
    def pause(self, node: NodeId, until: float) -> None: ...
    def end(self, node: NodeId, code: Code, detail: str) -> None: ...


@define(eq=False, kw_only=True)
class GossipPlane:
    """What this node holds of the directory, kept in step with its peers. :meth:`run` keeps it."""

    core: Gossip
    cache: PeerCache
    metrics: Metrics
    events: EventBus
    planes: Planes
    unix_now: Callable[[], float]
    outward: Outward = field(init=False)
    streams: SyncOutward = field(init=False)
    changed: list[Callable[[Key], None]] = field(init=False, factory=list)
    """Called, in order, when something else counts at a key than before."""
    reissue: Callable[[Key, int], None] = field(init=False)
    """Called when a word of this node's has to be said again, above a number."""
    alarms: dict[Code, str] = field(init=False, factory=dict)
    """What somebody has to look at, with what was last said of it."""
    _alarmed_at: dict[Code, float] = field(init=False, factory=dict)
    _refused: told.Refused | None = field(init=False, default=None)
    """Why the record before was not taken; the last of several."""
    _timer: Timer = field(init=False, factory=Timer)
    _turns: InTurn[Callable[[], Iterable[told.Effect]]] = field(init=False)
    """What gives effects to carry out: the core, of an event; or what was given beforehand."""

    def __attrs_post_init__(self) -> None:
        self._turns = InTurn(lambda decide: self._carry_out(decide()))

    # -- in --
    def receive(self, event: told.Event) -> None:
        """Let the core take *event*, and carry out what follows; after the one at hand, if any."""
        self._turns.put(partial(self._decide, event))

    def _decide(self, event: told.Event) -> list[told.Effect]:
        return self.core.receive(event, self.moment())

    def resume(self, effects: Iterable[told.Effect]) -> None:
        """Carry out what the core decided before there was this plane."""
        self._turns.put(lambda: effects)

    def publish(self, envelope: Envelope) -> None:
        """Let *envelope* begin its way here."""
        self.receive(told.Published(envelope))

    def judged(self, event: told.Event) -> Code | None:
        """As :meth:`receive`; return why something of it was not taken, if so."""
        refused = self.objection(event)
        return None if refused is None else refused.code

    def objection(self, event: told.Event) -> told.Refused | None:
        """As :meth:`receive`; return what was said of something that was not taken, if so."""
        self._refused = None
        self.receive(event)
        return self._refused

    def moment(self) -> told.Moment:
        """Return the time by both clocks."""
        return told.Moment(trio.current_time(), self.unix_now())

    async def run(self) -> NoReturn:
        """Let time pass for the core, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._timer.run, self._tick)
            while True:
                self._tick()
                self.planes.progressed(PLANE, trio.current_time())
                await trio.sleep_until(next_beat(trio.current_time()))
        raise AssertionError("unreachable")

    def _tick(self) -> None:
        self.receive(told.Ticked())

    # -- out --
    def _carry_out(self, effects: Iterable[told.Effect]) -> None:
        sends: list[Send] = []
        for effect in effects:
            if isinstance(effect, Send):
                sends.append(effect)
            else:
                self._do(effect)
        for to, items in parcels(sends):
            self._post(to, items)

    def _post(self, to: NodeId, items: tuple[Item, ...]) -> None:
        if not self.outward.post(to, Records(items=items)):
            self.metrics.records_dropped.add(by=len(items))
        else:
            self.metrics.records_sent.add(by=len(items))

    def _do(self, effect: told.Effect) -> None:
        match effect:
            case told.SendSync(to, frame):
                self.streams.send(to, frame)
            case told.EndSync(peer, code, detail):
                self.streams.end(peer, code, detail)
            case told.Pause(peer, told.Stream.CONTROL, until):
                self.outward.pause(peer, until)
            case told.Pause(peer, _, until):
                self.streams.pause(peer, until)
            case told.Bar(peer, code, until):
                self.outward.bar(peer, code, until)
            case told.Store() | told.Drop() | told.StoreRoot() | told.StoreFloor():
                self._keep(effect)
            case told.Changed(key):
                self._change(key)
            case told.RootChanged(version):
                log.info("trust_root.adopted", version=version)
                self.events.publish("trust_root.adopted", version=version)
            case told.Reissue(key, above):
                self.reissue(key, above)
            case told.Refused(code):
                self._refused = effect
                self.metrics.records_refused.add(code)
            case told.Alarm(code, detail, from_peer):
                self.alarm(code, detail, from_peer)
            case told.Wake(at):
                self._timer.set(at)

    def _change(self, key: Key) -> None:
        log.debug("record.changed", key=str(key))
        self.events.publish("record.changed", key=str(key))
        for tell in self.changed:
            tell(key)

    def _keep(self, effect: told.Store | told.Drop | told.StoreRoot | told.StoreFloor) -> None:
        match effect:
            case told.Store(key, packed, heard):
                self.cache.store(key, packed, heard)
            case told.Drop(key):
                self.cache.drop(key)
            case told.StoreRoot(version, packed):
                self.cache.store_root(version, packed)
            case told.StoreFloor(at):
                self.cache.note_fact(FLOOR, str(at).encode())

    def alarm(self, code: Code, detail: str, from_peer: NodeId | None) -> None:
        """Let somebody look at this; of one code, no more than a line a minute is logged."""
        self.alarms[code] = detail
        now = trio.current_time()
        if now < self._alarmed_at.get(code, -math.inf) + QUIET_FOR:
            return
        self._alarmed_at[code] = now
        log.error("directory.alarm", code=code, detail=detail, peer=from_peer, remedy=code.remedy)
        self.events.publish("directory.alarm", code=code, detail=detail, peer=from_peer)
