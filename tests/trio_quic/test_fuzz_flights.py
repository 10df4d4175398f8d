"""A flight of the handshake altered by its sender: the other end closes, with a code, and no more.

The sender keeps its part of TLS and every packet is sealed by the book, so what is altered gets as
far as TLS at that stage of a real handshake. ``make fuzz`` runs the same at length:
``FABRIC_FUZZ`` says how much.
"""

from __future__ import annotations

import os
import random
from types import SimpleNamespace

import pytest
import trio.testing
from attrs import define, field
from qh3.tls import Epoch

from fabric.testing.network import Network
from fabric.testing.quic import ACCEPTOR, DIALLER, an_identity
from fabric.trio_quic import ConnectionClosed, open_endpoint_on
from fabric.trio_quic._tls import Bridge
from tests.trio_quic.test_fuzz import PANIC, mutated

HANDSHAKES = max(int(os.environ.get("FABRIC_FUZZ", "20000")) // 200, 1)
"""Per stage: one, with the honest one after it, costs as much as hundreds of decoded inputs."""

VIRTUAL_S = 60
"""Bounds one handshake and the honest one after it."""

STAGES = {
    "client hello": ("dialler", Epoch.INITIAL),
    "server hello": ("acceptor", Epoch.INITIAL),
    "server's proof": ("acceptor", Epoch.HANDSHAKE),
    "client finished": ("dialler", Epoch.HANDSHAKE),
}
"""Which end sends the flight, and under which keys."""


def messages(flight):
    """Return the TLS messages of *flight*."""
    found = []
    while flight:
        size = 4 + int.from_bytes(flight[1:4], "big")
        found.append(flight[:size])
        flight = flight[size:]
    return found


def resized(chance, said):
    """A message with other content, whose length is right: more of its parser is reached."""
    at = chance.randrange(len(said))
    body = mutated(chance, said[at][4:] or b"\x00")
    said[at] = said[at][:1] + len(body).to_bytes(3, "big") + body


def dropped(chance, said):
    del said[chance.randrange(len(said))]


def doubled(chance, said):
    at = chance.randrange(len(said))
    said.insert(at, said[at])


def reordered(chance, said):
    said.append(said.pop(chance.randrange(len(said))))


def renamed(chance, said):
    """A message under the type of another."""
    at = chance.randrange(len(said))
    said[at] = bytes([chance.choice([0, 1, 2, 4, 5, 8, 11, 13, 15, 20, 24, 254])]) + said[at][1:]


def damaged(chance, said):
    said[:] = [mutated(chance, b"".join(said))]


FAULTS = [resized, resized, dropped, doubled, reordered, renamed, damaged, damaged]


@define
class Forger:
    """Alters one flight of one end, once."""

    end: str
    epoch: Epoch
    fault: object
    chance: random.Random
    sent: bytes | None = None
    meant: bytes = b""
    _waiting: list = field(factory=list)

    def next_of(self, bridge, take):
        """Stand in for ``next_crypto_data`` of *bridge*, which *take* calls."""
        is_its = bridge.configuration.is_client == (self.end == "dialler")
        if not is_its or (self.sent is not None and not self._waiting):
            return take(bridge)
        if self.sent is None:
            self._alter(iter(lambda: take(bridge), None))
        return self._waiting.pop(0) if self._waiting else None

    def _alter(self, flights):
        for flight in flights:
            if flight.epoch == self.epoch:
                self.meant += flight.data
            else:
                self._waiting.append(flight)
        if self.meant:
            said = messages(self.meant)
            self.fault(self.chance, said)
            self.sent = b"".join(said)
            altered = SimpleNamespace(epoch=self.epoch, offset=0, data=self.sent)
            self._waiting += [altered] if self.sent else []

    @property
    def is_harmless(self):
        """Whether all that was meant is said, and what follows comes after the end."""
        return self.sent is not None and self.sent.startswith(self.meant)


async def dial(dialling, address):
    """Return how the dialler fared: its connection, and why it ended if that was at once."""
    try:
        return await dialling.connect(address, pin=an_identity(ACCEPTOR).public, timeout=5), None
    except ConnectionClosed as closed:
        return None, closed


@define
class Acceptor:
    """Keeps whom it accepted, and who failed before."""

    endpoint: object
    accepted: list = field(factory=list)
    failed: list = field(factory=list)

    async def run(self):
        self.endpoint.failed = self.failed.append
        while True:
            self.accepted.append(await self.endpoint.accept())


async def forge(network, monkeypatch, forger):
    """Have a handshake with one flight altered, and an honest one after it."""
    with monkeypatch.context() as patch:
        take = Bridge.next_crypto_data
        patch.setattr(Bridge, "next_crypto_data", lambda bridge: forger.next_of(bridge, take))
        async with (
            open_endpoint_on(
                network.transport(), identity=an_identity(ACCEPTOR).identity
            ) as accepting,
            open_endpoint_on(
                network.transport(), identity=an_identity(DIALLER).identity
            ) as dialling,
            trio.open_nursery() as nursery,
        ):
            acceptor = Acceptor(accepting)
            nursery.start_soon(acceptor.run)
            connection, refused = await dial(dialling, accepting.address)
            await trio.sleep(40)  # to any end: of the handshake's time, of idleness
            judge(forger, acceptor, connection, refused)
            assert not accepting.connections
            assert accepting.strangers.handshaking == accepting.strangers.unadmitted == 0
            again, refused = await dial(dialling, accepting.address)
            assert again is not None, refused
            nursery.cancel_scope.cancel()
    return dict(accepting.counters.engine_failures) | dict(dialling.counters.engine_failures)


def judge(forger, acceptor, connection, refused):
    assert forger.sent is not None
    ends = [each.closed for each in (*acceptor.accepted, *acceptor.failed)]
    ends.append(refused if connection is None else connection.closed)
    assert all(isinstance(end, ConnectionClosed) for end in ends)
    assert all(isinstance(end.code, int) and end.reason is not None for end in ends)
    if not forger.is_harmless:
        is_taken = connection is not None if forger.end == "acceptor" else bool(acceptor.accepted)
        assert not is_taken, f"{forger.fault.__name__}: {forger.sent.hex()}"


async def forge_in_time(*arguments):
    with trio.fail_after(VIRTUAL_S):
        return await forge(*arguments)


@pytest.mark.parametrize("stage", STAGES)
def test_an_altered_flight_ends_its_own_handshake_with_a_code(monkeypatch, stage):
    end, epoch = STAGES[stage]
    for seed in range(HANDSHAKES):
        chance = random.Random(seed)
        forger = Forger(end, epoch, chance.choice(FAULTS), chance)
        clock = trio.testing.MockClock(autojump_threshold=0)
        failures = trio.run(forge_in_time, Network(seed=seed), monkeypatch, forger, clock=clock)
        assert all(kind.startswith(PANIC) for kind in failures), (seed, failures)
