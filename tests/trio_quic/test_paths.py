"""Paths: holes, moving addresses, forged sources, and strangers' datagrams among ours."""

from __future__ import annotations

import hashlib
import random

import pytest
import trio

from fabric.testing.network import Network, Weather
from fabric.testing.quic import open_pair, open_streams, read_all
from fabric.trio_quic import Settings

NEAR, FAR = "10.0.0.2", "10.0.0.1"
"""Hosts of a pair's dialler and acceptor: the acceptor's transport is made first."""

PATIENT = Settings(idle_timeout=120.0)


@pytest.mark.parametrize("hole", [1, 10, 50])
@pytest.mark.parametrize("busy", [True, False])
async def test_data_flows_again_soon_after_a_hole(autojump_clock, network, hole, busy):
    """With data on its way when the hole opened, or with none: sent when it has closed."""
    async with open_pair(network=network, settings=PATIENT) as pair:
        near, far = await open_streams(pair)
        await trio.sleep(1)
        network.cut(NEAR, FAR)
        if busy:
            await near.send_all(b"into the hole")
        await trio.sleep(hole)
        network.heal()
        if not busy:
            await near.send_all(b"into the hole")
        closed_at = trio.current_time()
        assert await far.receive_some() == b"into the hole"
        # with nothing heard, only a probe can find the end: at most one interval, then the trip
        patience = pair.dialler.limits.probe_interval if busy else 0
        assert trio.current_time() - closed_at <= patience + 2 * 0.02


@pytest.mark.parametrize("hole", [1, 10, 50])
async def test_bulk_goes_on_after_a_hole_that_opened_at_a_full_window(
    autojump_clock, network, hole
):
    payload = random.Random(6).randbytes(3_000_000)
    async with open_pair(network=network, settings=PATIENT) as pair:
        near, far = await open_streams(pair)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(near.send_all_eof, payload)
            got = bytearray()
            while len(got) < 1_000_000:
                got += await far.receive_some()
            network.cut(NEAR, FAR)
            await trio.sleep(hole)
            while far.unread:
                got += await far.receive_some()
            network.heal()
            healed = trio.current_time()
            got += await far.receive_some()
            assert trio.current_time() - healed <= pair.dialler.limits.keepalive + 0.1
            assert bytes(got) + await read_all(far) == payload


async def test_a_packet_after_a_hole_brings_the_rest_at_once(autojump_clock, network):
    async with open_pair(network=network, settings=PATIENT) as pair:
        near, far = await open_streams(pair)
        network.cut(NEAR, FAR)
        await near.send_all(b"into the hole")
        await trio.sleep(50)
        network.heal()
        await far.send_all(b"anything")
        healed = trio.current_time()
        assert await far.receive_some() == b"into the hole"
        assert trio.current_time() - healed <= 3 * 0.02


async def test_a_hole_that_ends_just_before_the_idle_deadline_is_survived(autojump_clock, network):
    async with open_pair(network=network, settings=Settings(keepalive=0)) as pair:
        near, far = await open_streams(pair)
        network.cut(NEAR, FAR)
        await near.send_all(b"into the hole")
        await trio.sleep(28)
        network.heal()
        with trio.fail_after(1.5):
            assert await far.receive_some() == b"into the hole"


async def test_an_address_that_changes_all_the_time_breaks_no_stream(autojump_clock):
    network = Network(seed=5)
    transport = network.transport((NEAR, 1000))
    payload = random.Random(5).randbytes(400_000)
    async with open_pair(network=network, dialling_on=transport) as pair:
        near, far = await open_streams(pair)
        path = pair.acceptor.engine._core.active_path

        async def move():
            for port in range(2000, 3000):
                transport.rebind((NEAR, port))
                await trio.sleep(0.05)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(move)
            nursery.start_soon(near.send_all_eof, payload)
            nursery.start_soon(far.send_all_eof, payload[::-1])
            assert await read_all(far) == payload
            assert await read_all(near) == payload[::-1]
            nursery.cancel_scope.cancel()
        assert pair.accepting.counters.paths_adopted > 5
        assert pair.acceptor.engine._core.active_path[:3] == path[:3]


async def test_an_idle_acceptor_follows_a_dialler_that_moved(autojump_clock):
    network = Network()
    transport = network.transport((NEAR, 1000))
    async with open_pair(network=network, dialling_on=transport) as pair:
        near, far = await open_streams(pair)
        transport.rebind((NEAR, 2000))
        await near.send_all(b"I moved")
        assert await far.receive_some() == b"I moved"
        await far.send_all(b"so I see")
        assert await near.receive_some() == b"so I see"
        assert pair.acceptor.remote_address == (NEAR, 2000)


async def test_a_forged_datagram_from_elsewhere_moves_nothing(autojump_clock, network):
    async with open_pair(network=network) as pair:
        near, far = await open_streams(pair)
        genuine = []
        network.observers.append(lambda datagram, *_addresses: genuine.append(datagram))
        await near.send_all(b"seen by an onlooker")
        await trio.sleep(1)
        network.observers.clear()
        thief = network.transport(("10.6.6.6", 666))
        heard = []
        network.observers.append(
            lambda data, _source, to: to == thief.address and heard.append(data)
        )
        cid = genuine[0][:9]
        for forged in (genuine[0], cid + random.Random(1).randbytes(200), genuine[0][:-1] + b"x"):
            network.send(forged, thief.address, pair.accepting.address)
        await trio.sleep(1)
        assert pair.acceptor.remote_address[0] == NEAR
        assert heard == []
        await near.send_all(b", unharmed")
        assert await far.receive_some(1000) == b"seen by an onlooker"
        assert await far.receive_some() == b", unharmed"


async def test_an_unproven_address_gets_three_times_what_came_from_it(autojump_clock):
    """Whoever copies packets from another address may not aim our answers at it."""
    network = Network()
    transport = network.transport((NEAR, 1000))
    victim = ("10.6.6.6", 666)
    async with open_pair(network=network, dialling_on=transport) as pair:
        near, far = await open_streams(pair)
        await trio.sleep(1)
        sent_to, came_from = 0, 0

        def observe(datagram, source, to):
            nonlocal sent_to, came_from
            sent_to += len(datagram) if to == victim else 0
            came_from += len(datagram) if source == victim else 0

        network.observers.append(observe)
        network.move(transport, transport.address, ("10.7.7.7", 1))  # nobody answers from there
        transport.address = victim
        async with trio.open_nursery() as nursery:
            await near.send_all(b"as if from the victim")
            assert await far.receive_some() == b"as if from the victim"
            nursery.start_soon(far.send_all, bytes(300_000))
            await trio.sleep(5)
            assert 0 < sent_to <= 3 * came_from
            nursery.cancel_scope.cancel()


async def test_an_address_is_asked_again_when_the_first_proof_is_lost(autojump_clock):
    network = Network()
    transport = network.transport((NEAR, 1000))
    moved = ("10.3.3.3", 1000)
    payload = bytes(300_000)
    async with open_pair(network=network, dialling_on=transport) as pair:
        near, far = await open_streams(pair)
        await trio.sleep(1)
        lost = 0

        def loses(_datagram, _source, to):
            nonlocal lost
            lost += to == moved
            return to == moved and lost <= 2

        network.loses = loses
        transport.rebind(moved)
        await near.send_all(b"I moved")
        assert await far.receive_some() == b"I moved"
        await trio.sleep(5)
        assert lost > 2
        assert pair.acceptor.remote_address == moved
        async with trio.open_nursery() as nursery:
            nursery.start_soon(far.send_all_eof, payload)
            with trio.fail_after(2):
                assert await read_all(near) == payload


async def test_a_new_port_of_the_same_host_needs_no_proof(autojump_clock):
    network = Network()
    transport = network.transport((NEAR, 1000))
    async with open_pair(network=network, dialling_on=transport) as pair:
        near, far = await open_streams(pair)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(far.send_all_eof, bytes(1_000_000))
            await near.receive_some()
            transport.rebind((NEAR, 2000))
            with trio.fail_after(12):  # a NAT's new mapping begins with the next keepalive
                await read_all(near)


@pytest.mark.parametrize("joins", [True, False])
async def test_foreign_datagrams_of_equal_size_are_told_apart(autojump_clock, joins):
    """The kernel joins what one address sends: QUIC and probes may share one buffer."""
    network = Network(weather=Weather(delay=0.01))
    accepting_on = network.transport((FAR, 1), joins=joins)
    payload = random.Random(2).randbytes(600_000)
    async with open_pair(network=network, accepting_on=accepting_on) as pair:
        probes = []
        pair.accepting.foreign = lambda data, source: probes.append((data, source))
        here, there = pair.dialling.address, pair.accepting.address
        count = 0

        def interleave(datagram, source, _to):
            nonlocal count
            if source == here and len(datagram) > 1000 and datagram[0] != 1:
                count += 1
                network.send(b"\x01" + bytes(len(datagram) - 1), here, there)

        near, far = await open_streams(pair)
        network.observers.append(interleave)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(near.send_all_eof, payload)
            got = await read_all(far)
        network.observers.clear()
        await trio.sleep(1)
        assert hashlib.sha256(got).digest() == hashlib.sha256(payload).digest()
        assert count > 100
        assert len(probes) == count
        assert all(not any(data[1:]) and source == here for data, source in probes)
