"""More than one instance: which is tried, and which after it."""

import functools

import trio

from fabric.codes import Code
from fabric.core.instances import WORTH_ANOTHER
from fabric.runtime.closing import TELLING
from fabric.testing.pairs import connected, echo, offered, refusal


async def start(fleet, nursery, name, handler, **options):
    node = await nursery.start(fleet.keep_running, name, {})
    await nursery.start(functools.partial(node.serve, "demo", handler, **options))
    return node


async def test_another_instance_is_tried_when_one_refuses(autojump_clock, fleet, nursery, logged):
    async def refuse(channel):
        await channel.refuse(Code.BACKEND_REFUSED)

    fleet.add("third")
    await start(fleet, nursery, "away", refuse, auto_accept=False)
    await start(fleet, nursery, "third", echo)
    async with fleet.open("home") as home:
        await connected(home, "away")
        await connected(home, "third")
        await offered(home, "demo", "away", "third")
        for _ in range(4):
            async with home.open_channel("demo") as channel:
                assert channel.peer == "third"
        (row,) = home.snapshot()["services"]
        assert row["instances"] == ["away", "third"]
    assert not logged("channel.refused", direction="out")
    nursery.cancel_scope.cancel()


async def test_one_that_hangs_leaves_time_for_the_next(autojump_clock, fleet, nursery):
    async def hang(channel):
        await trio.sleep_forever()

    fleet.add("third")
    await start(fleet, nursery, "away", hang, auto_accept=False)
    await start(fleet, nursery, "third", hang, auto_accept=False)
    third = fleet.add("fourth")
    await start(fleet, nursery, third.name, echo)
    async with fleet.open("home") as home:
        for name in ("away", "third", "fourth"):
            await connected(home, name)
        await offered(home, "demo", "away", "third", "fourth")
        async with home.open_channel("demo", deadline=8) as channel:
            assert channel.peer == "fourth"
    nursery.cancel_scope.cancel()


async def test_channels_spread_over_instances_that_are_as_near(autojump_clock, fleet, nursery):
    fleet.add("third", area="abroad")
    await start(fleet, nursery, "away", echo)
    await start(fleet, nursery, "third", echo)
    async with fleet.open("home") as home:
        await connected(home, "away")
        await connected(home, "third")
        await offered(home, "demo", "away", "third")
        async with (
            home.open_channel("demo") as one,
            home.open_channel("demo") as two,
            home.open_channel("demo") as three,
            home.open_channel("demo") as four,
        ):
            peers = sorted(channel.peer for channel in (one, two, three, four))
        assert peers == ["away", "away", "third", "third"]
    nursery.cancel_scope.cancel()


async def test_a_refusal_about_the_opener_is_not_taken_to_the_next(
    autojump_clock, fleet, nursery, logged
):
    async def refuse(channel):
        await channel.refuse(Code.NOT_PERMITTED)

    fleet.add("third")
    await start(fleet, nursery, "away", refuse, auto_accept=False)
    await start(fleet, nursery, "third", refuse, auto_accept=False)
    async with fleet.open("home") as home:
        await connected(home, "away")
        await connected(home, "third")
        await offered(home, "demo", "away", "third")
        assert (await refusal(home)).code is Code.NOT_PERMITTED
    assert len(logged("channel.refused", direction="in")) == 1
    nursery.cancel_scope.cancel()


def test_whatever_ends_a_connection_leaves_the_next_instance_to_be_tried():
    assert TELLING | {Code.PEER_LOST} <= WORTH_ANOTHER
