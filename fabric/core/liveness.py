"""Who of the fleet is there: SWIM over the connections that exist, with Lifeguard's local health.

Theory of operation
===================

Three questions are kept apart, each in a module of its own:

- What do I hear myself? Only neighbours are probed, over the connections that stand anyway
  (:mod:`.watch`, :mod:`.ears`), and with how much confidence (:mod:`.local_health`).
- What do others say? Each member is alive, suspect, dead or left in one *incarnation*, by signed
  words only (:mod:`.testimony`); which of them is believed and passed on is a table in
  :mod:`.rumours`, how long a suspect has, and whose word suffices, in :mod:`.suspicion`.
- What do I say of myself? My incarnation, and when I contradict (:mod:`.own_life`).

The states of one member, as held here::

    (nothing) --> ALIVE <--------------- its word of a higher incarnation, from any state
                    |
                    | an accusation      LEFT <-- its farewell, from any state;
                    v                             of that incarnation nothing more counts
                 SUSPECT
                    |
                    | silent for long enough, by enough accusers
                    v
                  DEAD

A state is advice to those who choose whom to try. It opens and closes no connection: a peer that
answers on its connection keeps it, whatever is said of it.

Rumours are passed on at once and once. What misses somebody is found by the *roll call*: on each
new connection, and every ten seconds with one neighbour at random, two nodes compare one digest
over all lives, and where it differs send each other the proofs (:mod:`.roll_call`, :mod:`.lives`).
So any two nodes that talk come to hold the same.

At rest a pair of neighbours exchanges one probe and its answer a second, and nothing else.

Prior art: SWIM (Das, Gupta, Motivala 2002), Lifeguard (Dadgar, Phillips, Currey 2017) and
HashiCorp's memberlist. Unlike there, a node probes the neighbours that it has instead of one
random member; accusations are signed; and silence is counted from the last sign of life, not from
the accusation, so that a death is noticed by all at nearly the same moment.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from typing import Final

from attrs import define, field

from fabric.core.ears import Ears
from fabric.core.fleet import Fleet
from fabric.core.frames import Alive, Dead, Frame, Left, RollCall, Suspect
from fabric.core.identity import FabricId, NodeId
from fabric.core.liveness_events import (
    Connected,
    Disconnected,
    Effect,
    Event,
    Heard,
    Joined,
    Leaving,
    State,
    Struck,
    Tell,
    Ticked,
    View,
    Wake,
)
from fabric.core.lives import Lives
from fabric.core.local_health import LATE
from fabric.core.own_life import LAST_BOOT, PAUSE, OwnLife, boot_of, first_incarnation
from fabric.core.roll_call import RollCalls
from fabric.core.rumours import GONE, Rumour, Rumours
from fabric.core.testimony import Context, Notary, Verify

AWAKE: Final = 3.0
"""Seconds after an oversleep, or after deafness, in which nobody is taken for dead: what has been
said meanwhile comes first, over connections that may have to be made anew."""


@define
class Liveness:
    """Decides whom this node takes to be there. Holds no socket and no clock."""

    me: NodeId
    area: str
    boot_seq: int
    fabric_id: FabricId
    rng: random.Random
    sign: Callable[[bytes], bytes] = field(repr=False)
    """With this node's key."""
    verify: Verify = field(repr=False)
    """Asked of members only, this node among them."""
    root: Callable[[], bytes] = field(repr=False)
    """Returns the digest of the records that this node holds, to ride on probes and answers where
    it has changed, and every ten seconds."""
    latest_boot: Callable[[], int] = field(default=lambda: LAST_BOOT, repr=False)
    """Returns the highest ``boot_seq`` that is believed by now: see :func:`.latest_boot_at`."""
    fleet: Fleet = field(init=False, factory=Fleet)
    own: OwnLife = field(init=False)
    _ears: Ears = field(init=False)
    _lives: Lives = field(init=False, factory=Lives)
    _rumours: Rumours = field(init=False)
    _rolls: RollCalls = field(init=False)
    _wake_at: float = field(init=False, default=math.inf)
    _away_at: float = field(init=False, default=-math.inf)
    """When it last found that it had not run for so long that peers have hung up."""
    _is_out: bool = field(init=False, default=False)
    """Whether this node itself is no member: nobody tells it anything any more."""

    def __attrs_post_init__(self) -> None:
        notary = Notary(me=self.me, fabric_id=self.fabric_id, sign=self.sign, verify=self.verify)
        self.fleet.admit(self.me, self.area)
        self.own = OwnLife(notary, first_incarnation(self.boot_seq))
        self._ears = Ears(self.me, self.fleet, self.rng, self.root, self._lives)
        self._rolls = RollCalls(self._lives, self.rng)
        self._rumours = Rumours(self.fleet, notary, self._ears, self._lives)
        self._keep_own(-math.inf)

    # -- what others ask --
    def state_of(self, node: NodeId) -> State | None:
        """Return what *node* is; ``None``: never heard of."""
        life = self._lives.get(node)
        return None if life is None else life.state

    def view_of(self, node: NodeId) -> View:
        life = self._lives.get(node)
        if life is None:
            return View(state=None, since=-math.inf, incarnation=0)
        return life.view()

    def rtt_of(self, peer: NodeId) -> float | None:
        """Return the smoothed round trip to a neighbour, seconds."""
        watch = self._ears.watch_of(peer)
        return None if watch is None else watch.rtt

    def heard_at(self, peer: NodeId) -> float | None:
        """Return when a neighbour's last frame came; ``None``: it is no neighbour."""
        watch = self._ears.watch_of(peer)
        return None if watch is None else watch.heard_at

    @property
    def is_slow(self) -> bool:
        """Whether this node has reason to distrust itself."""
        return self._ears.health.is_slow

    @property
    def health(self) -> int:
        """0, well, to 8."""
        return self._ears.health.score

    # -- the core's input --
    def receive(self, event: Event, now: float) -> list[Effect]:
        """Apply *event* and return what the shell must now do, in order."""
        self._notice_oversleep(now)
        was_deaf = self._ears.is_deaf(now)
        effects = self._apply(event, now)
        if was_deaf and not self._ears.is_deaf(now):
            self._rumours.postpone(now + AWAKE)
            effects += self._ears.hear_again(now)
        due = min(self._ears.due(), self._rumours.due(), self.own.refute_at, self._rolls.due)
        wake_at = max(now, due)  # what is overdue counts as late from now on, not twice
        if wake_at != self._wake_at:
            self._wake_at = wake_at
            effects.append(Wake(wake_at))
        return effects

    def _apply(self, event: Event, now: float) -> list[Effect]:
        match event:
            case Heard(peer, frame):
                return self._hear(peer, frame, now)
            case Ticked():
                return self._tick(now)
            case Connected(peer):
                return self._connect(peer, now)
            case Disconnected(peer, clean):
                return self._disconnect(peer, clean, now)
            case Joined(node, area):
                self._is_out &= node != self.me
                self.fleet.admit(node, area)
                return []
            case Struck(node):
                return self._strike(node, now)
            case Leaving():
                return self._leave(now)

    def _notice_oversleep(self, now: float) -> None:
        """See whether this process has run since it was to be woken."""
        late = now - self._wake_at
        if late <= LATE:
            return
        if late >= PAUSE:
            self._away_at = now
        self._ears.health.overslept(late)
        self._ears.wake(now)
        self._rumours.postpone(now + AWAKE)
        self.own.overslept(late, now)

    def _tick(self, now: float) -> list[Effect]:
        effects, accused = self._ears.tick(now)
        for watch in accused:
            effects += self._rumours.accuse(watch, now)
        effects += self._rumours.tick(now)
        if self.own.refute_at <= now:
            effects += self._refute(now)
        return [*effects, *self._rolls.tick(self._ears.connected(), now)]

    # -- neighbours and members --
    def _connect(self, peer: NodeId, now: float) -> list[Effect]:
        if peer not in self.fleet or peer == self.me:
            return []
        return [
            Tell(peer, self.own.word()),
            *self._ears.connect(peer, now),
            self._rolls.open(peer, now),
            *self._rumours.met(peer, now),
        ]

    def _disconnect(self, peer: NodeId, clean: bool, now: float) -> list[Effect]:
        self._rumours.parted(peer)
        is_gone = self.state_of(peer) in GONE
        # Who sleeps is hung up on by everybody, and has nobody left to ask about them.
        was_our_silence = now - self._away_at < AWAKE
        clean = clean or is_gone or was_our_silence or self._is_out
        return [*self._ears.disconnect(peer, now, clean=clean), *self._forget_unheard(now)]

    def _strike(self, node: NodeId, now: float) -> list[Effect]:
        if node == self.me:
            self._is_out = True
            return self._forget_unheard(now)
        self.fleet.strike(node)
        self._ears.forget(node)
        self._rumours.parted(node)
        return self._rumours.strike(node, now)

    def _forget_unheard(self, now: float) -> list[Effect]:
        """Once this node is out, claim nothing of anybody but of those that it is connected to.

        What it holds would never change again: who is out is told of no death and no return.
        """
        if not self._is_out:
            return []
        heard = {self.me, *self._ears.connected()}
        unheard = [life.node for life in self._lives if life.node not in heard]
        for node in unheard:
            self._ears.forget(node)
        return [effect for node in unheard for effect in self._rumours.strike(node, now)]

    # -- frames --
    def _hear(self, peer: NodeId, frame: Frame, now: float) -> list[Effect]:
        watch = self._ears.watch_of(peer)
        if watch is None or not watch.is_connected:
            return []
        effects = self._ears.hear(peer, frame, now)
        if isinstance(frame, RollCall):
            effects += self._rolls.answer(watch, frame, now)
        else:
            effects += self._hear_said(peer, frame, now)
        return [*effects, *self._rumours.heard_itself(watch, now)]

    def _hear_said(self, peer: NodeId, frame: Frame, now: float) -> list[Effect]:
        match frame:
            case Alive() | Suspect() | Dead() | Left():
                subject = NodeId(frame.subject)
                if boot_of(frame.incarnation) > self.latest_boot():
                    return []  # its subject could not outbid it
                if subject == self.me:
                    return self._hear_of_me(peer, frame, now)
                if subject in self.fleet:
                    return self._hear_of_other(peer, frame, now)
        return []

    def _hear_of_other(self, peer: NodeId, frame: Rumour, now: float) -> list[Effect]:
        match frame:
            case Alive():
                return self._rumours.hear_alive(peer, frame, now)
            case Left():
                return self._rumours.hear_left(peer, frame, now)
            case Suspect():
                return self._rumours.hear_suspect(peer, frame, now)
            case Dead():
                return self._rumours.hear_dead(peer, frame, now)

    # -- this node --
    def _hear_of_me(self, peer: NodeId, frame: Rumour, now: float) -> list[Effect]:
        mine = self.own.word()
        if frame == mine or self.own.has_left:
            return []
        if frame.incarnation < mine.incarnation:
            return [Tell(peer, mine)]
        words = [each for each in self._signed_of_me(frame) if each[1] in self.fleet]
        if isinstance(frame, Suspect | Dead) and len(words) < 2:
            return []  # its accusers are strangers
        if (no := self._rumours.objection(peer, words, frame, now)) is not None:
            return no
        accusers = {by for _context, by, _signature in words} - {self.me}
        self.own.contradict(frame.incarnation, accusers, now)
        return self._refute(now) if self.own.refute_at <= now else []

    def _signed_of_me(self, frame: Rumour) -> Iterator[tuple[Context, NodeId, bytes]]:
        """Yield what must hold of *frame*: first of all that this node's key began it."""
        match frame:
            case Alive(signature=signature):
                yield Context.ALIVE, self.me, signature
            case Left(signature=signature):
                yield Context.LEFT, self.me, signature
            case Suspect(alive=alive, accuser=accuser, signature=signature):
                yield Context.ALIVE, self.me, alive
                yield Context.SUSPECT, NodeId(accuser), signature
            case Dead(alive=alive, accusers=accusers, signatures=signatures):
                yield Context.ALIVE, self.me, alive
                for by, signature in zip(accusers, signatures, strict=True):
                    yield Context.SUSPECT, NodeId(by), signature

    def _refute(self, now: float) -> list[Effect]:
        if self.own.refute(now):
            self._ears.health.doubted()
        return self._say(now)

    def _leave(self, now: float) -> list[Effect]:
        self.own.leave()
        return self._say(now)

    def _say(self, now: float) -> list[Effect]:
        self._keep_own(now)
        return [Tell(peer, self.own.word()) for peer in self._ears.connected()]

    def _keep_own(self, now: float) -> None:
        """Hold this node's own life like the others, so that it is in the roll."""
        life, word = self._lives.of(self.me, now), self.own.word()
        take = life.live if isinstance(word, Alive) else life.leave
        take(word.incarnation, word.signature, now)
        self._lives.note(life)
