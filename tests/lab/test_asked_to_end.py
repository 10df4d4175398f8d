"""SIGTERM in the middle of a transfer: it finishes, nothing new begins, and there is an end."""

from __future__ import annotations

import signal
from contextlib import asynccontextmanager

import pytest
import trio

from tests.lab.daemons import until
from tests.lab.tcp_ends import (
    MIB,
    ask,
    connect,
    echoes,
    is_reset,
    pattern_hash,
    receive_all,
    receive_exactly,
    receive_hash,
    send_eof,
    send_pattern,
)

pytestmark = pytest.mark.slow

MOVED_MIB = 64
WITHIN = 10.0


@asynccontextmanager
async def transfers(address):
    """Hold an upload and a download in their middle; at the end of the block let both finish.

    Whole is what counts: the hash over all of it, each way.
    """
    with (
        await ask(address, "fingerprint") as upload,
        await ask(address, "say", MOVED_MIB) as download,
    ):
        await send_pattern(upload, 1)
        await receive_exactly(download, MIB)
        yield
        with trio.fail_after(WITHIN):
            await send_pattern(upload, MOVED_MIB - 1)
            send_eof(upload)
            assert (await receive_all(upload)).decode() == pattern_hash(MOVED_MIB)
            assert await receive_hash(download) == pattern_hash(MOVED_MIB - 1)


async def test_an_egress_that_is_asked_to_end_finishes_transfers_and_takes_no_more(start_path):
    path = await start_path()
    async with transfers(path.address):
        await path.away.signal(signal.SIGTERM)
        await path.edge.logged("peer.draining")
        with is_reset(within=1), await ask(path.address, "echo") as late:
            await receive_all(late)
    with trio.fail_after(WITHIN):
        assert await path.away.ended() == 0
    assert {line["code"] for line in path.away.lines("channel.closed")} == {"done"}
    assert await path.edge.count("fabric_ingress_connections_refused_total", code="draining")

    await path.away.start()
    with trio.fail_after(WITHIN):
        await until(lambda: echoes(path.address))


async def test_an_ingress_that_is_asked_to_end_finishes_transfers_and_takes_no_more(start_path):
    path = await start_path()
    async with transfers(path.address):
        await path.edge.signal(signal.SIGTERM)
        await path.edge.logged("listener.closed")
        with pytest.raises(ConnectionRefusedError):
            await connect(path.address)
    with trio.fail_after(WITHIN):
        assert await path.edge.ended() == 0
    await until(lambda: len(path.away.lines("channel.closed")) == 2)
    assert {line["code"] for line in path.away.lines("channel.closed")} == {"done"}


@pytest.mark.parametrize("asked", ["edge", "away"])
async def test_a_transfer_that_outlives_the_drain_is_reset_with_a_code_at_both_ends(
    start_path, asked
):
    path = await start_path(node={"drain_timeout_s": 1})
    daemon = getattr(path, asked)
    with await ask(path.address, "silence") as client:
        await until(lambda: path.away.count("fabric_channels_open", service="demo"))
        await daemon.signal(signal.SIGTERM)
        with is_reset(within=3):
            await receive_all(client)
    with trio.fail_after(WITHIN):
        assert await daemon.ended() == 0
    await path.edge.logged("ingress.closed", code="drain_timeout")
    await path.away.logged("channel.closed", code="drain_timeout")


async def test_a_second_sigterm_ends_a_drain_at_once(start_path):
    path = await start_path()
    with await ask(path.address, "silence") as client:
        await until(lambda: path.away.count("fabric_channels_open", service="demo"))
        await path.away.signal(signal.SIGTERM)
        await path.edge.logged("peer.draining")
        await path.away.signal(signal.SIGTERM)
        with trio.fail_after(5):
            assert await path.away.ended() == 0
        with is_reset(within=1):
            await receive_all(client)
