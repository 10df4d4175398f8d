"""Gossip of one node whose peers a test speaks for, and of a few that speak with each other."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest
from nacl.signing import SigningKey

from fabric.codes import Code
from fabric.core.clocks import Floor
from fabric.core.codec.envelopes import pack_envelope
from fabric.core.directory import Directory
from fabric.core.envelope import Envelope
from fabric.core.frames import Frame
from fabric.core.gossip import Gossip
from fabric.core.gossip_events import (
    Alarm,
    Effect,
    Event,
    HeardRecords,
    HeardRoot,
    HeardSync,
    Moment,
    PeerUp,
    Published,
    Refused,
    SendSync,
    SyncWritten,
    Ticked,
)
from fabric.core.identity import NodeId, has_signed
from fabric.core.records import NODE, Key, KeyId, KeyState, Record, Role, RootKey, TrustRoot
from fabric.core.trust import Trust
from fabric.core.wave import Item, Send
from fabric.testing.records import BORN, AFabric, a_key_of, id_of, public, signed

T = TypeVar("T")

WAVE = b"a wave.."

KEYS = AFabric()
"""Of the fabric that all of it happens in."""


def only(effects: Iterable[Effect], kind: type[T]) -> list[T]:
    """Return those of *effects* that are of *kind*."""
    return [each for each in effects if isinstance(each, kind)]


class AGossip:
    """The gossip of one node, with whatever peers a test names."""

    def __init__(self, *peers: str, me: str = "me", fabric: AFabric = KEYS, seed: int = 1) -> None:
        self.fabric = fabric
        self.me = self.fabric.node_id(me)
        self.now = Moment(100.0, float(BORN + 60))
        self.directory = Directory()
        self.trust = Trust(self.fabric.id, self.fabric.signed(self.fabric.root()))
        self.floor = Floor.opened(self.now.clock)
        self.gossip = Gossip(self.me, self.directory, self.trust, random.Random(seed), self.floor)
        for peer in peers:
            self.up(peer)

    def say(self, event: Event) -> list[Effect]:
        return self.gossip.receive(event, self.now)

    def up(self, peer: str, area: str = "home") -> NodeId:
        node = self.fabric.node_id(peer)
        self.say(PeerUp(node, area, compares=False))
        return node

    def item(
        self, record: Record | Envelope, *, hops: int = 4, wave: bytes = WAVE, ms: int = 0
    ) -> Item:
        envelope = record if isinstance(record, Envelope) else self.fabric.signed(record)
        return pack_envelope(envelope), hops, wave, ms

    def hear(
        self, *records: Record | Envelope, by: str = "one", lag: float = 0.0, **how: Any
    ) -> list[Effect]:
        """Let the peer *by* send *records* in one frame."""
        items = tuple(self.item(each, **how) for each in records)
        return self.say(HeardRecords(self.fabric.node_id(by), items, lag))

    def publish(self, record: Record | Envelope) -> list[Effect]:
        envelope = record if isinstance(record, Envelope) else self.fabric.signed(record)
        return self.say(Published(envelope))

    def know(self, *names: str) -> None:
        """Let the node records of *names* be held, and nothing be said of it."""
        for name in names:
            self.gossip.receive(Published(self.fabric.signed(self.fabric.node(name))), self.now)

    def pass_time(self, seconds: float) -> None:
        self.now = Moment(self.now.steady + seconds, self.now.clock + seconds)

    def after(self, seconds: float, *, step: float = 1.0) -> list[Effect]:
        """Let time pass, with a tick every *step* seconds; return what came of it."""
        effects: list[Effect] = []
        for _ in range(round(seconds / step)):
            self.pass_time(step)
            effects += self.say(Ticked())
        return effects

    def held(self, key: Key | Record) -> Record | None:
        """Return what counts at a key, or at that of a record."""
        held = self.directory.get(key if isinstance(key, Key) else key.key)
        return held.record if held is not None else None


def compare(one: AGossip, other: AGossip) -> tuple[list[Effect], list[Effect]]:
    """Let each hear of the other's root, and both say what there is to say on the sync stream.

    Returns what else came of it, at each end.
    """
    ends = {one.me: one, other.me: other}
    came: dict[NodeId, list[Effect]] = {one.me: [], other.me: []}
    said = {
        one.me: one.say(HeardRoot(other.me, other.gossip.root())),
        other.me: other.say(HeardRoot(one.me, one.gossip.root())),
    }
    while any(said.values()):
        heard: dict[NodeId, list[Effect]] = {one.me: [], other.me: []}
        for me, effects in said.items():
            frames = only(effects, SendSync)
            came[me] += [each for each in effects if not isinstance(each, SendSync)]
            for each in frames:
                heard[each.to] += ends[each.to].say(HeardSync(me, each.frame))
            if frames:
                heard[me] += ends[me].say(SyncWritten(frames[0].to))
        said = heard
    return came[one.me], came[other.me]


def next_root(
    fabric: AFabric, version: int = 2, *, more: Iterable[KeyId] = (), **states: KeyState
) -> Envelope:
    """Return a trust root that follows: with one more directory key, and keys in new states.

    *more* keys of other roles act for the directory too. *states* are by role and number:
    ``directory_0=KeyState.COMPROMISED``.
    """
    first = fabric.root()
    added = new_key()
    keys = dict(first.keys) | {id_of(added): RootKey(key=public(added))}
    for name, state in states.items():
        role, number = name.split("_")
        key = fabric.keys(Role(role))[int(number)]
        keys[id_of(key)] = RootKey(key=public(key), state=state)
    roles = dict(first.roles)
    holders = (*roles[Role.DIRECTORY].keys, id_of(added), *more)
    roles[Role.DIRECTORY] = type(roles[Role.DIRECTORY])(keys=tuple(sorted(holders)), threshold=1)
    root: TrustRoot = fabric.root(version=version, keys=keys, roles=roles)
    return fabric.signed(root)


def new_key() -> SigningKey:
    """Return the directory key that :func:`next_root` adds."""
    return a_key_of("directory/new")


@contextmanager
def counted_verifications() -> Iterator[list[int]]:
    """Count, in the one item of the list, the signatures that are verified meanwhile."""
    count = [0]

    def counting(*args: bytes) -> bool:
        count[0] += 1
        return has_signed(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fabric.core.signers.has_signed", counting)
        yield count


def codes(effects: Iterable[Effect]) -> list[Code]:
    """Return why something was refused."""
    return [each.code for each in only(effects, Refused)]


def alarms(effects: Iterable[Effect]) -> list[Code]:
    return [each.code for each in only(effects, Alarm)]


def reached(effects: Iterable[Effect]) -> set[NodeId]:
    """Return to whom a wave goes."""
    return {each.to for each in only(effects, Send)}


class ANet:
    """Some gossips that hold each others' node records, in a ring with chords.

    Waves may be lost, with chance *loss*; sync streams lose nothing. Without *repairs* nobody
    compares anything.
    """

    STEP = 0.05

    def __init__(self, size: int, *, seed: int, loss: float = 0.0, repairs: bool = True) -> None:
        self.rng = random.Random(seed)
        self.loss = loss
        self.repairs = repairs
        self.now = Moment(100.0, float(BORN + 60))
        self.fabric = KEYS
        self.names = [f"node-{number}" for number in range(size)]
        self.ids = [self.fabric.node_id(name) for name in self.names]
        root = self.fabric.signed(self.fabric.root())
        self.nodes = {
            me: Gossip(
                me,
                Directory(),
                Trust(self.fabric.id, root),
                random.Random(f"{seed} {me}"),
                Floor.opened(self.now.clock),
            )
            for me in self.ids
        }
        self.peers = {
            me: [self.ids[(at + step) % size] for step in (-3, -1, 1, 3)]
            for at, me in enumerate(self.ids)
        }
        self.sent: list[Send] = []
        self._waves: list[tuple[NodeId, Send]] = []
        self._streams: dict[tuple[NodeId, NodeId], deque[Frame]] = {}
        self._begin()

    def _begin(self) -> None:
        everybody = [self.fabric.signed(self.fabric.node(name)) for name in self.names]
        for me in self.ids:
            for each in everybody:
                self.nodes[me].receive(Published(each), self.now)
        for me in self.ids:
            for peer in self.peers[me]:
                self._streams[me, peer] = deque()
                self.tell(me, PeerUp(peer, "home", compares=False))

    def tell(self, node: NodeId, event: Event) -> None:
        for effect in self.nodes[node].receive(event, self.now):
            match effect:
                case Send():
                    self.sent.append(effect)
                    if self.rng.random() >= self.loss:
                        self._waves.append((node, effect))
                case SendSync(to, frame):
                    self._streams[node, to].append(frame)

    def publish(self, at: int, record: Record) -> None:
        self.tell(self.ids[at], Published(self.fabric.signed(record)))

    def run(self, seconds: float) -> None:
        for step in range(round(seconds / self.STEP)):
            self.now = Moment(self.now.steady + self.STEP, self.now.clock + self.STEP)
            self._deliver()
            if step % 20 == 0:
                self._second()

    def _deliver(self) -> None:
        waves, self._waves = self._waves, []
        self.rng.shuffle(waves)
        for sender, send in waves:
            self.tell(send.to, HeardRecords(sender, (send.item,), self.STEP))
        for (sender, to), frames in self._streams.items():
            for _ in range(len(frames)):
                self.tell(to, HeardSync(sender, frames.popleft()))
            self.tell(sender, SyncWritten(to))

    def _second(self) -> None:
        for me in self.ids:
            self.tell(me, Ticked())
            for peer in self.peers[me] if self.repairs else ():
                self.tell(me, HeardRoot(peer, self.nodes[peer].root()))

    def roots(self) -> set[bytes]:
        return {each.root() for each in self.nodes.values()}


def own_words(fabric: AFabric, names: Iterable[str], **fields: Any) -> list[Record]:
    """Return the offers of each of *names*."""
    return [fabric.offers(name, "demo", **fields) for name in names]


def forged(fabric: AFabric, record: Record) -> Envelope:
    """Return *record* under the id of its author, with a signature that is another's."""
    good = fabric.signed(record)
    other = signed(b"something else", *_keys(fabric, record))
    return Envelope(good.payload, other.signatures)


def _keys(fabric: AFabric, record: Record) -> tuple[Any, ...]:
    author = record.authors[0]
    if author == NODE:
        return (fabric._nodes[record.subject],)
    return fabric.enough(Role(author))
