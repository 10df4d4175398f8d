"""Another directory key over whole nodes: whether its root or its records are heard first."""

import pytest
import trio
from attrs import evolve

from fabric.core.records import KeyState, NodeRecord, Role
from fabric.errors import ChannelBroken
from fabric.runtime.publishing import publish
from fabric.testing.records import id_of

SPREAD = 2.0
"""Seconds for a wave between two nodes, and for what it leads to."""


@pytest.fixture
def papers(fleet):
    return fleet.papers


def hand_over(node, envelopes):
    for each in envelopes:
        publish(each, node.knowledge, node.overlay.gossip)


def root_that_disowns_the_first_directory_key(fabric):
    first, root = fabric.keys(Role.DIRECTORY)[0], fabric.root(version=2)
    key = evolve(root.keys[id_of(first)], state=KeyState.COMPROMISED)
    return fabric.signed(evolve(root, keys={**root.keys, id_of(first): key}))


def signed_by_both(fabric, *names):
    """Return what `directory rekey` makes: all that is in force, under the old and the new key."""
    areas = {"home": "home", "away": "abroad"}
    records = [fabric.node(name, area=areas[name], generation=2) for name in names]
    records.append(fabric.service("demo", generation=2))
    return [fabric.signed(each, *fabric.keys(Role.DIRECTORY)) for each in records]


def peers_of(node):
    return {link.member.name for link in node.overlay.peers.standing_links()}


def members_of(node):
    return len(node.knowledge.directory.of_kind(NodeRecord.KIND))


async def test_records_first_and_nothing_breaks(autojump_clock, papers, two):
    home, away = await two()
    async with home.open_channel("demo") as channel:
        hand_over(home, signed_by_both(papers.fabric, "home", "away"))
        await trio.sleep(SPREAD)
        hand_over(home, [root_that_disowns_the_first_directory_key(papers.fabric)])
        await trio.sleep(SPREAD)

        assert home.knowledge.trust.root.version == away.knowledge.trust.root.version == 2
        await channel.send_all(b"still")
        assert await channel.receive_some() == b"still"
    assert (members_of(home), members_of(away)) == (2, 2)


async def test_the_root_first_and_nobody_is_a_node_until_the_records_come(
    autojump_clock, papers, two
):
    home, away = await two()
    async with home.open_channel("demo") as channel:
        hand_over(home, [root_that_disowns_the_first_directory_key(papers.fabric)])
        await trio.sleep(SPREAD)
        with pytest.raises(ChannelBroken):
            await channel.receive_some()
    assert (members_of(home), peers_of(home), peers_of(away)) == (0, set(), set())

    hand_over(home, signed_by_both(papers.fabric, "home", "away"))
    await trio.sleep(10)
    assert (members_of(home), members_of(away)) == (2, 2)
    async with home.open_channel("demo"):
        pass
