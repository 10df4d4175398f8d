"""Many nodes choosing at once: links that both ends hold, a fleet cut in two, a fleet of one seed.

The network here is exact and instant: what is sought is linked in the same second, unless the two
ends are on different sides of a cut.
"""

import random

from fabric.core.diversity import Bounds, Place
from fabric.core.identity import NodeId
from fabric.core.neighbour_events import (
    Asked,
    Connected,
    DialFailed,
    Disconnected,
    Effect,
    Heal,
    LetGo,
    Listed,
    SeedMet,
    Seek,
    Ticked,
    Turned,
)
from fabric.core.neighbours import IDLE, PARTING, Neighbours
from fabric.core.roster import Address

SEED: Address = ("seed.example", 4433)


class Network:
    """Machines, the links between them (dialler first), and a cut."""

    def __init__(self, size: int, *, is_known: bool = True) -> None:
        rng = random.Random(1)
        self.places = {
            node: Place(node=node, area=f"area-{number % 3}")
            for number in range(size)
            for node in [NodeId(f"{rng.getrandbits(160):040x}")]
        }
        self.machines = {
            node: Neighbours(place, random.Random(index), seeds=[SEED])
            for index, (node, place) in enumerate(self.places.items())
        }
        self.seed = min(self.places)
        self.links: set[tuple[NodeId, NodeId]] = set()
        self.sought: dict[NodeId, set[NodeId]] = {node: set() for node in self.places}
        self.side: dict[NodeId, int] = dict.fromkeys(self.places, 0)
        self.now = 0.0
        if is_known:
            for node in self.places:
                self.tell_of_all(node)

    def tell_of_all(self, node: NodeId) -> None:
        for other, place in self.places.items():
            if other != node:
                self.say(node, Listed(place))
                self.say(node, Turned(other, "alive"))

    def say(self, node: NodeId, event: object) -> None:
        for effect in self.machines[node].receive(event, self.now):
            self.carry_out(node, effect)

    def carry_out(self, node: NodeId, effect: Effect) -> None:
        match effect:
            case Seek(wish):
                self.sought[node].add(wish.node)
            case LetGo(other):
                self.sought[node].discard(other)
                if (node, other) in self.links:
                    self.end(node, other)
            case Heal(seeds, nodes):
                for other in nodes:
                    self.dial(node, other)
                if seeds:
                    self.dial(node, self.seed)

    def linked(self, one: NodeId, other: NodeId) -> bool:
        return (one, other) in self.links or (other, one) in self.links

    def dial(self, node: NodeId, other: NodeId) -> None:
        if node == other or self.linked(node, other):
            return
        if self.side[node] != self.side[other] or self.machines[other].objection(node):
            self.say(node, DialFailed(other))
            return
        self.links.add((node, other))
        for at, to, dialled in ((node, other, True), (other, node, False)):
            self.say(at, Listed(self.places[to]))  # Hello has brought its record
            self.say(at, Turned(to, "alive"))
            self.say(at, Connected(to, dialled))
        if other == self.seed:
            self.say(node, SeedMet(SEED, other))

    def end(self, node: NodeId, other: NodeId) -> None:
        self.links.discard((node, other))
        self.say(node, Disconnected(other))
        self.say(other, Disconnected(node))

    def after(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1.0
            for node in self.machines:
                self.say(node, Ticked())
                for other in sorted(self.sought[node]):
                    self.dial(node, other)

    def cut(self) -> None:
        """Part the fleet, end every link across, and let each side think the other dead."""
        for index, node in enumerate(sorted(self.places)):
            self.side[node] = index % 2
        for node, other in sorted(self.links):
            if self.side[node] != self.side[other]:
                self.end(node, other)
        for node in self.places:
            for other in self.places:
                if self.side[node] != self.side[other]:
                    self.say(node, Turned(other, "dead"))

    def pieces(self) -> int:
        left, count = set(self.places), 0
        while left:
            count += 1
            todo = [left.pop()]
            while todo:
                node = todo.pop()
                beside = {other for other in left if self.linked(node, other)}
                left -= beside
                todo += beside
        return count

    def degrees(self) -> list[int]:
        return [sum(node in link for link in self.links) for node in self.places]


def test_forty_nodes_make_one_graph_of_few_links_and_keep_it() -> None:
    network = Network(40)
    network.after(3)
    assert network.pieces() == 1

    network.after(round(PARTING))  # and the seed, which all began with, is let go
    links = set(network.links)
    assert max(network.degrees()) <= 2 * Bounds().degree
    network.after(round(PARTING * 2))
    assert network.links == links


def test_a_fleet_that_was_cut_in_two_finds_together_in_one_turn_of_healing() -> None:
    network = Network(40)
    network.after(3)
    network.cut()
    network.after(120)
    assert network.pieces() == 2

    network.side = dict.fromkeys(network.places, 0)
    network.after(8)
    assert network.pieces() == 1


def test_what_healing_dialled_is_let_go_once_nobody_is_lost() -> None:
    network = Network(40)
    network.after(round(PARTING) + 3)
    before = set(network.links)
    network.cut()
    network.side = dict.fromkeys(network.places, 0)
    network.after(8)
    for node in network.places:
        network.tell_of_all(node)

    network.after(round(PARTING * 2 + IDLE))
    assert network.pieces() == 1
    assert max(network.degrees()) <= 2 * Bounds().degree
    assert len(network.links) <= len(before) * 1.1


def test_nodes_that_know_one_seed_alone_all_come_to_it() -> None:
    network = Network(10, is_known=False)
    network.after(2)

    assert network.pieces() == 1
    assert all(
        network.linked(node, network.seed) for node in network.places if node != network.seed
    )


def test_a_link_asked_for_at_one_end_is_held_by_it_and_ends_with_its_use() -> None:
    network = Network(40)
    network.after(3)
    node = max(network.places)
    far = next(each for each in sorted(network.places) if not network.linked(node, each))
    network.say(node, Asked(far))
    network.after(1)
    assert network.linked(node, far)

    network.after(round(IDLE) + 1)
    assert not network.linked(node, far)
