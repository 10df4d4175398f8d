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
    # links that nobody wishes for any more are kept for a minute, and closed by who dialled them
    await live.until(lambda: max(degrees(live, names)) <= most < size - 1, within=120)
    assert is_connected(live, names)

    server = names[-1]
    strangers = [name for name in names[:-1] if name not in live.peers_of(server)]
    assert strangers
    for name in strangers:
        assert await live.opens(name) == server
        assert server in live.peers_of(name)
    await live.until(lambda: max(degrees(live, names)) <= most, within=180)
    assert is_connected(live, names)
    assert live.agree()


async def test_a_fleet_above_sixteen_keeps_few_links_and_dials_on_demand(autojump_clock, live):
    await keeps_its_degree(live, 18)


@pytest.mark.slow
async def test_a_fleet_of_forty_keeps_few_links_and_dials_on_demand(autojump_clock, live):
    await keeps_its_degree(live, 40)
