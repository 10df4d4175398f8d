"""Who is there, over real links: a dead node, one that left, and what both ends of a link say."""

import trio

from fabric.core.liveness_events import State
from fabric.testing.network import Weather

NAMES = ("home-1", "home-2", "away-1", "away-2", "far-1")

DEAD_WITHIN = 10.0
"""Virtual seconds from a node's last word until all others count it as dead."""


async def five(live):
    for name in NAMES:
        live.add(name, area=name.split("-")[0])
    live.fleet.publish()
    await live.start("home-1", knows=[live.papers.records])
    for name in NAMES[1:]:
        await live.start(name, seeds=["home-1"])
    await live.until(lambda: live.agree() and live.is_meshed())


def states(live, *, of=NAMES):
    """Return what all that run say of *of*, but of themselves."""
    return {
        live.state_of(name, seen_by=other) for name in of for other in live.lives if other != name
    }


async def test_a_dead_node_is_dead_everywhere_within_ten_seconds(autojump_clock, live):
    await five(live)
    await trio.sleep(5)
    assert states(live) == {State.ALIVE}

    await live.kill("away-2")
    took = await live.until(
        lambda: states(live, of=["away-2"]) == {State.DEAD}, within=DEAD_WITHIN
    )
    assert took > 5  # or a pause would be a death
    others = [name for name in NAMES if name != "away-2"]
    assert states(live, of=others) == {State.ALIVE}


async def test_a_node_that_says_goodbye_has_left_and_is_never_suspected(
    autojump_clock, live, logged
):
    await five(live)
    await live.stop("away-2")
    await live.until(lambda: states(live, of=["away-2"]) == {State.LEFT}, within=2)

    await trio.sleep(30)
    assert states(live, of=["away-2"]) == {State.LEFT}
    for unsaid in ("suspect", "dead"):
        assert not logged("member.turned", member="away-2", state=unsaid)


async def test_a_node_that_comes_back_is_alive_everywhere_at_once(autojump_clock, live):
    await five(live)
    await live.kill("away-1")
    await live.until(lambda: states(live, of=["away-1"]) == {State.DEAD}, within=DEAD_WITHIN)
    await live.start("away-1", seeds=["home-1"])
    await live.until(lambda: states(live) == {State.ALIVE}, within=3)


async def test_both_ends_of_each_link_agree_in_bad_weather(autojump_clock, live, network, logged):
    network.weather = Weather(delay=0.05, jitter=0.03, loss=0.05)
    await five(live)
    for _ in range(30):
        await trio.sleep(1)
        assert states(live) == {State.ALIVE}
        for name in NAMES:
            assert live.peers_of(name) == set(NAMES) - {name}
    assert not logged("member.turned", state="suspect")


async def test_whoever_is_cut_off_from_one_neighbour_alone_is_alive_to_both(
    autojump_clock, live, network
):
    await five(live)
    network.cut(live.address("home-2")[0], live.address("away-2")[0])
    await trio.sleep(30)
    assert "away-2" not in live.peers_of("home-2")
    assert states(live) == {State.ALIVE}
