"""Admitted peers that misbehave: a stolen key, a broken release, a process that comes and goes."""

from contextlib import suppress

import pytest
import trio
from attrs import evolve

from fabric.codes import Code
from fabric.core.codec import FrameReader, encode
from fabric.core.frames import Draining, Hello, HelloOk, Observed, Open
from fabric.core.identity import FabricId
from fabric.core.proof import hello_statement
from fabric.net.tls import certificate_for
from fabric.runtime.admission import next_frame
from fabric.runtime.closing import code_of_close
from fabric.runtime.meeting import Meeting
from fabric.runtime.peers import MOST_LINKS
from fabric.testing.factories import FABRIC_ID, a_frame
from fabric.trio_quic import Identity, QuicError, open_endpoint_on

HOME = ("10.0.0.1", 4433)


class Thief:
    """Holds the key of ``away``, and dials ``home`` with it as often as it likes."""

    def __init__(self, endpoint, key, home):
        self.endpoint, self.key, self.home = endpoint, key, home

    async def enter(self, *, boot_seq=1, instance=b"i" * 16, more=b""):
        """Return an admitted connection and its control stream."""
        connection = await self.endpoint.connect(HOME, pin=None)
        _kind, stream = await connection.accept_unidirectional()
        challenge = await next_frame(stream, FrameReader())
        statement = hello_statement(
            fabric_id=FabricId(FABRIC_ID),
            dialler_key=self.key.public,
            acceptor_key=self.home,
            acceptor_nonce=challenge.nonce,
            dialler_nonce=b"n" * 32,
        )
        hello = evolve(
            a_frame(Hello),
            versions=(1, 1),
            key=self.key.public,
            nonce=b"n" * 32,
            signature=self.key.sign(statement),
            boot_seq=boot_seq,
            instance=instance,
        )
        control = await connection.open_stream()
        await control.send_all(encode(hello) + more)
        assert isinstance(await next_frame(control, FrameReader()), HelloOk)
        return connection, control


@pytest.fixture
async def thief(fleet, network):
    key = fleet.members["away"].key
    transport = network.transport(("10.0.9.9", 4433))
    identity = Identity(*certificate_for(key))
    async with open_endpoint_on(transport, identity=identity) as endpoint:
        yield Thief(endpoint, key, fleet.members["home"].key.public)


async def test_a_peer_that_stops_its_control_stream_is_closed_and_stops_no_drain(
    autojump_clock, fleet, thief
):
    async with fleet.open("home") as home:
        connection, control = await thief.enter()
        await trio.sleep(1)
        control.stop(77)
        await trio.sleep(1)
        assert await home.drain() == 0
        assert code_of_close(await connection.wait_closed()) is Code.UNEXPECTED_FRAME


async def test_a_peer_that_floods_its_control_stream_ends_itself_alone(
    autojump_clock, fleet, thief
):
    async with fleet.open("home") as home:
        connection, control = await thief.enter()
        control.on_grant(1 << 30)
        page = encode(a_frame(Observed))
        with trio.move_on_after(5), suppress(QuicError):
            await control.send_all(page * 10_000)
        control.stop(7)
        await trio.sleep(1)
        await home.drain()
        with trio.fail_after(5):
            await connection.wait_closed()


async def test_one_peer_has_a_bounded_number_of_links(autojump_clock, fleet, thief):
    async with fleet.open("home") as home:
        for _ in range(3 * MOST_LINKS):
            await thief.enter()
        await trio.sleep(1)
        (peer,) = home.overlay.peers.by_id.values()
        assert len(peer.links) <= MOST_LINKS
        assert peer.link is not None
        assert peer.link.connection.closed is None


async def test_a_newer_process_ends_the_spare_links_of_the_older_one_too(
    autojump_clock, fleet, thief
):
    async with fleet.open("home"):
        old = [(await thief.enter())[0] for _ in range(3)]
        await thief.enter(boot_seq=2, instance=b"j" * 16)
        await trio.sleep(1)
        assert all(connection.closed is not None for connection in old)
        assert code_of_close(old[-1].closed) is Code.REPLACED


async def test_draining_is_told_of_once(autojump_clock, fleet, thief, logged):
    async with fleet.open("home"):
        _connection, control = await thief.enter()
        await control.send_all(100 * encode(Draining(until=1000)))
        await trio.sleep(1)
        assert len(logged("peer.draining")) == 1


async def test_a_stream_that_is_reset_at_once_leaves_nothing(autojump_clock, fleet, thief):
    async with fleet.open("home") as home:
        connection, _control = await thief.enter()
        for _ in range(20):
            stream = await connection.open_stream()
            stream.reset(7)
        await trio.sleep(2)
        (peer,) = home.overlay.peers.by_id.values()
        assert peer.link.connection.stream_count == 1


async def test_a_refusal_that_nobody_hears_leaves_nothing(autojump_clock, fleet, thief):
    async with fleet.open("home") as home:
        connection, _control = await thief.enter()
        for _ in range(20):
            stream = await connection.open_stream()
            stream.stop(7)
            await stream.send_all(encode(a_frame(Open, service="demo")))
        await trio.sleep(2)
        (peer,) = home.overlay.peers.by_id.values()
        assert peer.link.connection.stream_count == 1


async def test_a_stranger_who_leaves_before_it_is_met_ends_nothing(
    autojump_clock, fleet, network, monkeypatch
):
    """The look at those who left comes between a connection's acceptance and its task."""
    meet = Meeting._meet

    async def late(self, connection, *greeted):
        connection.close(99, "left")
        await trio.sleep(3)
        await meet(self, connection, *greeted)

    monkeypatch.setattr(Meeting, "_meet", late)
    async with fleet.open("home") as home:
        transport = network.transport(("10.0.9.8", 4433))
        key = fleet.members["away"].key
        async with open_endpoint_on(
            transport, identity=Identity(*certificate_for(key))
        ) as endpoint:
            await endpoint.connect(HOME, pin=None)
            await trio.sleep(5)
        assert home.snapshot()["planes"][0]["state"] == "running"
