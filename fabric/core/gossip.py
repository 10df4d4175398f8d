"""What one node hears of all others' records, and says of them: waves, and what repairs them.

Theory of operation
===================

Three things carry records between nodes. A *wave* (:mod:`.wave`) is fast and may be lost; an
*exchange* with each peer (:mod:`.exchange`) is slow and loses nothing; *Hello* shows the record of
whoever is to be admitted, and the trust roots that the other end missed. All of it goes through
one :class:`~fabric.core.intake.Intake`, which decides what it is worth::

    HeardRecords --> the peer's budget --> intake --> Send (a wave goes on), Store, Changed...
    HeardSync    --> exchange: pages   --> intake
    Presented, HeardRoots, Published   --> intake
    HeardRoot    --> exchange: a round begins, if there is a difference

**What a peer may cost.** Verifying a signature takes more than all the rest, so of each peer so
many are verified per second (:mod:`.correspondents`), those of waves and those of pages apart: a
newcomer that takes in ten thousand records still hears at once that somebody was revoked.

=================  ===========================================================================
over its budget    what happens
=================  ===========================================================================
records of a wave  are dropped unverified, and the control stream is not read until there is
                   budget for the next: a moment, for probes come by it
a page             is verified to its end, and the sync stream is not read until that is paid
=================  ===========================================================================

A peer that sent a forgery is *barred*: nothing that still comes from it is looked at, and the
shell keeps it out.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Final

from attrs import frozen

from fabric.codes import Code
from fabric.core.arrival import Arrival
from fabric.core.clocks import Floor
from fabric.core.codec.envelopes import unpack_envelope
from fabric.core.correspondents import Correspondents
from fabric.core.directory import Directory
from fabric.core.envelope import Envelope
from fabric.core.exchange import Effect as ExchangeEffect
from fabric.core.exchange import Rest
from fabric.core.gossip_events import (
    Effect,
    EndSync,
    Event,
    HeardRecords,
    HeardRoot,
    HeardRoots,
    HeardSync,
    Loaded,
    Moment,
    Pause,
    PeerDown,
    PeerUp,
    Presented,
    Published,
    Refused,
    SendSync,
    Store,
    StoreRoot,
    Stream,
    SyncOpened,
    SyncWritten,
    Ticked,
    Wake,
)
from fabric.core.holding import Heard, Held, Holding
from fabric.core.identity import NodeId, node_id_of
from fabric.core.intake import Intake
from fabric.core.records import Key
from fabric.core.sync_events import Broken, Done, Send, Take
from fabric.core.trust import Trust
from fabric.core.verdicts import Rejected
from fabric.core.wave import Item, Passing, Wave
from fabric.errors import RecordError

WAVE_ID_BYTES: Final = 8


@frozen
class Trace:
    """All that this node can say of a key: what is held there, and how it came."""

    key: Key
    holding: Holding
    used: Held | None
    """What counts of it."""
    is_confirmed: bool
    """Whether anybody but this node's disk has said so since it started."""
    waves: tuple[Passing, ...]
    """Of the last ones, those that brought something at this key; the latest is last."""


class Gossip:
    """The records of one node and its talk about them. Owns the directory that it is given."""

    def __init__(
        self, me: NodeId, directory: Directory, trust: Trust, rng: random.Random, floor: Floor
    ) -> None:
        """*floor* is as :meth:`~fabric.core.clocks.Floor.opened` made it from what was stored."""
        self._directory = directory
        self._trust = trust
        self._rng = rng
        self._wave = Wave(me, rng)
        self._intake = Intake(me, directory, trust, floor, self._wave)
        self._peers = Correspondents(directory, trust, rng.getrandbits(64))
        self._woken_at = float("-inf")

    # -- asking --
    def root(self) -> bytes:
        """Return the 16 bytes that stand for everything held: what probes carry."""
        return self._directory.digests.root()

    def recent_waves(self) -> tuple[Passing, ...]:
        """Return the last waves that came by here, the oldest first."""
        return self._wave.recent()

    def trace(self, key: Key) -> Trace | None:
        """Return how what is held at *key* came here; None if nothing is."""
        if (holding := self._directory.holding(key)) is None:
            return None
        waves = tuple(each for each in self._wave.recent() if each.key == key)
        is_confirmed = key not in self._directory.unconfirmed
        return Trace(key, holding, self._directory.get(key), is_confirmed, waves)

    def kept(self) -> Iterable[Store]:
        """Return everything that belongs on disk, but for the trust roots: see `Trust.chain`."""
        return self._intake.rows.all()

    # -- being told --
    def receive(self, event: Event, now: Moment) -> list[Effect]:
        """Take *event*, and return what follows from it, in the order to carry it out."""
        version = self._trust.root.version
        effects = self._react(event, now)
        if self._trust.root.version != version:
            self._peers.forgive()
        return effects + self._wake(now)

    def _react(self, event: Event, now: Moment) -> list[Effect]:
        match event:
            case HeardRecords():
                return self._hear_records(event, now)
            case HeardSync(peer, frame):
                return self._exchanged(
                    peer, self._peers.of(peer).exchange.receive(frame, now.steady), now
                )
            case HeardRoot(peer, root):
                return self._hear_root(peer, root, now)
            case SyncWritten(peer):
                return self._exchanged(
                    peer, self._peers.of(peer).exchange.written(now.steady), now
                )
            case SyncOpened(peer, compares):
                return self._begin(peer, now, compares=compares)
            case PeerUp(peer, area, compares):
                self._peers.of(peer).is_up = True
                self._wave.peer_up(peer, area)
                return self._begin(peer, now, compares=compares)
            case PeerDown(peer):
                self._peers.lose(peer)
                self._wave.peer_down(peer)
                return []
            case HeardRoots():
                return self._hear_roots(event, now)
            case Presented():
                return self._look_at(event, now)
            case Published(envelope):
                return self._intake.take(self._arrival(envelope, None, now), now)
            case Loaded(records):
                return self._intake.restore(records, now)
            case Ticked():
                return self._tick(now)

    # -- waves --
    def _hear_records(self, event: HeardRecords, now: Moment) -> list[Effect]:
        peer, effects = event.from_peer, list[Effect]()
        allowance = self._peers.of(peer).checked[Stream.CONTROL]
        for number, item in enumerate(event.items):
            if self._intake.is_barred(peer, now):
                break
            envelope = self._unpacked(item[0], peer, now, effects)
            cost = self._intake.cost(envelope)
            if not allowance.take(now.steady, cost):
                unread = f"{len(event.items) - number} records of a wave"
                until = allowance.ready_at(now.steady, cost)
                effects.append(Refused(Code.OVER_BUDGET, unread, peer))
                effects.append(Pause(peer, Stream.CONTROL, until))
                break
            if envelope is not None:
                arrival = self._carried(envelope, item, event, now)
                effects += self._intake.take(arrival, now)
        return effects

    def _carried(
        self, envelope: Envelope, item: Item, event: HeardRecords, now: Moment
    ) -> Arrival:
        """Return what came by a wave. What a peer says of its hops is clamped to the policy's."""
        _packed, hops, wave_id, on_the_way = item
        hops_left = min(hops, self._wave.hops - 1)
        heard = Heard(
            from_peer=event.from_peer,
            hops=self._wave.hops - hops_left,
            age=on_the_way / 1000 + event.lag,
            wave_id=wave_id,
            at=now.clock,
        )
        return Arrival(envelope=envelope, heard=heard, at=now.steady, hops_left=hops_left)

    def _arrival(
        self, envelope: Envelope, peer: NodeId | None, now: Moment, *, described: bytes = b""
    ) -> Arrival:
        """Return what begins a wave here."""
        return Arrival(
            envelope=envelope,
            heard=self._first_heard(peer, now),
            at=now.steady,
            hops_left=self._wave.hops,
            described=described,
        )

    def _first_heard(self, peer: NodeId | None, now: Moment) -> Heard:
        return Heard(peer, wave_id=self._rng.randbytes(WAVE_ID_BYTES), at=now.clock)

    # -- Hello --
    def _look_at(self, shown: Presented, now: Moment) -> list[Effect]:
        effects: list[Effect] = []
        if (envelope := self._unpacked(shown.packed, None, now, effects)) is not None:
            teller, described = node_id_of(shown.public_key), shown.about or shown.public_key
            arrival = self._arrival(envelope, teller, now, described=described)
            effects += self._intake.take(arrival, now)
        return effects

    def _hear_roots(self, event: HeardRoots, now: Moment) -> list[Effect]:
        peer, effects = event.from_peer, list[Effect]()
        envelopes = [self._unpacked(each, peer, now, effects) for each in event.packed]
        good = [each for each in envelopes if each is not None]
        if good:
            effects += self._intake.follow(good, self._first_heard(peer, now), now)
        return effects

    # -- exchanges --
    def _begin(self, peer: NodeId, now: Moment, *, compares: bool) -> list[Effect]:
        exchange = self._peers.of(peer).exchange
        exchange.restart()
        begun = exchange.begin(now.steady) if compares else []
        return self._exchanged(peer, begun, now)

    def _hear_root(self, peer: NodeId, root: bytes, now: Moment) -> list[Effect]:
        if root == self.root():
            self._directory.confirm_all()
        known = self._peers.of(peer)
        if not known.is_up:
            return []
        return self._exchanged(peer, known.exchange.hear_root(root, now.steady), now)

    def _exchanged(
        self, peer: NodeId, steps: Iterable[ExchangeEffect], now: Moment
    ) -> list[Effect]:
        """Return what follows from *steps* of the exchange with *peer*, until it is barred."""
        effects: list[Effect] = []
        for step in steps:
            if self._intake.is_barred(peer, now):
                break
            match step:
                case Send(frame):
                    effects.append(SendSync(peer, frame))
                case Take(envelopes):
                    effects += self._take_page(peer, envelopes, now)
                case Done():
                    ended = self._peers.of(peer).exchange.ended(step, now.steady)
                    effects += self._exchanged(peer, ended, now)
                case Broken(code, detail):
                    effects.append(EndSync(peer, code, detail))
                case Rest(until):
                    effects.append(Pause(peer, Stream.SYNC, until))
        return effects

    def _take_page(self, peer: NodeId, page: Iterable[bytes], now: Moment) -> list[Effect]:
        effects: list[Effect] = []
        allowance = self._peers.of(peer).checked[Stream.SYNC]
        for packed in page:
            if self._intake.is_barred(peer, now):
                return effects
            envelope = self._unpacked(packed, peer, now, effects)
            allowance.charge(now.steady, self._intake.cost(envelope))
            if envelope is not None:
                heard = Heard(peer, at=now.clock)
                arrival = Arrival(envelope=envelope, heard=heard, at=now.steady)
                effects += self._intake.take(arrival, now)
        if any(isinstance(each, Store | StoreRoot) for each in effects):
            self._peers.of(peer).exchange.gained()
        if (until := allowance.ready_at(now.steady, 0.0)) > now.steady:
            effects.append(Pause(peer, Stream.SYNC, until))
        return effects

    # -- time --
    def _tick(self, now: Moment) -> list[Effect]:
        effects = self._intake.sweep(now) + self._intake.due(now)
        effects += self._wave.due(now.steady)
        for peer, known in self._peers.up():
            effects += self._exchanged(peer, known.exchange.tick(now.steady), now)
        return effects

    def _wake(self, now: Moment) -> list[Effect]:
        """Ask to be told when more of a wave may go out, unless that was asked already."""
        at = self._wave.wake_at(now.steady)
        if at is None or now.steady < self._woken_at <= at:
            return []
        self._woken_at = at
        return [Wake(at)]

    def _unpacked(
        self, packed: bytes, peer: NodeId | None, now: Moment, effects: list[Effect]
    ) -> Envelope | None:
        """Return the envelope that *packed* is; None, and the refusal in *effects*, if none."""
        try:
            return unpack_envelope(packed)
        except RecordError as error:
            effects += self._intake.refuse(Rejected(error.code, error.detail), peer, now)
            return None
