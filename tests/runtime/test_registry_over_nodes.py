"""Services over whole nodes: permitted by records that travel, proved by probes, kept on disk."""

import pytest
import trio

from fabric.codes import Code
from fabric.config import HostPort
from fabric.core.registry_events import Status
from fabric.errors import RefusedError
from fabric.runtime.publishing import publish
from fabric.testing.pairs import a_service, connected, echo, offered, refusal


def tell(node, fleet, generation, **fields):
    """Have the record of ``demo`` begin its way at *node*."""
    fabric = fleet.papers.fabric
    record = fabric.service("demo", generation=generation, **fields)
    publish(fabric.signed(record), node.knowledge, node.overlay.gossip)


def row_of(node, service="demo"):
    return next(row for row in node.snapshot()["services"] if row["name"] == service)


async def test_a_core_service_is_proved_by_probes_at_both_ends(autojump_clock, fleet, two):
    fleet.grant("demo", "any", core=True)
    home, away = await two()
    await offered(home, "demo", "away")
    await trio.sleep(15)

    for node in (home, away):
        row = row_of(node)
        assert (row["status"], row["core"]) == ("active", True)
        assert (row["instances"], row["resolved_to"]) == (["away"], "away")
        assert row["last_live_probe"]["ok"]
    assert home.registry.report(0)["status"] == "active"


async def test_proofs_of_a_service_fill_no_log(autojump_clock, fleet, two, logged):
    fleet.grant("demo", "any", core=True)
    home, _away = await two()
    await offered(home, "demo", "away")
    await trio.sleep(60)
    assert len(logged("channel.closed", direction="in", log_level="debug")) > 3
    assert not logged("channel.closed", log_level="info")
    async with home.open_channel("demo") as channel:
        await channel.send_all_eof(b"something")
        assert await channel.receive_some() == b"something"
    await trio.sleep(1)
    assert len(logged("channel.closed", channel=channel.id, log_level="info")) == 2


async def test_a_permission_that_is_taken_back_travels_and_so_does_its_return(
    autojump_clock, fleet, two, logged
):
    home, away = await two()
    async with home.open_channel("demo"):
        pass
    tell(home, fleet, 2, offer_by=("node:nobody",))
    await trio.sleep(10)
    assert (await refusal(home)).code is Code.NO_INSTANCE
    assert away.services.permitted_names() == ()
    assert logged("service.withheld", service="demo", code=Code.OFFER_NOT_PERMITTED)

    tell(home, fleet, 3, offer_by=("node:away",))
    await trio.sleep(10)
    assert logged("service.permitted", service="demo")
    async with home.open_channel("demo") as channel:
        assert channel.peer == "away"


async def test_who_may_open_is_another_as_soon_as_its_record_says_so(autojump_clock, fleet, two):
    home, _away = await two()
    tell(home, fleet, 2, open_to=("area:abroad",))
    refused = await refusal(home)
    assert (refused.code, refused.hop) == (Code.NOT_PERMITTED, "")

    tell(home, fleet, 3, open_to=("area:home",))
    await trio.sleep(1)  # it has to be heard at the other end too
    async with home.open_channel("demo"):
        pass


async def test_nothing_is_exposed_without_a_record_that_permits_it(autojump_clock, fleet, two):
    _home, away = await two(None)
    web = a_service("web", backend=HostPort("127.0.0.1", 8000))
    with pytest.raises(RefusedError, match="fabricctl service add") as refused:
        await away.expose(web)

    assert refused.value.code is Code.OFFER_NOT_PERMITTED
    assert "web" not in away.services.configs


async def test_a_watcher_is_told_when_the_only_instance_goes(autojump_clock, fleet, nursery):
    seen = []

    async def watch(node):
        async for state in node.watch("demo"):
            seen.append((state.status, state.instances))

    async with fleet.open("home") as home:
        nursery.start_soon(watch, home)
        async with fleet.open("away") as away:
            await nursery.start(away.serve, "demo", echo)
            await offered(home, "demo", "away")
            await trio.sleep(15)
        await trio.sleep(15)
        nursery.cancel_scope.cancel()

    assert [instances for _, instances in seen] == [(), ("away",), ("away",), ()]
    assert seen[2][0] is Status.ACTIVE
    assert seen[3][0] is not Status.ACTIVE


async def test_a_restarted_node_resolves_from_its_cache_and_hears_nobody(
    autojump_clock, fleet, network, nursery
):
    away = await nursery.start(fleet.keep_running, "away")
    await nursery.start(away.serve, "demo", echo)
    async with fleet.open("home") as home:
        await connected(home, "away")
        await offered(home, "demo", "away")
        await trio.sleep(5)
    network.cut("10.0.0.1", "10.0.0.2")
    async with fleet.open("home", records=()) as home:
        row = row_of(home)
        assert (row["resolved_to"], row["source"]) == ("away", "cache")
        assert (row["status"], row["reason"]) == ("candidate_only", "no_proof")
    nursery.cancel_scope.cancel()
