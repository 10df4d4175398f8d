"""Half of a fabric cut off from the other half for ten minutes: whatever was said, all is one."""

import pytest
import trio

from fabric.core.liveness_events import State
from fabric.core.records import Key
from fabric.testing.network import Weather

MINUTE = 60.0

ONE = ("home-1", "home-2")
OTHER = ("away-1", "away-2")

SAME_WITHIN = 10.0
"""Virtual seconds: what the product promises after a partition of ten minutes."""

HEALED_WITHIN = 30.0
"""A dial every five seconds, of one member of each area: see `fabric.core.healing`."""


async def four(live):
    live.add(*ONE, "gone-home", area="home")
    live.add(*OTHER, "gone-away", area="abroad")
    live.fleet.grant("demo", "any")
    live.fleet.grant("logs", "any")
    live.fleet.publish()
    await live.start("home-1", knows=[live.papers.records])
    for name in (*ONE[1:], *OTHER):
        await live.start(name, seeds=["home-1"])
    await live.until(lambda: live.agree() and all(map(live.peers_of, live.lives)))


async def test_records_and_removals_of_both_sides_are_everywhere_within_ten_seconds(
    autojump_clock, live, network
):
    await four(live)
    await live.until(live.is_meshed)  # for who was never heard of is not dead later
    fabric = live.fabric
    live.partition(ONE, OTHER)
    await live.until(lambda: live.state_of("away-1", "home-1") is State.DEAD, within=MINUTE)

    live.tell("home-1", fabric.service("web", generation=1))
    live.tell("away-1", fabric.service("mail", generation=1))
    live.tell("home-2", fabric.service("logs", generation=2, revoked=True))
    live.tell("away-2", fabric.node("gone-home", generation=2, revoked=True))
    live.tell("home-1", fabric.node("gone-away", generation=2, revoked=True, area="abroad"))
    # both sides change one record: the higher number counts
    live.tell("home-2", fabric.service("demo", generation=2, open_to=("area:home",)))
    live.tell("away-1", fabric.service("demo", generation=3, open_to=("area:abroad",)))
    await trio.sleep(10 * MINUTE)
    assert len(live.roots()) == 2
    assert live.state_of("home-2", "away-2") is State.DEAD

    network.heal()
    assert await live.until(live.agree, within=SAME_WITHIN) < SAME_WITHIN
    for node in live.nodes:
        readings = node.knowledge.readings
        assert {"web", "mail"} <= set(readings.services())
        assert readings.service("logs").record.revoked
        assert readings.service("demo").record.open_to == ("area:abroad",)
        for name in ("gone-home", "gone-away"):
            assert readings.is_revoked(fabric.node_id(name))
            assert Key("node", fabric.node_id(name)) in set(node.knowledge.directory.keys())

    await live.until(live.is_meshed, within=HEALED_WITHIN)
    await live.until(
        lambda: all(
            live.state_of(name, seen_by=other) is State.ALIVE
            for name in (*ONE, *OTHER)
            for other in (*ONE, *OTHER)
            if name != other
        ),
        within=HEALED_WITHIN,
    )


async def test_a_fleet_too_large_for_a_mesh_heals_though_nobody_wishes_for_the_dead(
    autojump_clock, live, network
):
    live.papers.publish(live.fabric.policy(full_mesh_up_to=2, degree=3))
    await four(live)
    live.partition(ONE, OTHER)
    await trio.sleep(5 * MINUTE)
    live.tell("home-1", live.fabric.service("web", generation=1))
    await trio.sleep(5)
    assert len(live.roots()) == 2

    network.heal()
    assert await live.until(live.agree, within=SAME_WITHIN) < SAME_WITHIN


async def test_bad_weather_delays_what_is_said_and_loses_none_of_it(autojump_clock, live, network):
    network.weather = Weather(delay=0.05, jitter=0.05, loss=0.1, duplicate=0.05, reorder=0.1)
    await four(live)
    for number in range(2, 22):
        live.tell("home-2", live.fabric.service("demo", generation=number))
        live.tell("away-2", live.fabric.service("logs", generation=number))
        await trio.sleep(0.1)
    await live.until(live.agree, within=20)
    for node in live.nodes:
        assert node.knowledge.readings.service("demo").record.generation == 21
        assert node.knowledge.readings.service("logs").record.generation == 21


@pytest.mark.slow
async def test_twelve_nodes_in_bad_weather_are_one_again_ten_seconds_after_ten_minutes(
    autojump_clock, live, network
):
    network.weather = Weather(delay=0.03, jitter=0.02, loss=0.02)
    names = [f"node-{number}" for number in range(12)]
    for number, name in enumerate(names):
        live.add(name, area=["home", "abroad", "overseas"][number % 3])
    live.fleet.publish()
    await live.start(names[0], knows=[live.papers.records])
    for name in names[1:]:
        await live.start(name, seeds=names[:1])
    await live.until(lambda: live.agree() and live.is_meshed(), within=60)

    live.partition(names[:6], names[6:])
    await trio.sleep(MINUTE)
    for number in range(20):
        live.tell(names[number % 12], live.fabric.service(f"new-{number}"))
        live.tell(names[(number + 6) % 12], live.fabric.service(f"newer-{number}"))
        await trio.sleep(1)
    live.tell(names[0], live.fabric.service("demo", generation=2, revoked=True))
    await trio.sleep(9 * MINUTE)
    network.heal()
    assert await live.until(live.agree, within=SAME_WITHIN) < SAME_WITHIN
    await live.until(live.is_meshed, within=2 * MINUTE)
