"""What one member may take of a node's links and dials, however it behaves after Hello."""

from contextlib import asynccontextmanager, suppress

import pytest
import trio

from fabric.codes import Code
from fabric.core.codec import encode
from fabric.core.frames import CHALLENGE_KIND, Bye, Challenge, HelloOk, Records
from fabric.net.tls import certificate_for
from fabric.runtime.links import TELL_WITHIN
from fabric.runtime.peers import MOST_LINKS
from fabric.testing.factories import a_frame
from fabric.trio_quic import Identity, QuicError, open_endpoint_on
from tests.runtime.test_peers_unruly import Thief


@pytest.fixture
def away(fleet):
    return fleet.members["away"].key


@asynccontextmanager
async def open_thief(fleet, network, key, host="10.0.7.7"):
    identity = Identity(*certificate_for(key))
    async with open_endpoint_on(network.transport((host, 4433)), identity=identity) as endpoint:
        yield Thief(endpoint, key, fleet.members["home"].key.public)


def open_links(node):
    return [link for peer in node.overlay.peers.by_id.values() for link in peer.open_links()]


async def test_whoever_says_goodbye_on_every_link_keeps_no_more_of_them(
    autojump_clock, fleet, network, away
):
    async with fleet.open("home") as home, open_thief(fleet, network, away) as thief:
        for _ in range(3 * MOST_LINKS):
            await thief.enter(more=encode(Bye(code=Code.DUPLICATE.value)))
            await trio.sleep(0.2)
            assert len(open_links(home)) <= MOST_LINKS


async def test_a_member_that_takes_nothing_of_the_outbox_is_as_good_as_silent(
    autojump_clock, fleet, network, away
):
    """It is there all the time, as its pings show."""
    wave = Records(items=((b"e" * 60_000, 1, b"w" * 8, 0),))

    async def ping(connection):
        with suppress(QuicError):
            while True:
                await connection.ping()
                await trio.sleep(1)

    async with (
        fleet.open("home") as home,
        open_thief(fleet, network, away) as deaf,
        trio.open_nursery() as nursery,
    ):
        connection, _control = await deaf.enter()
        nursery.start_soon(ping, connection)
        (link,) = open_links(home)
        while link.post(wave):
            pass
        with trio.fail_after(3 * TELL_WITHIN):
            closed = await connection.wait_closed()
        assert closed.code == Code.PEER_SILENT


async def test_whoever_admits_and_closes_at_once_is_dialled_with_patience(
    autojump_clock, fleet, network, away
):
    member, met = fleet.members["away"], []
    node = fleet.papers.fabric.node_id("away")
    answer = encode(a_frame(HelloOk, version=1))

    async def admit_and_close():
        while True:
            connection = await endpoint.accept()
            connection.admit()
            met.append(connection)
            with suppress(QuicError):
                control = await connection.accept_stream()
                await control.receive_some()
                await control.send_all(answer)
                await connection.aclose(Code.DONE)

    async with (
        open_endpoint_on(
            network.transport(member.address),
            identity=Identity(*certificate_for(away)),
            greeting=lambda _connection: (CHALLENGE_KIND, encode(a_frame(Challenge))),
        ) as endpoint,
        trio.open_nursery() as nursery,
        fleet.open("home") as home,
    ):
        nursery.start_soon(admit_and_close)
        home.overlay.roster.saw(node, member.address)
        home.overlay.peers.seek(node)
        await trio.sleep(40)
        eager = len(met)
        await trio.sleep(20)
        nursery.cancel_scope.cancel()

    assert 10 < eager < 400
    assert 2 < len(met) - eager < 30
