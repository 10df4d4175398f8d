"""All neighbours of this node, and the probing of them. What is thought of one: :mod:`.watch`."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection, Iterator
from typing import Final

from attrs import define, field

from fabric.core.fleet import Fleet
from fabric.core.frames import Frame, IndirectAck, IndirectProbe, Probe, ProbeAck
from fabric.core.identity import NodeId
from fabric.core.liveness_events import Effect, RootHeard, Tell
from fabric.core.lives import Lives
from fabric.core.local_health import LocalHealth
from fabric.core.watch import FAVOUR_TIMEOUT, PROBE_INTERVAL, Phase, Sign, Watch

HOLDERS: Final = 3
"""Indirect probers of a target, as in SWIM and memberlist."""

MOST_ASKED: Final = 8
"""Neighbours asked at once: all that a bounded degree has."""

_COMPANY: Final = 3
"""Living members from which silence all around is this node's own: itself, and two more. Of one
other alone nobody can say whose silence it is."""

_SEQS: Final = 2**32


@define
class Ears:
    """Hears the neighbours, and passes on to them what is to be known."""

    me: NodeId
    fleet: Fleet
    rng: random.Random
    root: Callable[[], bytes]
    lives: Lives
    health: LocalHealth = field(init=False, factory=LocalHealth)
    next_round: float = field(init=False, default=math.inf)
    """When local health is judged next."""
    _watches: dict[NodeId, Watch] = field(init=False, factory=dict)
    _seq: int = field(init=False, default=0)

    def __iter__(self) -> Iterator[Watch]:
        return iter(self._watches.values())

    def watch_of(self, peer: NodeId) -> Watch | None:
        return self._watches.get(peer)

    def connected(self) -> list[NodeId]:
        """Return the neighbours that can be told something, in the order of their ids."""
        return sorted(each.peer for each in self if each.is_connected)

    def hears(self, peer: NodeId, now: float) -> bool:
        """Return whether *peer* is a neighbour that was heard a moment ago."""
        watch = self._watches.get(peer)
        return watch is not None and watch.is_fresh(now)

    def is_deaf(self, now: float) -> bool:
        """Return whether nobody at all is heard, though there are several to hear.

        Then it is likelier that this node is cut off than that all the others are gone.
        """
        return not any(each.is_fresh(now) for each in self) and self.lives.has_living(_COMPANY)

    # -- connections --
    def connect(self, peer: NodeId, now: float) -> list[Effect]:
        """Begin to listen to *peer*: probe it at once, for its root.

        The next probe is after a random part of the interval: probed all at the same moment,
        the neighbours would all have heard this node last at the same moment, a second ago.
        """
        before = self._watches.get(peer)
        watch = self._watches[peer] = Watch(
            peer, is_prober=self.me < peer, heard_at=now, quiet_since=now
        )
        watch.rtt = before.rtt if before else None
        if self.next_round == math.inf:
            self.next_round = now + self.rng.uniform(0, PROBE_INTERVAL)
        if not watch.is_prober:
            return []
        first = self._probe(watch, now)
        watch.probe_due = now + self.rng.uniform(0, PROBE_INTERVAL)
        return [first]

    def disconnect(self, peer: NodeId, now: float, *, clean: bool) -> list[Effect]:
        """Note that the connection is gone. Unless that was meant, others are asked about it."""
        watch = self._watches.get(peer)
        if watch is None:
            return []
        watch.is_connected = False
        watch.requests.clear()
        if clean:
            self.forget(peer)
        elif watch.take(Sign.BROKEN):
            return self._ask(watch, now)
        return []

    def forget(self, peer: NodeId) -> None:
        self._watches.pop(peer, None)
        for watch in self:
            watch.requests.pop(peer, None)

    # -- frames --
    def hear(self, peer: NodeId, frame: Frame, now: float) -> list[Effect]:
        """Take *frame* as a sign of life, and answer it if it is about hearing."""
        watch = self._watches.get(peer)
        if watch is None or not watch.is_connected:
            return []
        if isinstance(frame, ProbeAck):
            watch.answered(frame.seq, now)
        watch.heard(now)
        watch.take(Sign.FRAME)
        return [*self._grant(watch), *self._answer(watch, frame, now)]

    def _answer(self, watch: Watch, frame: Frame, now: float) -> list[Effect]:
        match frame:
            case Probe(seq=seq, root=root):
                ack = ProbeAck(seq=seq, root=watch.tell_root(self.root(), now))
                return [*_root_heard(watch, root), Tell(watch.peer, ack)]
            case ProbeAck(root=root):
                return _root_heard(watch, root)
            case IndirectProbe(seq=seq, target=target):
                return self._do_favour(watch.peer, seq, NodeId(target), now)
            case IndirectAck(seq=seq, target=target, reached=True):
                self._take_voucher(NodeId(target), seq, now)
        return []

    def _grant(self, watch: Watch) -> list[Effect]:
        """Tell all who asked that *watch*'s peer has just been heard."""
        waiting, watch.requests = watch.requests, {}
        return [
            Tell(who, IndirectAck(seq=seq, target=watch.peer, reached=True))
            for who, (seq, _until) in sorted(waiting.items())
        ]

    def _do_favour(self, who: NodeId, seq: int, target: NodeId, now: float) -> list[Effect]:
        watch = self._watches.get(target)
        if watch is None or not watch.is_connected or target == who:
            return []
        watch.requests[who] = (seq, now + FAVOUR_TIMEOUT)
        return [self._probe(watch, now)] if watch.probe is None else []

    def _take_voucher(self, target: NodeId, seq: int, now: float) -> None:
        watch = self._watches.get(target)
        if watch is None or watch.asked is None or watch.asked[0] != seq:
            return
        if watch.take(Sign.VOUCHED):
            watch.quiet_since = now
            self.tidy(watch)

    def refuted(self, subject: NodeId) -> None:
        """Note that *subject* is alive in a new incarnation, whoever passed that on."""
        watch = self._watches.get(subject)
        if watch is not None:
            watch.take(Sign.REFUTED)
            self.tidy(watch)

    def give_up(self, subject: NodeId) -> None:
        """Stop wondering about *subject*, if it is connected no more: it is known to be gone."""
        watch = self._watches.get(subject)
        if watch is not None and not watch.is_connected:
            self.forget(subject)

    def tidy(self, watch: Watch) -> None:
        if watch.is_over:
            self.forget(watch.peer)

    # -- time --
    def wake(self, now: float) -> None:
        """Begin anew with everybody: this process did not run, and what it missed is no proof."""
        for watch in self:
            watch.start_over(now)

    def hear_again(self, now: float) -> list[Effect]:
        """Begin anew after deafness, and ask about the silent by the help of who is heard."""
        self.wake(now)
        asking = [each for each in self if each.phase is Phase.ASKING]
        return [effect for watch in asking for effect in self._ask(watch, now)]

    def due(self) -> float:
        """Return when :meth:`tick` has something to do."""
        stretch = self.health.stretch
        return min([self.next_round, *(watch.due(stretch) for watch in self)])

    def tick(self, now: float) -> tuple[list[Effect], list[Watch]]:
        """Do what is due. Returns also whom this node has to accuse now."""
        effects: list[Effect] = []
        if self.next_round <= now:
            self._judge_health(now)
        accused = []
        for watch in list(self):
            effects += self._give_up_favours(watch, now)
            if watch.due(self.health.stretch) > now:
                continue
            effects += self._step(watch, now)
            if watch.phase is Phase.ACCUSING:
                accused.append(watch)
        return effects, accused

    def _judge_health(self, now: float) -> None:
        self.next_round = now + PROBE_INTERVAL
        # An accused one that is lost says nothing about these ears any more.
        peers = [each for each in self if each.is_connected or each.phase is Phase.ASKING]
        silent = sum(not each.is_fresh(now) for each in peers)
        self.health.count(silent=silent, peers=len(peers))

    def _step(self, watch: Watch, now: float) -> list[Effect]:
        """Do the one thing that :meth:`Watch.due` was about."""
        if watch.phase is Phase.ASKING:
            if self.is_deaf(now):
                watch.start_over(now)
            else:
                watch.take(Sign.UNVOUCHED)
            return []
        if watch.probe is None:
            return [self._probe(watch, now)]
        watch.take(Sign.UNANSWERED)
        return self._ask(watch, now)

    def _give_up_favours(self, watch: Watch, now: float) -> list[Effect]:
        late = sorted(who for who, (_, until) in watch.requests.items() if until <= now)
        return [
            Tell(
                who, IndirectAck(seq=watch.requests.pop(who)[0], target=watch.peer, reached=False)
            )
            for who in late
        ]

    def _probe(self, watch: Watch, now: float) -> Tell:
        watch.probe = (self._next_seq(), now)
        watch.probe_due = max(watch.probe_due, now - PROBE_INTERVAL) + PROBE_INTERVAL
        root = watch.tell_root(self.root(), now)
        return Tell(watch.peer, Probe(seq=watch.probe[0], root=root))

    def _ask(self, watch: Watch, now: float) -> list[Effect]:
        watch.asked = (self._next_seq(), now)
        question = IndirectProbe(seq=watch.asked[0], target=watch.peer)
        able = self.pick(self._most_asked(), excluding={watch.peer})
        return [Tell(peer, question) for peer in able]

    def _most_asked(self) -> int:
        """Return how many neighbours hold :data:`HOLDERS` connections to a third, on average."""
        others, degree = len(self.fleet), len(self._watches)
        return min(MOST_ASKED, math.ceil(HOLDERS * max(1, others) / max(1, degree)))

    def _next_seq(self) -> int:
        self._seq = (self._seq + 1) % _SEQS
        return self._seq

    # -- whom to tell --
    def pick(self, most: int, *, excluding: Collection[NodeId]) -> list[NodeId]:
        """Return at most *most* neighbours at random, one of every other area first."""
        able = [each for each in self.connected() if each not in excluding]
        self.rng.shuffle(able)
        seen = {self.fleet.area_of(self.me)}
        first: list[NodeId] = []
        rest: list[NodeId] = []
        for peer in able:
            area = self.fleet.area_of(peer)
            (rest if area in seen else first).append(peer)
            seen.add(area)
        return (first + rest)[:most]

    def spread(
        self, frame: Frame, most: int, *, excluding: Collection[NodeId] = ()
    ) -> list[Effect]:
        """Pass *frame* on to at most *most* neighbours."""
        return [Tell(peer, frame) for peer in self.pick(most, excluding=excluding)]


def _root_heard(watch: Watch, root: bytes | None) -> list[Effect]:
    """Note *root*; where there is none, the last one on this connection still holds."""
    if root is not None:
        watch.root_heard = root
    return [] if watch.root_heard is None else [RootHeard(watch.peer, watch.root_heard)]
