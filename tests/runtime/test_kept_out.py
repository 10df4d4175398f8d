"""Whom the directory revokes, and who forges: what ends at once, and for how long."""

import pytest
import trio
from attrs import evolve

from fabric.codes import Code
from fabric.core.codec.envelopes import pack_envelope
from fabric.core.frames import Records
from fabric.core.intake import BARRED_FOR
from fabric.errors import ChannelBroken
from fabric.runtime.publishing import publish
from fabric.testing.pairs import connected, echo, offered, refusal

SPREAD = 1.0
"""Seconds for a wave between three nodes that are linked to each other."""


@pytest.fixture
async def three(fleet, nursery):
    """Return ``home``, ``away`` and ``beyond``, each linked to each; the first two serve."""
    fleet.add("beyond", area="abroad")
    fleet.grant("logs", "any")
    nodes = [await nursery.start(fleet.keep_running, name) for name in ("home", "away", "beyond")]
    home, away, _beyond = nodes
    await nursery.start(home.serve, "logs", echo)
    await nursery.start(away.serve, "demo", echo)
    for node in nodes:
        for name in {"home", "away", "beyond"} - {node.me.name}:
            await connected(node, name)
    await offered(home, "demo", "away")
    await offered(away, "logs", "home")
    yield nodes
    nursery.cancel_scope.cancel()


def tell(node, fleet, record):
    publish(fleet.papers.fabric.signed(record), node.knowledge, node.overlay.gossip)


def peers_of(node):
    return {link.member.name for link in node.overlay.peers.standing_links()}


def revoke(at, fleet, name):
    tell(at, fleet, fleet.papers.fabric.node(name, generation=2, revoked=True))


async def test_a_revoked_node_loses_every_link_and_channel_at_once(
    autojump_clock, fleet, three, logged
):
    home, away, beyond = three
    async with home.open_channel("demo") as used, away.open_channel("logs") as using:
        revoke(beyond, fleet, "away")
        await trio.sleep(SPREAD)

        assert (peers_of(home), peers_of(away), peers_of(beyond)) == ({"beyond"}, set(), {"home"})
        for channel in (used, using):
            with pytest.raises(ChannelBroken):
                await channel.receive_some()
    assert len(logged("peer.dropped", peer="away", code=Code.REVOKED)) == 2


async def test_a_revoked_node_is_resolved_nowhere_and_comes_in_nowhere(
    autojump_clock, fleet, three, logged
):
    home, away, beyond = three
    revoke(beyond, fleet, "away")
    await trio.sleep(30)

    for node in (home, beyond):
        assert (await refusal(node)).code is Code.NO_INSTANCE
        assert "away" not in peers_of(node)
    assert peers_of(away) == set()
    assert logged("peer.refused", code=Code.REVOKED, side="acceptor")


async def test_who_is_no_node_any_more_says_nothing_that_counts(autojump_clock, fleet, three):
    """Its words are still held, for all have to hold the same; nobody goes by them."""
    home, away, beyond = three
    revoke(beyond, fleet, "away")
    await trio.sleep(SPREAD)
    for node in (home, beyond):
        readings = node.knowledge.readings
        assert readings.offers_of(away.node_id) is None
        assert readings.endpoint_of(away.node_id) is None


async def test_a_channel_that_is_open_outlives_the_permission_to_open_another(
    autojump_clock, fleet, three
):
    home, _away, beyond = three
    async with home.open_channel("demo") as channel:
        tell(beyond, fleet, fleet.papers.fabric.service("demo", generation=2, revoked=True))
        await trio.sleep(30)
        assert (await refusal(home)).code is Code.REVOKED
        await channel.send_all(b"still")
        assert await channel.receive_some() == b"still"


# -- who forges --
def forged(fleet, name):
    """Return a word of *name* that somebody else has signed."""
    envelope = fleet.papers.fabric.signed(fleet.papers.fabric.offers(name, sequence=2**31))
    (signature,) = envelope.signatures
    return evolve(envelope, signatures=(evolve(signature, value=bytes(64)),))


async def test_a_forger_loses_its_links_and_stays_out_for_ten_minutes(
    autojump_clock, fleet, two, logged
):
    fleet.add("beyond")
    home, away = await two(None)
    frame = Records(items=((pack_envelope(forged(fleet, "beyond")), 3, bytes(8), 0),))
    assert away.overlay.peers.post(home.node_id, frame)
    await trio.sleep(SPREAD)

    assert (peers_of(home), peers_of(away)) == (set(), set())
    assert logged("directory.alarm", code=Code.FORGED)
    await trio.sleep(BARRED_FOR - 2 * SPREAD)
    assert peers_of(home) == set()
    assert logged("peer.refused", code=Code.PEER_BARRED, side="acceptor")
    await trio.sleep(120)
    assert peers_of(home) == {"away"}
