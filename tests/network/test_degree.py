"""A fleet above the size of a full mesh: few links each, one whole, and everybody in reach."""

import pytest
import trio

AREAS = ["home", "abroad", "overseas"]

SPARE = 4
"""Links above the policy's degree: what others chose before they saw the same fleet as we do."""


async def a_fleet(live, size):
    """Start *size* nodes in three areas. The first was given all records, the last serves demo."""
    names = [f"node-{number}" for number in range(size)]
    for number, name in enumerate(names):
        live.add(name, area=AREAS[number % 3])
    live.fleet.publish()
    await live.start(names[0], knows=[live.papers.records])
    async with trio.open_nursery() as nursery:
        for name in names[1:-1]:
            nursery.start_soon(lambda name: live.start(name, seeds=names[:1]), name)
    await live.start(names[-1], seeds=names[:1], serves=["demo"])
    await live.until(live.agree, within=60)
    return names


def is_connected(live, names):
    """Return whether every node is reached over links, from the first on."""
    seen, edge = set(), {names[0]}
    while edge:
        seen |= edge
        edge = {peer for name in edge for peer in live.peers_of(name)} - seen
    return seen == set(names)


def degrees(live, names):
    return [len(live.peers_of(name)) for name in names]


async def keeps_its_degree(live, size):
    names = await a_fleet(live, size)
    most = live[names[0]].knowledge.readings.policy().degree + SPARE
    assert most < size - 1
    # links that nobody wishes for any more are kept for a minute, and closed by who dialled them
    await live.until(lambda: max(degrees(live, names)) <= most, within=120)
    assert is_connected(live, names)

    server = names[-1]
    strangers = [name for name in names[:-1] if name not in live.peers_of(server)]
    assert strangers
    for name in strangers:
        assert await live.opens(name) == server
        assert server in live.peers_of(name)
    assert live.agree()
    return names, most


async def test_a_fleet_above_the_size_of_a_full_mesh_keeps_few_links_and_dials_on_demand(
    autojump_clock, live
):
    live.papers.publish(live.fabric.policy(full_mesh_up_to=4, degree=4))
    await keeps_its_degree(live, 11)


@pytest.mark.slow
async def test_a_fleet_of_24_keeps_few_links_for_good(autojump_clock, live):
    names, most = await keeps_its_degree(live, 24)

    # links that were dialled for a channel alone outlive it by a minute
    await live.until(lambda: max(degrees(live, names)) <= most, within=180)
    assert is_connected(live, names)
    assert live.agree()


async def test_a_link_that_its_other_end_lets_go_of_meanwhile_is_dialled_anew(
    autojump_clock, live
):
    live.add("home", "away")
    live.fleet.publish()
    home = await live.start("home", knows=[live.papers.records])
    away = await live.start("away", seeds=["home"], serves=["demo"])
    await live.until(lambda: home.registry.state_of("demo").instances == ("away",))
    (before,) = home.overlay.peers.standing_links()
    assert not before.connection.is_dialler

    away.overlay.peers.let_go(home.node_id)  # which home hears of after it has said Open
    assert await live.opens("home") == "away"
    assert before.was_let_go
