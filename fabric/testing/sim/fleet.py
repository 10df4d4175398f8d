"""A simulated fabric: its nodes, what is done to them, and what is seen of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from attrs import define, field

from fabric.core import gossip_events
from fabric.core.codec.envelopes import pack_envelope
from fabric.core.codec.records import decode_record
from fabric.core.envelope import Digest, Envelope
from fabric.core.frames import Alive
from fabric.core.identity import NodeId
from fabric.core.liveness_events import State, Turned
from fabric.core.records import Key, Record
from fabric.core.wave import Item
from fabric.testing.records import AFabric
from fabric.testing.sim.clockwork import Clockwork
from fabric.testing.sim.net import Net
from fabric.testing.sim.node import SimNode
from fabric.testing.sim.papers import Papers, area_of, name_of
from fabric.testing.sim.surroundings import Row, row_of
from fabric.testing.sim.weather import Weather

START: Final = 1.0
"""Seconds in which the nodes start, one after the other."""

SEED: Final = ("192.0.2.1", 4433)
"""Where the seed of every node is: the first of them."""


@define(eq=False)
class Spread:
    """How one record gets to everybody."""

    key: Key
    digest: Digest
    packed: bytes
    began: float
    reached: dict[NodeId, float] = field(init=False, factory=dict)
    """When each node held it."""
    repaired: int = field(init=False, default=0)
    """Nodes to which anti-entropy brought it."""
    copies: dict[NodeId, int] = field(init=False, factory=dict)
    """That each node sent in waves."""

    def times(self) -> list[float]:
        """Return, for each node that it reached, after how many seconds; sorted."""
        return sorted(at - self.began for at in self.reached.values())


@define(eq=False)
class Fleet:
    """So many nodes, which all know each other's records, in the weather given."""

    size: int
    seed: int
    """What everything that is left to chance was drawn from last."""
    weather: Weather = field(factory=Weather)
    papers: Papers = field(factory=Papers)
    most_skew: float = 0.0
    """Seconds by which clocks differ at most, either way."""
    clock: Clockwork = field(init=False, factory=Clockwork)
    net: Net = field(init=False)
    ids: tuple[NodeId, ...] = field(init=False)
    turns: list[tuple[NodeId, Turned]] = field(init=False, factory=list)
    """What each node saw of others' lives, in order."""
    bars: list[tuple[float, NodeId, NodeId]] = field(init=False, factory=list)
    """When who kept whom out."""
    refusals: dict[str, int] = field(init=False, factory=dict)
    """Records refused, by code."""
    spreads: list[Spread] = field(init=False, factory=list)
    on_turn: Callable[[NodeId, Turned], None] | None = field(init=False, default=None)
    on_change: Callable[[SimNode, Key], None] | None = field(init=False, default=None)
    _rng: random.Random = field(init=False)
    _skews: list[float] = field(init=False)
    _known: list[tuple[Record, Envelope]] = field(init=False)
    _words: tuple[Alive, ...] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._rng = random.Random(self.seed)
        self.net = Net(clock=self.clock, weather=self.weather, rng=self._fork())
        self.ids = tuple(self.papers.node_id(number) for number in range(self.size))
        self._skews = [
            self._rng.uniform(-self.most_skew, self.most_skew) for _ in range(self.size)
        ]
        envelopes = [
            say(number) for say in (self.papers.node, self.papers.endpoint) for number in self._all
        ]
        self._known = [(decode_record(each.payload), each) for each in envelopes]
        self._words = tuple(self.papers.word(number, 1) for number in self._all)
        for number in self._all:
            self.clock.at(self._rng.uniform(0, START), self.start, number)

    @property
    def _all(self) -> range:
        return range(self.size)

    @property
    def fabric(self) -> AFabric:
        """Return whose keys sign."""
        return self.papers.fabric

    def reseed(self, seed: int) -> None:
        """Draw from *seed* whatever is left to chance from now on."""
        self.seed = seed
        self._rng.seed(seed)
        dice = [self.net.rng, *(self.nodes[node].rng for node in sorted(self.nodes))]
        for each in dice:
            each.seed(self._rng.getrandbits(64))

    def _fork(self) -> random.Random:
        return random.Random(self._rng.getrandbits(64))

    # -- processes --
    def start(self, number: int, boot_seq: int = 1, rows: Iterable[Row] | None = None) -> SimNode:
        """Start a process of node *number*, with what its disk holds: nothing, with no *rows*.

        The first one has everybody's record there.
        """
        node = SimNode(
            clock=self.clock,
            ether=self.net,
            watcher=self,
            papers=self.papers,
            key=self.papers.fabric.node_key(name_of(number)),
            id=self.ids[number],
            area=area_of(number),
            boot_seq=boot_seq,
            rng=self._fork(),
            skew=self._skews[number],
            seeds={SEED: self.ids[0]},
            remembers=self._words if rows is None else (),
        )
        self.net.nodes[node.id] = node
        own = self._known[number]
        node.start(self._known if rows is None else [own], rows or ())
        return node

    def stop(self, node: SimNode) -> list[Row]:
        """End a process without a word; return what it leaves on disk."""
        self.net.stop(node)
        return [row_of(each) for each in node.gossip.kept()]

    def restart(self, number: int, *, keeps_disk: bool) -> SimNode:
        """Replace the process of node *number* by the next."""
        node = self.nodes[self.ids[number]]
        rows = self.stop(node)
        return self.start(number, node.boot_seq + 1, rows if keeps_disk else [])

    def pause(self, node: SimNode, seconds: float) -> None:
        """Let *node* not run for a while, as a machine that sleeps or swaps."""
        node.asleep_until = self.clock.now + seconds

    @property
    def nodes(self) -> dict[NodeId, SimNode]:
        return self.net.nodes

    def any_node(self) -> SimNode:
        """Draw one of the nodes that run."""
        return self.nodes[self._rng.choice(sorted(self.nodes))]

    def shuffled(self) -> list[int]:
        """Return the numbers of all nodes in an order that is drawn."""
        return self._rng.sample(self._all, self.size)

    def drawn(self) -> float:
        """Draw a number between 0 and 1, for when something is to happen."""
        return self._rng.random()

    def part(self, *sides: Sequence[NodeId]) -> None:
        """Let nothing pass between *sides*."""
        self.net.sky.part(*map(tuple, sides))

    def heal(self) -> None:
        self.net.sky.clear()

    # -- time --
    @property
    def now(self) -> float:
        return self.clock.now

    def run(self, seconds: float, *, until: Callable[[], bool] | None = None) -> bool:
        """Let *seconds* pass, or fewer, up to the moment at which *until*; return whether it is.

        *until* is asked after each thing that happens: it has to be cheap.
        """
        self.clock.run(self.clock.now + seconds, unless=until)
        return until is not None and until()

    # -- records --
    def publish(self, node: SimNode, record: Record) -> Spread:
        """Hand *record*, rightly signed, to *node*, and follow it."""
        envelope = self.papers.fabric.signed(record)
        spread = self._follow(record.key, envelope)
        node.tell_gossip(gossip_events.Published(envelope))
        return spread

    def _follow(self, key: Key, envelope: Envelope) -> Spread:
        packed = pack_envelope(envelope)
        spread = Spread(key, envelope.digest, packed, self.now)
        self.spreads.append(spread)
        return spread

    def roots(self) -> set[bytes]:
        """Return what stands for everything that a node holds, for all that run."""
        return {node.gossip.root() for node in self.nodes.values()}

    def states_of(self, subject: NodeId) -> set[State | None]:
        """Return what the others take *subject* for."""
        return {
            node.liveness.state_of(subject) for each, node in self.nodes.items() if each != subject
        }

    def links(self) -> list[int]:
        """Return how many links each node has, sorted."""
        return sorted(len(node.links) for node in self.nodes.values())

    # -- looking on --
    def changed(self, node: SimNode, key: Key) -> None:
        if self.on_change is not None:
            self.on_change(node, key)
        for spread in self.spreads:
            if spread.key == key and node.id not in spread.reached:
                held = node.directory.get(key)
                if held is not None and held.envelope.digest == spread.digest:
                    spread.reached[node.id] = self.now
                    spread.repaired += held.heard.from_peer is not None and not held.heard.wave_id

    def turned(self, node: SimNode, turn: Turned) -> None:
        self.turns.append((node.id, turn))
        if self.on_turn is not None:
            self.on_turn(node.id, turn)

    def passed_on(self, node: SimNode, to: NodeId, items: tuple[Item, ...]) -> None:
        for spread in self.spreads:
            copies = sum(item[0] == spread.packed for item in items)
            if copies:
                spread.copies[node.id] = spread.copies.get(node.id, 0) + copies

    def refused(self, node: SimNode, refused: gossip_events.Refused) -> None:
        name = refused.code.name.lower()
        self.refusals[name] = self.refusals.get(name, 0) + 1

    def barred(self, node: SimNode, peer: NodeId) -> None:
        self.bars.append((self.now, node.id, peer))
