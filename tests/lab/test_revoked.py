"""A member that is revoked while it works: out everywhere, by one record handed to one node."""

from __future__ import annotations

import json

import pytest
import trio
from attrs import evolve

from fabric.core.codec.envelopes import envelope_to_json
from fabric.core.codec.records import decode_record
from fabric.store.signed_files import load_envelope
from tests.lab.conftest import START_WITHIN, grant_demo
from tests.lab.daemons import free_port, until
from tests.lab.tcp_ends import ask, connect, is_reset, receive_all, receive_exactly

pytestmark = pytest.mark.slow

OUT_WITHIN = 2.0
"""Seconds until no node keeps a link to it."""

OTHERS = ("edge", "one", "two")


def tombstone_of(name, lab):
    """Return, as its file would be, what ends the record of the member *name*."""
    fabric = lab.papers.fabric
    path = lab.papers.records / "node" / f"{fabric.node_id(name)}.json"
    record = decode_record(load_envelope(path).payload)
    revoked = evolve(record, revoked=True, generation=record.generation + 1)
    return json.loads(envelope_to_json(fabric.signed(revoked)))


async def is_out(daemon, name):
    """Whether *daemon* has no link to *name* and takes it for no member."""
    row = await daemon.peer(name)
    members = (await daemon.admin.members())["members"]
    return row is None and name not in {each["name"] for each in members}


async def test_whoever_is_revoked_is_out_everywhere_within_seconds(lab, start_backend):
    grant_demo(lab)
    lab.expected.add("node.revoked")
    listener = {"listen": f"127.0.0.1:{free_port()}", "service": "demo"}
    services = {"demo": {"backend": await start_backend()}}
    edge = lab.declare("edge", "ingress", listeners=[listener])
    away = lab.declare("away", "egress", services=services)
    others = [edge, lab.declare("one"), lab.declare("two")]
    with trio.fail_after(START_WITHIN):
        await lab.start()

    with await ask(edge.address, "flood") as client:
        await receive_exactly(client, 1_000_000)
        links = [each.lines("peer.connected", peer="away") for each in others]
        began = trio.current_time()
        await others[-1].admin.publish(tombstone_of("away", lab))
        with trio.fail_after(OUT_WITHIN):
            for daemon in others:
                await until(lambda daemon=daemon: is_out(daemon, "away"))
        print(f"out everywhere after {trio.current_time() - began:.2f} s")
        with is_reset(within=2):  # what it was serving ends too
            await receive_all(client)

    for daemon in others:
        await daemon.logged("peer.dropped", peer="away", code="revoked")
        (row,) = [each for each in (await daemon.snapshot())["services"] if each["name"] == "demo"]
        assert row["instances"] == []
    with is_reset(within=2), await connect(edge.address) as client:
        await receive_all(client)
    assert (await edge.logged("ingress.refused"))["code"] == "no_instance"

    refused = await away.logged("peer.refused", code="revoked", side="dialler")
    assert refused["remedy"]
    with trio.fail_after(10):
        await until(lambda: any(each.lines("peer.refused", code="revoked") for each in others))
    await away.kill()
    await away.start()
    await away.logged("peer.refused", code="revoked", side="dialler")
    await away.logged("node.revoked", within=2)  # by heart, or because it was handed the record
    assert [each.lines("peer.connected", peer="away") for each in others] == links
