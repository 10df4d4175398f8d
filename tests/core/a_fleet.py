"""A fleet of liveness cores on one event heap, with weather.

The model: two neighbours share a reliable, ordered stream with 20 to 80 ms of delay; a lost
datagram comes a retransmission later (0.3 s, doubled each time). A connection on which nothing
passed for four seconds breaks; after a pause or a partition it is back within two. Signatures are
keyed hashes, so that only their owner makes them.
"""

import hashlib
import heapq
import itertools
import random
from collections import Counter

from attrs import define, field

from fabric.core.codec import encode
from fabric.core.identity import FabricId, NodeId
from fabric.core.liveness import Liveness
from fabric.core.liveness_events import (
    Connected,
    Disconnected,
    Heard,
    Joined,
    State,
    Tell,
    Ticked,
    Turned,
    Wake,
)

FABRIC = FabricId(b"f" * 16)
LOSS = 0.1
DELAY = (0.02, 0.08)
RETRANSMISSION = 0.3
SILENT = 4.0
"""Seconds after which a connection breaks."""
BACK = (0.3, 2.0)
"""Seconds until a broken connection is there again, once both ends run."""
DATAGRAM = 32
ACKNOWLEDGEMENT = 33
"""Bytes of QUIC around a frame, and of the datagram that acknowledges it before anything is
answered: as measured over :mod:`fabric.trio_quic`."""
WARM = 12.0
"""Seconds for a fleet to meet before anything happens to it."""


def a_node(number: int) -> NodeId:
    return NodeId(f"node{number:028d}")


def signs(node: NodeId, message: bytes) -> bytes:
    return hashlib.blake2b(message, key=node.encode(), digest_size=64).digest()


@define
class Link:
    """One pair's connection; another generation after each break."""

    generation: int = 0
    is_up: bool = False
    clear_at: dict[NodeId, float] = field(factory=dict)
    """Until when earlier bytes are on their way, by receiver."""


@define(eq=False)
class Sim:
    """Nodes, links, and everything that is on its way between them."""

    seed: int
    size: int
    degree: int
    areas: int = 3
    now: float = 0.0
    loss: float = LOSS
    rng: random.Random = field(init=False)
    cores: dict[NodeId, Liveness] = field(init=False, factory=dict)
    links: dict[tuple[NodeId, NodeId], Link] = field(init=False, factory=dict)
    wakes: dict[NodeId, float] = field(init=False, factory=dict)
    asleep: dict[NodeId, list] = field(init=False, factory=dict)
    """What waits for those who do not run."""
    asleep_until: dict[NodeId, float] = field(init=False, factory=dict)
    stopped: set[NodeId] = field(init=False, factory=set)
    cut: set[frozenset] = field(init=False, factory=set)
    muted: set[tuple[NodeId, NodeId]] = field(init=False, factory=set)
    """Ways, from sender to receiver, on which nothing passes any more."""
    turned: list[tuple[NodeId, Turned]] = field(init=False, factory=list)
    sent: dict[NodeId, list[int]] = field(init=False, factory=dict)
    """Frames and bytes of UDP payload, both ways, by node."""
    said: dict[NodeId, int] = field(init=False, factory=dict)
    """Frames, by sender."""
    kinds: Counter = field(init=False, factory=Counter)
    """Frames, by sender, receiver and type."""
    counts_bytes: bool = False
    _heap: list = field(init=False, factory=list)
    _order: itertools.count = field(init=False, factory=itertools.count)

    def __attrs_post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        nodes = [a_node(number) for number in range(self.size)]
        for node in nodes:
            self.cores[node] = self.a_core(node, 1)
            self.sent[node], self.said[node] = [0, 0], 0
        for pair in self._pairs(nodes):
            self.links[pair] = Link()
            self.at(self.rng.uniform(0, 1), self.connect, pair)

    def a_core(self, node: NodeId, boot_seq: int) -> Liveness:
        core = Liveness(
            me=node,
            area=self.area_of(node),
            boot_seq=boot_seq,
            fabric_id=FABRIC,
            rng=random.Random(self.rng.random()),
            sign=lambda message: signs(node, message),
            verify=lambda by, message, signature: signs(by, message) == signature,
            root=lambda: b"r" * 16,
        )
        for number in range(self.size):
            core.receive(Joined(a_node(number), self.area_of(a_node(number))), self.now)
        return core

    def area_of(self, node: NodeId) -> str:
        return f"area{int(node[4:]) % self.areas}"

    def _pairs(self, nodes):
        if self.degree >= self.size - 1:
            return list(itertools.combinations(nodes, 2))
        pairs = set()
        for at, node in enumerate(nodes):
            pairs.add(tuple(sorted((node, nodes[(at + 1) % self.size]))))
            for other in self.rng.sample(nodes, self.degree // 2 - 1):
                if other != node:
                    pairs.add(tuple(sorted((node, other))))
        return sorted(pairs)

    # -- the heap --
    def at(self, when: float, act, *what) -> None:
        heapq.heappush(self._heap, (when, next(self._order), act, what))

    def run(self, until: float) -> None:
        while self._heap and self._heap[0][0] <= until:
            self.now, _, act, what = heapq.heappop(self._heap)
            act(*what)
        self.now = until

    # -- what the shell does --
    def give(self, node: NodeId, event) -> None:
        if node in self.stopped:
            return
        if node in self.asleep:
            self.asleep[node].append(event)
            return
        for effect in self.cores[node].receive(event, self.now):
            match effect:
                case Tell(peer, frame):
                    self.send(node, peer, frame)
                case Wake(when):
                    self.wakes[node] = when
                    self.at(when, self.wake, node, when)
                case Turned():
                    self.turned.append((node, effect))

    def wake(self, node: NodeId, when: float) -> None:
        if self.wakes.get(node) == when and node not in self.asleep:
            self.give(node, Ticked())

    def send(self, sender: NodeId, receiver: NodeId, frame) -> None:
        pair = tuple(sorted((sender, receiver)))
        link = self.links.get(pair)
        if link is None or not link.is_up:
            return
        if self.counts_bytes:
            self.said[sender] += 1
            self.kinds[sender, receiver, type(frame)] += 1
            size = len(encode(frame)) + DATAGRAM + ACKNOWLEDGEMENT
            for node in pair:
                self.sent[node][0] += 1
                self.sent[node][1] += size
        leaves, again = self.now, RETRANSMISSION
        while self.rng.random() < self.loss:
            leaves, again = leaves + again, 2 * again
        if leaves - self.now > SILENT or self.is_cut(sender, receiver):
            return self.at(self.now + SILENT, self.silence, pair, link.generation)
        self.at(leaves, self.leave, pair, link.generation, sender, receiver, frame)

    def leave(self, pair, generation, sender, receiver, frame) -> None:
        """Put the copy on its way that is not lost, if the sender still runs to send it."""
        if sender in self.stopped:
            return
        if sender in self.asleep:
            what = (pair, generation, sender, receiver, frame)
            return self.at(self.asleep_until[sender], self.leave, *what)
        link = self.links[pair]
        arrives = self.now + self.rng.uniform(*DELAY)
        # Bytes behind a gap wait for it: the stream is in order.
        arrives = max(arrives, link.clear_at.get(receiver, 0.0))
        link.clear_at[receiver] = arrives
        self.at(arrives, self.deliver, pair, generation, sender, receiver, frame)

    def deliver(self, pair, generation, sender, receiver, frame) -> None:
        link = self.links[pair]
        if link.is_up and link.generation == generation:
            self.give(receiver, Heard(sender, frame))

    def is_cut(self, sender: NodeId, receiver: NodeId) -> bool:
        return frozenset((sender, receiver)) in self.cut or (sender, receiver) in self.muted

    # -- connections --
    def connect(self, pair) -> None:
        link = self.links[pair]
        if link.is_up or self.stopped & set(pair):
            return
        is_cut = self.is_cut(*pair) or self.is_cut(*pair[::-1])  # a handshake needs both ways
        if is_cut or self.asleep.keys() & set(pair):
            return self.at(self.now + self.rng.uniform(*BACK), self.connect, pair)
        link.generation += 1
        link.is_up = True
        link.clear_at.clear()
        for node, peer in (pair, pair[::-1]):
            self.give(node, Connected(peer))

    def silence(self, pair, generation) -> None:
        """Break a connection, as both ends find, and dial again."""
        link = self.links[pair]
        if not link.is_up or link.generation != generation:
            return
        link.is_up = False
        for node, peer in (pair, pair[::-1]):
            self.give(node, Disconnected(peer, clean=False))
        self.at(self.now + self.rng.uniform(*BACK), self.connect, pair)

    def links_of(self, node: NodeId):
        return [(pair, link) for pair, link in self.links.items() if node in pair]

    # -- weather --
    def stop(self, node: NodeId) -> None:
        """End the process of *node* without a word."""
        self.stopped.add(node)
        for pair, link in self.links_of(node):
            silent = self.now + SILENT + self.rng.uniform(-1, 0.3)
            self.at(silent, self.silence, pair, link.generation)

    def pause(self, node: NodeId, seconds: float) -> None:
        self.asleep[node], self.asleep_until[node] = [], self.now + seconds
        self.at(self.now + seconds, self.resume, node)
        for pair, link in self.links_of(node):
            silent = self.now + SILENT + self.rng.uniform(-1, 0.3)
            self.at(silent, self._break_if_asleep, node, pair, link.generation)

    def _break_if_asleep(self, node, pair, generation) -> None:
        if node in self.asleep:
            self.silence(pair, generation)

    def resume(self, node: NodeId) -> None:
        waiting = self.asleep.pop(node)
        for event in waiting:
            self.give(node, event)
        self.give(node, Ticked())

    def part(self, one: set[NodeId]) -> None:
        """Let nothing pass between *one* and the rest."""
        for pair, link in self.links.items():
            if len(one & set(pair)) == 1:
                self.cut.add(frozenset(pair))
                silent = self.now + SILENT + self.rng.uniform(-1, 0.3)
                self.at(silent, self.silence, pair, link.generation)

    # -- what is seen --
    def others(self, node: NodeId):
        return [core for each, core in self.cores.items() if each not in self.stopped | {node}]

    def states(self, node: NodeId) -> set:
        return {core.state_of(node) for core in self.others(node)}

    def deaths(self) -> list[tuple[NodeId, Turned]]:
        return [each for each in self.turned if each[1].state is State.DEAD]

    def last_seen_dead(self, node: NodeId) -> float:
        """Return when the last of the others took *node* for dead."""
        assert self.states(node) == {State.DEAD}, self.history(node)
        return max(turn.at for _, turn in self.deaths() if turn.node == node)

    def history(self, node: NodeId) -> str:
        return "\n".join(
            f"{turn.at:8.3f} {at}: {node} {turn.state} ({turn.reason})"
            for at, turn in self.turned
            if turn.node == node
        )


def a_fleet(seed: int, size: int = 100, degree: int = 8, **changes) -> Sim:
    sim = Sim(seed, size, degree, **changes)
    sim.run(WARM)
    return sim
