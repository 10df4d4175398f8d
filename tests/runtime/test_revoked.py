"""What of a revoked node or service goes on, and what does not."""

import pytest
import trio

from fabric.codes import Code
from fabric.errors import ChannelBroken
from fabric.runtime.publishing import publish
from fabric.testing.pairs import echo, offered, refusal

SPREAD = 1.0
"""Seconds for a record to be with the other of two nodes."""


@pytest.fixture
async def both(fleet, two, nursery):
    """Return ``home`` and ``away``, each of which serves something that the other may open."""
    fleet.grant("logs", "any")
    home, away = await two()
    await nursery.start(home.serve, "logs", echo)
    await offered(away, "logs", "home")
    return home, away


def tell(node, fleet, record):
    publish(fleet.papers.fabric.signed(record), node.knowledge, node.overlay.gossip)


async def test_the_channels_that_a_revoked_node_opened_end_as_those_that_it_served(
    autojump_clock, fleet, both
):
    home, away = both
    async with home.open_channel("demo") as served, away.open_channel("logs") as opened:
        tell(home, fleet, fleet.papers.fabric.node("away", generation=2, revoked=True))
        await trio.sleep(SPREAD)
        for channel in (served, opened):
            with pytest.raises(ChannelBroken):
                await channel.receive_some()


async def test_the_words_of_a_revoked_node_are_held_and_nobody_goes_by_them(
    autojump_clock, fleet, both
):
    home, away = both
    tell(home, fleet, fleet.papers.fabric.node("away", generation=2, revoked=True))

    assert away.node_id in home.knowledge.directory.of_kind("endpoint")
    assert home.knowledge.readings.endpoint_of(away.node_id) is None
    assert home.knowledge.readings.offers_of(away.node_id) is None


async def test_a_channel_that_is_open_outlives_the_permission_to_open_another(
    autojump_clock, fleet, both
):
    home, away = both
    async with home.open_channel("demo") as channel:
        tell(away, fleet, fleet.papers.fabric.service("demo", generation=2, revoked=True))
        await trio.sleep(30)
        assert (await refusal(home)).code is Code.REVOKED
        await channel.send_all(b"still")
        assert await channel.receive_some() == b"still"
