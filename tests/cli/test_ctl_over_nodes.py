"""The commands about the fabric, answered by real nodes: what one publishes the other shows."""

from __future__ import annotations

from functools import partial

import pytest
import trio
from structlog.testing import capture_logs

from cli.steered import SteeredNode
from fabric.config import admin_socket_path
from fabric.node import open_node
from fabric.runtime.admin import serve_admin
from fabric.testing.pairs import Fleet, connected, echo


async def _admin(node, config, *, task_status):
    await serve_admin(SteeredNode(node), config, task_status=task_status)


@pytest.fixture
def fleet(short_folder):
    fleet = Fleet(short_folder)
    fleet.add("home")
    fleet.add("away", area="abroad")
    fleet.grant("demo", "any", core=True)
    return fleet


@pytest.fixture
def short_folder(tmp_path_factory):
    """A folder whose admin sockets have paths that fit."""
    return tmp_path_factory.mktemp("f")


@pytest.fixture
def unlogged():
    """Keep the nodes' log lines out of what a command prints."""
    with capture_logs():
        yield


@pytest.fixture
async def ask(fleet, nursery, run, unlogged):
    """Return `await ask("home", "services")`, answered by a node that runs; `away` serves demo."""
    configs = {name: fleet.config(name) for name in fleet.members}

    async def keep(name, *, task_status):
        transport = fleet.transport(name)
        async with open_node(configs[name], roles={"admin": _admin}, transport=transport) as node:
            task_status.started(node)
            await trio.sleep_forever()

    nodes = {name: await nursery.start(keep, name) for name in configs}
    await nursery.start(nodes["away"].serve, "demo", echo)
    await connected(nodes["home"], "away")
    await connected(nodes["away"], "home")

    async def ask_(name, *typed):
        socket = admin_socket_path(configs[name])
        return await trio.to_thread.run_sync(partial(run, *typed, "--socket", socket))

    yield ask_
    nursery.cancel_scope.cancel()


async def until(ask, wanted, *typed):
    """Ask until the answer is as *wanted*, and return it."""
    while True:
        ran = await ask(*typed)
        if wanted(ran):
            return ran
        await trio.sleep(0.05)


async def test_what_is_published_at_one_node_is_traced_at_the_other(fleet, ask):
    fabric, papers = fleet.papers.fabric, fleet.papers
    newer = papers.put(fabric.service("late", generation=2))
    publish = ("record", "publish", newer)
    assert (await ask("home", *publish)).out.endswith("late.json  taken\n")
    assert (await ask("home", *publish)).out.endswith("late.json  held already\n")
    papers.put(fabric.service("late", generation=1))
    ran = await ask("home", *publish, "--json")
    assert (ran.code, ran.json["records"][0]["error"]["code"]) == (1, "superseded")

    trace = ("directory", "trace", "service/late", "--json")
    found = (await until(ask, lambda ran: ran.code == 0, "away", *trace)).json
    assert (found["from_peer"], found["by"], found["hops"]) == ("home", "wave", 1)
    assert found["says"]["generation"] == 2
    waves = (await ask("away", "waves", "--json")).json["waves"]
    assert found["wave_id"] in [wave["wave_id"] for wave in waves]
    assert (await ask("away", "directory", "trace", "service/never")).code == 1


async def test_the_registry_and_the_members_are_told_by_every_node(ask):
    await until(ask, lambda ran: ran.code == 0, "home", "services", "--json")
    (demo,) = (await ask("home", "services", "--json")).json["services"]
    assert (demo["status"], demo["core"], demo["resolved_to"]) == ("active", True, "away")
    members = (await ask("home", "members", "--json")).json["members"]
    states = {each["name"]: (each["liveness"], each["connected"]) for each in members}
    assert states == {"home": ("alive", True), "away": ("alive", True)}
    kinds = (await ask("home", "directory", "--kind", "service", "--json")).json["records"]
    assert [each["key"] for each in kinds] == ["service/demo"]
    ran = await ask("home", "directory", "--kind", "servise")
    assert (ran.code, "endpoint, lease" in ran.err) == (1, True)
