"""A node that starts when everybody whom it was told of is gone: it goes by what it remembers."""

from __future__ import annotations

import shutil

import pytest
import trio

from tests.lab.conftest import START_WITHIN
from tests.lab.daemons import free_port, until
from tests.lab.tcp_ends import connect, echoes, is_reset, receive_all

pytestmark = pytest.mark.slow

CORE = {"demo": "away-1", "logs": "away-2"}
"""The services that this fabric cannot do without, and who offers each."""

USABLE_WITHIN = 5.0
"""Seconds from the start of the process, of which one or two are the interpreter's."""


def told_only_of(seed, daemon, record):
    """Let *daemon*'s file name its own record and one seed; all else it has to learn."""
    taken_along = shutil.copy(record, daemon.folder / "record.json")
    daemon.document["node"] |= {"records": [str(taken_along)], "seeds": [seed.udp_address]}


@pytest.fixture
async def edge(lab, start_backend):
    """Yield an ingress that learnt everything from a seed, which was the publisher and is gone."""
    fabric = lab.papers.fabric
    seed = lab.declare("seed")
    members = {"seed": seed}
    for service, name in CORE.items():
        lab.grant(
            service, "role:ingress", offer_by=("role:egress",), edge_exposable=True, core=True
        )
        offered = {service: {"backend": await start_backend()}}
        members[name] = lab.declare(name, "egress", services=offered)
    listeners = [{"listen": f"127.0.0.1:{free_port()}", "service": each} for each in CORE]
    edge = members["edge"] = lab.declare("edge", "ingress", listeners=listeners)
    for name, daemon in members.items():
        roles = tuple(daemon.document["node"]["roles"])
        record = lab.papers.publish(fabric.node(name, area="lab", roles=roles))
        daemon.hand(lab.papers)
        if daemon is not seed:
            told_only_of(seed, daemon, record)
    with trio.fail_after(START_WITHIN):
        async with trio.open_nursery() as nursery:
            for daemon in members.values():
                nursery.start_soon(daemon.start)
        for service, name in CORE.items():
            await edge.knows(service, name)
    await until(lambda: all_active(edge))
    await until(lambda: is_written(edge))
    await seed.kill()
    shutil.rmtree(lab.papers.records)
    return edge


async def is_written(edge):
    """Whether its disk has all that it was told: a change waits a moment there for others."""
    told = {key for key in await edge.records() if not key.startswith("trust_root/")}
    return told <= edge.records_on_disk()


async def all_active(edge):
    return {row["status"] for row in await services(edge)} == {"active"}


async def services(daemon):
    return [row for row in (await daemon.admin.registry())["services"] if row["core"]]


def listeners(daemon):
    return [each["listen"] for each in daemon.document["listeners"]]


async def test_a_restarted_node_serves_every_core_service_from_its_cache(edge):
    assert len(await services(edge)) == len(CORE)
    await edge.kill()
    began = trio.current_time()
    with trio.fail_after(START_WITHIN):
        await edge.start()
    ready = trio.current_time() - began
    with trio.fail_after(USABLE_WITHIN):
        for listener in listeners(edge):
            await until(lambda listener=listener: echoes(listener))
        usable = trio.current_time() - began
        await until(lambda: all_active(edge))
    print(f"ready after {ready:.2f} s, both services used after {usable:.2f} s")
    instances = {row["name"]: row["instances"] for row in await services(edge)}
    assert instances == {service: [name] for service, name in CORE.items()}
    assert not edge.lines("seed.answered")


async def test_alone_it_still_knows_who_offers_what_and_says_that_nobody_answers(edge, lab):
    for name in CORE.values():
        await lab.daemons[name].kill()
    await edge.kill()
    with trio.fail_after(START_WITHIN):
        await edge.start()
    rows = await services(edge)
    assert {row["name"] for row in rows} == set(CORE)
    print([(row["name"], row["status"], row["instances"]) for row in rows])
    for listener in listeners(edge):
        with is_reset(within=10), await connect(listener) as client:
            await receive_all(client)
