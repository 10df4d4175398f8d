"""`fabricctl up` that cannot be: it says why, and leaves nothing running."""

from __future__ import annotations

import os
import re
import socket

import pytest
from attrs import evolve

from cli.local.plan import GRANTS, SERVICE
from cli.local.running import known_processes, running_processes
from cli.local.setup import prepare, remembered
from services.authority import Authority

CTL = "cli.fabricctl"


@pytest.fixture
def taken():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


async def test_a_taken_port_exits_1_before_anything_starts(run_command, fabric, taken):
    ran = await run_command(CTL, "up", "--port", taken)
    assert ran.code == 1
    assert f"127.0.0.1:{taken} is taken by" in ran.err
    assert f"pid {os.getpid()}" in ran.err
    assert "make up PORT=" in ran.err
    assert known_processes(fabric) == {}


async def test_a_taken_port_is_not_remembered(run_command, fabric, taken):
    before = {name: fabric.config_file(name).read_text() for name in fabric.names}
    await run_command(CTL, "up", "--port", taken)
    assert remembered(fabric).ports.ingress != taken
    assert {name: fabric.config_file(name).read_text() for name in fabric.names} == before


async def test_a_request_that_the_edge_refuses_is_told_with_the_code(run_command, fabric):
    (port,) = _free()
    prepare(fabric, port=port, running=frozenset())
    grant = evolve(GRANTS[SERVICE], open_to=("node:test-1",))
    with Authority.open(fabric.authority) as authority:
        authority.add_service(SERVICE, grant, now=authority.root.issued_at)
    ran = await run_command(CTL, "up", "--json")
    assert ran.code == 1
    error = ran.json["error"]
    assert error["code"] == "request_failed"
    assert "not_permitted" in error["message"]
    assert "open_to" in error["remedy"]
    assert running_processes(fabric) == {}


async def test_a_member_that_was_revoked_is_named_and_how_it_comes_back(run_command, fabric):
    (port,) = _free()
    prepare(fabric, port=port, running=frozenset())
    with Authority.open(fabric.authority) as authority:
        authority.revoke(authority.node("test-1").key, now=authority.root.issued_at)
    ran = await run_command(CTL, "up", "--json")
    assert (ran.code, ran.json["error"]["code"]) == (1, "member_revoked")
    assert ran.json["error"]["message"].startswith("test-1 was revoked")
    assert known_processes(fabric) == {}

    command = re.search(r"`rm (.*?)`", ran.json["error"]["remedy"])[1]
    for path in command.split():
        os.unlink(path)
    assert prepare(fabric, port=port, running=frozenset())
    with Authority.open(fabric.authority) as authority:
        assert authority.node("test-1").generation == 1


async def test_a_node_that_cannot_start_shows_the_end_of_its_log(run_command, fabric):
    (port,) = _free()
    prepare(fabric, port=port, running=frozenset())
    path = fabric.config_file("test-1")
    nowhere = 'listen = "192.0.2.1:4433"'  # an address for documents: no machine has it
    path.write_text(re.sub(r'listen = "127.*?"', nowhere, path.read_text()))
    ran = await run_command(CTL, "up", "--json")
    assert ran.code == 1
    error = ran.json["error"]
    assert error["code"] == "not_ready"
    assert error["message"].startswith("test-1 ended while it started")
    assert "192.0.2.1" in error["message"]
    assert running_processes(fabric) == {}


async def test_a_file_with_mistakes_is_told_before_anything_starts(run_command, fabric):
    path = fabric.config_file("test-1")
    path.write_text(path.read_text().replace("seeds = [", "seeds = [7, ", 1))
    (port,) = _free()
    ran = await run_command(CTL, "up", "--port", port)
    assert ran.code == 1
    assert str(path) in ran.err
    assert "node.seeds" in ran.err
    assert known_processes(fabric) == {}


def _free():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return [server.getsockname()[1]]
