"""One node's liveness, its clock, and everything that it did; and frames that others signed."""

import hashlib
import itertools
import random

from attrs import define, field

from fabric.core.frames import (
    Alive,
    Dead,
    Left,
    Probe,
    ProbeAck,
    Suspect,
)
from fabric.core.identity import FabricId, NodeId
from fabric.core.liveness import Liveness
from fabric.core.liveness_events import (
    Connected,
    Heard,
    Joined,
    Tell,
    Ticked,
    Turned,
    Wake,
)
from fabric.core.testimony import Context, statement

FABRIC = FabricId(b"f" * 16)
ME = NodeId("m")
AREAS = {"a": "north", "b": "south", "c": "west", "m": "home", "x": "home", "y": "north"}
"""``a``, ``b``, ``c`` probe this node, for their ids are lower; it probes ``x`` and ``y``."""
X, Y, A, B, C = (NodeId(each) for each in "xyabc")
ROOT = b"r" * 16


def signs(node: str, message: bytes) -> bytes:
    return hashlib.blake2b(message, key=node.encode(), digest_size=64).digest()


def signed(context: Context, by: str, subject: str, incarnation: int) -> bytes:
    return signs(by, statement(context, FABRIC, NodeId(subject), incarnation))


def alive(node: str, incarnation: int = 5) -> Alive:
    return Alive(
        subject=node,
        incarnation=incarnation,
        signature=signed(Context.ALIVE, node, node, incarnation),
    )


def left(node: str, incarnation: int = 5) -> Left:
    return Left(
        subject=node,
        incarnation=incarnation,
        signature=signed(Context.LEFT, node, node, incarnation),
    )


def suspect(node: str, accuser: str, incarnation: int = 5, silent: float = 2.0) -> Suspect:
    return Suspect(
        subject=node,
        incarnation=incarnation,
        alive=alive(node, incarnation).signature,
        accuser=accuser,
        signature=signed(Context.SUSPECT, accuser, node, incarnation),
        silent=round(silent * 1000),
    )


def dead(node: str, *accusers: str, incarnation: int = 5) -> Dead:
    return Dead(
        subject=node,
        incarnation=incarnation,
        alive=alive(node, incarnation).signature,
        accusers=accusers,
        signatures=tuple(signed(Context.SUSPECT, by, node, incarnation) for by in accusers),
    )


@define
class Seat:
    """The node under test, its clock, and everything that it did."""

    areas: dict = field(factory=lambda: dict(AREAS))
    boot_seq: int = 1
    now: float = 100.0
    core: Liveness = field(init=False)
    did: list = field(init=False, factory=list)
    answering: set = field(init=False, factory=set)
    """Neighbours that answer each probe, and send the probes that are theirs to send."""
    root: bytes = ROOT
    """What this node names as the digest of its records."""
    checked: list = field(init=False, factory=list)
    """Whose signatures were checked."""
    _wake_at: float = field(init=False, default=float("inf"))
    _seqs: itertools.count = field(init=False, factory=itertools.count)

    def __attrs_post_init__(self) -> None:
        self.core = Liveness(
            me=ME,
            area=self.areas[ME],
            boot_seq=self.boot_seq,
            fabric_id=FABRIC,
            rng=random.Random(1),
            sign=lambda message: signs(ME, message),
            verify=self._check,
            root=lambda: self.root,
        )
        for node, area in self.areas.items():
            self.give(Joined(NodeId(node), area))

    def _check(self, by: NodeId, message: bytes, signature: bytes) -> bool:
        self.checked.append(by)
        return signs(by, message) == signature

    def give(self, event) -> list:
        effects = self.core.receive(event, self.now)
        for effect in effects:
            if isinstance(effect, Wake):
                self._wake_at = effect.at
        self.did += effects
        for effect in effects:
            match effect:
                case Tell(peer, Probe(seq=seq)) if peer in self.answering:
                    effects = [*effects, *self.hear(peer, ProbeAck(seq=seq, root=ROOT))]
        return effects

    def hear(self, peer: str, frame) -> list:
        return self.give(Heard(NodeId(peer), frame))

    def meet(self, *peers: str, incarnation: int = 5) -> None:
        """Connect neighbours that answer, until told otherwise, and say that they are alive."""
        for peer in peers:
            self.answering.add(peer)
            self.give(Connected(NodeId(peer)))
            self.hear(peer, alive(peer, incarnation))

    def hush(self, *peers: str) -> None:
        self.answering -= set(peers)

    def run(self, seconds: float, *, step: float = 0.1) -> list:
        """Let time pass; returns what was done in it."""
        begin, until = len(self.did), self.now + seconds
        while self.now < until - 1e-9:
            self.now += step
            if self._wake_at <= self.now:
                self.give(Ticked())
            for peer in sorted(self.answering):
                if self.now - self.core.heard_at(NodeId(peer)) >= 1.0:
                    self.hear(peer, Probe(seq=next(self._seqs), root=ROOT))
        return self.did[begin:]

    def told(self, kind: type, effects=None) -> list:
        """Return (peer, frame) for all frames of *kind* in *effects*, or in all that was done."""
        effects = self.did if effects is None else effects
        return [
            (each.peer, each.frame)
            for each in effects
            if isinstance(each, Tell) and isinstance(each.frame, kind)
        ]

    def turned(self, node: str) -> list:
        return [each.state for each in self.did if isinstance(each, Turned) and each.node == node]
