"""Two ends that dial, give up, restart and answer in any order agree on one connection.

A model of the shell around :mod:`fabric.core.standing`: connections are pairs of claims, messages
travel until a seeded draw delivers them, and each end acts only on what it has seen.
"""

import random

import pytest
from attrs import define, field

from fabric.core.identity import Instance, NodeId
from fabric.core.standing import Claim, Standings, Verdict

NAMES = (NodeId("aaaa"), NodeId("zzzz"))


@define(eq=False)
class Connection:
    dialler: NodeId
    boot: dict[NodeId, int]
    """What each end said of its process when it sent its Hello, or its answer."""
    claims: dict[NodeId, Claim] = field(factory=dict)
    """By the end that made the claim."""
    closed_at: set[NodeId] = field(factory=set)
    """The ends that closed it, or heard of its close. Its Hello may still reach the other."""


@define
class Fabric:
    """Two nodes, and everything that is on its way between them."""

    rng: random.Random
    boot: dict[NodeId, int] = field(factory=lambda: dict.fromkeys(NAMES, 1))
    standings: dict[NodeId, Standings] = field(
        factory=lambda: {name: Standings(name) for name in NAMES}
    )
    standing: dict[NodeId, Connection | None] = field(factory=lambda: dict.fromkeys(NAMES))
    connections: list[Connection] = field(factory=list)
    hellos: list[Connection] = field(factory=list)
    answers: list[Connection] = field(factory=list)
    farewells: list[tuple[NodeId, Connection]] = field(factory=list)
    """Closes that the named end has yet to hear of."""
    trace: list[str] = field(factory=list)

    def other(self, name: NodeId) -> NodeId:
        return NAMES[name == NAMES[0]]

    def dial(self, name: NodeId) -> None:
        if self.standing[name] is None and not self._is_dialling(name):
            connection = Connection(name, {name: self.boot[name]})
            self.trace.append(f"{name} dials")
            self.connections.append(connection)
            self.hellos.append(connection)

    def _is_dialling(self, name: NodeId) -> bool:
        """One dial at a time: an end gives up the last before it begins the next."""
        return any(
            each.dialler == name and name not in each.claims and name not in each.closed_at
            for each in self.connections
        )

    def deliver_hello(self) -> None:
        connection = self._draw(self.hellos)
        if (
            connection is None
            or (acceptor := self.other(connection.dialler)) in connection.closed_at
        ):
            return
        connection.boot[acceptor] = self.boot[acceptor]
        verdict = self._judge(acceptor, connection)
        if verdict is Verdict.SPARE or acceptor not in connection.claims:
            self.close(acceptor, connection)
        else:
            self.answers.append(connection)

    def deliver_answer(self) -> None:
        connection = self._draw(self.answers)
        if connection is not None and connection.dialler not in connection.closed_at:
            self._judge(connection.dialler, connection)
            if connection.dialler not in connection.claims:
                self.close(connection.dialler, connection)

    def _judge(self, name: NodeId, connection: Connection) -> Verdict:
        peer = self.other(name)
        claim = Claim(
            peer=peer,
            instance=Instance(bytes([connection.boot[peer]]) * 16),
            boot_seq=connection.boot[peer],
            dialler=connection.dialler,
        )
        judgement = self.standings[name].judge(claim, 0.0)
        self.trace.append(f"{name} judges a dial of {connection.dialler}: {judgement.verdict}")
        if judgement.refusal is None:
            connection.claims[name] = claim
        if judgement.stands:
            displaced, self.standing[name] = self.standing[name], connection
            if displaced is not None and judgement.verdict is Verdict.REPLACE:
                self.close(name, displaced)
        return judgement.verdict

    def deliver_farewell(self) -> None:
        if (drawn := self._draw(self.farewells)) is not None:
            self._forget(*drawn)

    def give_up(self) -> None:
        """A dial takes too long for the one who dialled."""
        waiting = [
            each
            for each in self.connections
            if each.dialler not in each.claims and each.dialler not in each.closed_at
        ]
        if waiting:
            connection = self.rng.choice(waiting)
            self.trace.append(f"{connection.dialler} gives up a dial")
            self.close(connection.dialler, connection)

    def close_spares(self) -> None:
        """The lower node id ends what does not stand, once it knows the other admitted."""
        low = min(NAMES)
        for connection in self.connections:
            if low in connection.claims and connection is not self.standing[low]:
                self.trace.append(f"{low} says Bye on a dial of {connection.dialler}")
                self.close(low, connection)

    def restart(self, name: NodeId) -> None:
        """The process dies without a word; the other end finds out by the new one's Hello."""
        self.trace.append(f"{name} restarts")
        self.boot[name] += 1
        self.standings[name] = Standings(name)
        self.standing[name] = None
        for connection in self.connections:
            connection.claims.pop(name, None)
            connection.closed_at.add(name)
        self.hellos = [each for each in self.hellos if each.dialler != name]

    def close(self, name: NodeId, connection: Connection) -> None:
        self._forget(name, connection)
        self.farewells.append((self.other(name), connection))

    def _forget(self, name: NodeId, connection: Connection) -> None:
        connection.closed_at.add(name)
        claim = connection.claims.pop(name, None)
        promoted = self.standings[name].ended(claim) if claim else None
        if self.standing[name] is connection:
            self.standing[name] = next(
                (
                    each
                    for each in self.connections
                    if promoted and each.claims.get(name) is promoted
                ),
                None,
            )

    def _draw(self, waiting):
        return waiting.pop(self.rng.randrange(len(waiting))) if waiting else None

    def settle(self) -> None:
        """Let everything arrive, and let who stands alone dial, until nothing changes."""
        for _ in range(300):
            self.deliver_hello()
            self.deliver_answer()
            self.deliver_farewell()
            self.close_spares()
            if not (self.hellos or self.answers or self.farewells):
                if all(self.standing.values()):
                    return
                for name in NAMES:
                    self.dial(name)


@pytest.mark.parametrize("seed", range(500))
def test_both_ends_come_to_stand_on_one_connection(seed: int) -> None:
    fabric = Fabric(random.Random(seed))
    steps = (
        lambda: fabric.dial(NAMES[0]),
        lambda: fabric.dial(NAMES[1]),
        fabric.deliver_hello,
        fabric.deliver_answer,
        fabric.deliver_farewell,
        fabric.give_up,
        fabric.close_spares,
    )
    for _ in range(fabric.rng.randrange(1, 60)):
        fabric.rng.choice(steps)()
    fabric.settle()

    low, high = (fabric.standing[name] for name in NAMES)
    assert low is not None, "\n".join(fabric.trace)
    assert low is high, "\n".join(fabric.trace)


@pytest.mark.parametrize("seed", range(200))
def test_a_restart_at_any_moment_ends_on_a_connection_of_the_new_process(seed: int) -> None:
    fabric = Fabric(random.Random(seed))
    restarted = fabric.rng.choice(NAMES)
    steps = (
        lambda: fabric.dial(NAMES[0]),
        lambda: fabric.dial(NAMES[1]),
        fabric.deliver_hello,
        fabric.deliver_answer,
        fabric.deliver_farewell,
    )
    for at in range(12):
        if at == 6:
            fabric.restart(restarted)
        fabric.rng.choice(steps)()
    fabric.dial(restarted)
    fabric.settle()

    claim = fabric.standings[fabric.other(restarted)].of(restarted)
    assert claim is not None, "\n".join(fabric.trace)
    assert claim.boot_seq == 2, "\n".join(fabric.trace)
    low, high = (fabric.standing[name] for name in NAMES)
    assert low is high, "\n".join(fabric.trace)
