"""Bounded waves: who hears next of a record that this node has just heard of.

Theory of operation
===================

A node passes on what it sees for the first time: to at most ``fanout`` of its peers, while there
are hops left, and once. So a record costs a fabric of N nodes at most N x ``fanout`` copies,
however often somebody replays it. (That it is seen for the first time is for the directory to say:
what is not newer than what is held never comes here.)

==============================  ==================================================================
seen for the first time         what happens
==============================  ==================================================================
with hops left                  sent to ``fanout`` peers, one hop less
with no hops left               nothing
authority's, beyond the pace    waits; the newest of each key goes out as the pace allows
an equivocation                 both payloads, which are the proof, to the same peers
==============================  ==================================================================

The peers are drawn by lot, from as many areas as there are before two of one area: a wave that
stays in one area leaves the others to repair. Whoever sent the record, or sends it while it waits,
is left out, and so is the node whose own word it is.

``fanout`` and ``hops`` are the policy's. Hops come from peers and are clamped to them; wave id and
age are advice, for people who look at a trace.

Waves are fast and lossy: outboxes overflow, connections break. What they miss, :mod:`.sync`
repairs.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import ClassVar, Final, TypeAlias

from attrs import define, evolve, field, frozen

from fabric.core.budgets import Allowance
from fabric.core.holding import Heard
from fabric.core.identity import NodeId
from fabric.core.records import Key

MOST_RECENT: Final = 256
"""Waves that are remembered, for people to look at."""

PACE: Final = 50.0
"""Records a second that are passed on of the directory's and the root's. A directory that is
signed anew makes thousands at once: anti-entropy moves those in pages, for far less."""

MOST_WAITING: Final = 1024
"""Keys that wait for the pace: 20 seconds of it, after which repair has been there."""

_MOST_MS: Final = 2**32 - 1

Item: TypeAlias = tuple[bytes, int, bytes, int]
"""As in a ``Records`` frame: packed envelope, hops left, wave id, milliseconds on the way."""


@frozen
class Send:
    """Put *item* into the outbox of *to*; if that is full, drop it."""

    to: NodeId
    item: Item


@frozen(kw_only=True)
class Carried:
    """A record that was just seen for the first time, with all that a wave needs of it."""

    key: Key
    packed: Sequence[bytes]
    """The envelope; both, where they prove an equivocation."""
    hops_left: int
    wave_id: bytes
    age: float = 0.0
    """Seconds that it was on the way."""
    at: float
    """When it came: seconds on a clock that only goes forward."""
    without: Collection[NodeId | None] = ()
    """Nodes that have it or need it not."""


@define
class Passing:
    """What this node saw of one wave."""

    key: Key
    heard: Heard
    """How it came here first; from nobody, where it began here."""
    reach: int = 0
    """Peers to whom this node passed it on."""
    duplicates: int = 0
    """Copies that came after the first."""


@define
class Wave:
    """Decides who hears about a record next. Holds no record, no socket and no clock."""

    FANOUT: ClassVar[int] = 5
    HOPS: ClassVar[int] = 8
    """Of a fabric without a policy: what a :class:`~fabric.core.records.Policy` says unasked."""

    me: NodeId
    rng: random.Random
    fanout: int = FANOUT
    hops: int = HOPS
    _areas: dict[NodeId, str] = field(init=False, factory=dict)
    _waiting: OrderedDict[Key, Carried] = field(init=False, factory=OrderedDict)
    _pace: Allowance = field(init=False, factory=lambda: Allowance(PACE, PACE))
    _recent: OrderedDict[tuple[bytes, Key], Passing] = field(init=False, factory=OrderedDict)

    # -- to whom --
    def peer_up(self, peer: NodeId, area: str) -> None:
        """*peer* can be sent to."""
        self._areas[peer] = area

    def peer_down(self, peer: NodeId) -> None:
        self._areas.pop(peer, None)

    def peer_moved(self, peer: NodeId, area: str) -> None:
        """*peer*, if it can be sent to, belongs to *area* from now on."""
        if peer in self._areas:
            self._areas[peer] = area

    # -- what --
    def spread(self, carried: Carried, now: float, *, paced: bool = False) -> list[Send]:
        """Return to whom *carried* goes now. What is *paced* may wait instead: see :meth:`due`."""
        if not carried.hops_left or not self._areas:
            return []
        if paced and (self._waiting or not self._pace.take(now)):
            self._waiting[carried.key] = carried
            if len(self._waiting) > MOST_WAITING:
                self._waiting.popitem(last=False)
            return []
        return self._send(carried, now)

    def due(self, now: float) -> list[Send]:
        """Return to whom goes what has waited for the pace."""
        sends: list[Send] = []
        while self._waiting and self._pace.take(now):
            _, carried = self._waiting.popitem(last=False)
            sends += self._send(carried, now)
        return sends

    def wake_at(self, now: float) -> float | None:
        """Return when :meth:`due` will have something, if ever."""
        return self._pace.ready_at(now) if self._waiting else None

    # -- for people --
    def note(self, passing: Passing) -> None:
        """Remember a wave of which this node has just heard for the first time."""
        self._recent[passing.heard.wave_id, passing.key] = passing
        if len(self._recent) > MOST_RECENT:
            self._recent.popitem(last=False)

    def heard_again(self, wave_id: bytes, key: Key, from_peer: NodeId) -> None:
        """*from_peer* sent what is held already."""
        if (passing := self._recent.get((wave_id, key))) is not None:
            passing.duplicates += 1
        waiting = self._waiting.get(key)
        if waiting is None or waiting.wave_id != wave_id or from_peer in waiting.without:
            return
        self._waiting[key] = evolve(waiting, without=(*waiting.without, from_peer))

    def recent(self) -> tuple[Passing, ...]:
        """Return the last waves, oldest first, as they are now."""
        return tuple(map(evolve, self._recent.values()))

    # -- how --
    def _send(self, carried: Carried, now: float) -> list[Send]:
        hops = min(carried.hops_left, self.hops) - 1
        age = int(1000 * (carried.age + max(0.0, now - carried.at)))
        to = self._picked({*carried.without, self.me})
        if (passing := self._recent.get((carried.wave_id, carried.key))) is not None:
            passing.reach += len(to)
        return [
            Send(peer, (packed, hops, carried.wave_id, min(age, _MOST_MS)))
            for peer in to
            for packed in carried.packed
        ]

    def _picked(self, without: Collection[NodeId | None]) -> list[NodeId]:
        """Return up to ``fanout`` peers, one of each area before two of any."""
        areas: dict[str, list[NodeId]] = {}
        for peer in sorted(self._areas.keys() - without):  # sets differ from run to run
            areas.setdefault(self._areas[peer], []).append(peer)
        for peers in areas.values():
            self.rng.shuffle(peers)
        turns = list(areas.values())
        self.rng.shuffle(turns)
        picked: list[NodeId] = []
        while turns and len(picked) < self.fanout:
            picked += [peers.pop() for peers in turns[: self.fanout - len(picked)]]
            turns = [peers for peers in turns if peers]
        return picked
