"""Ends that read slowly, or not at all, or end one direction first: little memory, whole bytes."""

from __future__ import annotations

import hashlib

import pytest
import trio
from attrs import define, field

from tests.lab.daemons import until
from tests.lab.tcp_ends import (
    MIB,
    PATTERN,
    PIECE_BYTES,
    ask,
    connect,
    echoes,
    pattern_hash,
    receive_all,
    receive_exactly,
    receive_hash,
    send_all,
    send_eof,
    send_pattern,
)

pytestmark = pytest.mark.slow

STALLED = 5
MOVED_MIB = 48
GROWTH = STALLED * 4 * MIB
"""At one node: twice a window of 1 MiB each, and as much again for pieces at the TCP side and for
what the allocator keeps. A tenth of what would come if nobody held it back."""

WITHIN = 20.0


@define
class Memory:
    """Resident bytes of both nodes, against those after a rush of the same kind."""

    path: object
    before: tuple[int, ...] = ()

    def now(self):
        return self.path.edge.rss, self.path.away.rss

    async def settle(self):
        """Have the path warm: buffers and arenas that any load leaves are no growth."""
        with await ask(self.path.address, "say", 16) as client:
            await receive_hash(client)
        with await ask(self.path.address, "fingerprint") as client:
            await send_pattern(client, 16)
            send_eof(client)
            await receive_all(client)
        self.before = self.now()

    def growth(self):
        return tuple(now - before for now, before in zip(self.now(), self.before, strict=True))


async def others_live(address):
    with trio.fail_after(1):
        assert await echoes(address, bytes(10_000))


async def no_more_moves(path):
    """Wait until the open channels stand still, as seen from their sending node."""

    async def moved():
        return [row["sent_bytes"] for row in (await path.away.snapshot())["channels"]] + [
            row["sent_bytes"] for row in (await path.edge.snapshot())["channels"]
        ]

    before, now = None, await moved()
    while before != now:
        await trio.sleep(0.4)
        before, now = now, await moved()


async def test_clients_that_stop_reading_cost_bounded_memory_and_lose_nothing(start_path):
    path = await start_path()
    memory = Memory(path)
    await memory.settle()
    clients = [await ask(path.address, "say", MOVED_MIB) for _ in range(STALLED)]
    for client in clients:  # until its window has grown to the full
        await receive_pattern(client, 4)
    await no_more_moves(path)
    await others_live(path.address)
    growth = memory.growth()
    print(f"grown by {[f'{size / MIB:.1f} MiB' for size in growth]}")
    assert max(growth) < GROWTH
    with trio.fail_after(WITHIN):
        for client in clients:
            with client:
                assert await receive_hash(client) == pattern_hash(MOVED_MIB - 4)


async def receive_pattern(sock, mebibytes):
    for _ in range(mebibytes):
        assert await receive_exactly(sock, MIB) == PATTERN


@define(eq=False)
class Gate:
    """A backend that stops reading until it is opened; it answers with the hash of all."""

    after_mib: int = 0
    opened: trio.Event = field(factory=trio.Event)

    async def handle(self, sock):
        first = await sock.recv(1)
        if first == b"e":  # somebody else's echo
            return await send_all(sock, await receive_exactly(sock, 9_999))
        digest = hashlib.sha256(first)
        digest.update(await receive_exactly(sock, self.after_mib * MIB))
        await self.opened.wait()
        while piece := await sock.recv(PIECE_BYTES):
            digest.update(piece)
        await send_all(sock, digest.hexdigest().encode())
        return send_eof(sock)


async def test_a_backend_that_stops_reading_costs_bounded_memory_and_loses_nothing(
    start_path, start_backend
):
    gate, warm = Gate(after_mib=4), trio.Event()
    path = await start_path(await start_backend(gate.handle))
    gate.opened.set()
    memory = Memory(path)
    await upload(path.address, 16, warm)
    memory.before = memory.now()
    gate.opened = trio.Event()

    async with trio.open_nursery() as nursery:
        for _ in range(STALLED):
            nursery.start_soon(upload, path.address, MOVED_MIB, trio.Event())
        await until(lambda: holds(path.away, STALLED))
        await no_more_moves(path)
        await echo_of_the_gate(path.address)
        growth = memory.growth()
        print(f"grown by {[f'{size / MIB:.1f} MiB' for size in growth]}")
        assert max(growth) < GROWTH
        gate.opened.set()
        nursery.cancel_scope.deadline = trio.current_time() + WITHIN
    assert not nursery.cancel_scope.cancelled_caught


async def upload(address, mebibytes, ended):
    """Send so much, FIN at once behind it, and compare the hash that comes back."""
    with await connect(address) as client:
        await send_pattern(client, mebibytes)
        send_eof(client)
        ended.set()
        assert (await receive_all(client)).decode() == pattern_hash(mebibytes)


async def holds(daemon, channels):
    return await daemon.count("fabric_channels_open", service="demo") == channels


async def echo_of_the_gate(address):
    with trio.fail_after(1), await connect(address) as client:
        await send_all(client, b"e" * 10_000)
        assert await receive_exactly(client, 9_999) == b"e" * 9_999


async def test_a_slow_client_gets_all_of_it_and_slows_nobody_else(start_path):
    path = await start_path()
    with await ask(path.address, "say", 8) as slow:
        digest = hashlib.sha256()
        for _ in range(40):
            piece = await receive_exactly(slow, PIECE_BYTES)
            digest.update(piece)
            await others_live(path.address)
        while piece := await slow.recv(PIECE_BYTES):
            digest.update(piece)
        assert digest.hexdigest() == pattern_hash(8)


async def test_a_server_goes_on_after_the_clients_fin(start_path, start_backend):
    """As FTP's data connection does, and `curl -T`."""

    async def answer_after_fin(sock):
        await receive_all(sock)
        await trio.sleep(0.2)  # the FIN has long arrived everywhere
        await send_pattern(sock, 16)
        send_eof(sock)

    path = await start_path(await start_backend(answer_after_fin))
    with trio.fail_after(WITHIN), await connect(path.address) as client:
        await send_all(client, b"RETR all\r\n")
        send_eof(client)
        assert await receive_hash(client) == pattern_hash(16)
    await path.edge.logged("ingress.closed", code="done")


async def test_a_client_goes_on_after_the_servers_fin(start_path, start_backend):
    heard = []

    async def fin_first(sock):
        await send_all(sock, b"150 go on\r\n")
        send_eof(sock)
        heard.append(await receive_hash(sock))

    path = await start_path(await start_backend(fin_first))
    with trio.fail_after(WITHIN), await connect(path.address) as client:
        assert await receive_all(client) == b"150 go on\r\n"
        await trio.sleep(0.2)  # the FIN has long arrived everywhere
        await send_pattern(client, 16)
        send_eof(client)
        await until(lambda: heard)
    assert heard == [pattern_hash(16)]
    await path.away.logged("channel.closed", code="done")


HELD_MIB = 6
"""More than the reader's side takes without reading, less than both sides and the fabric hold."""

SMALL_BUFFER = 1 << 16
"""Of the kernel, at the end that does not read: what is sent then waits in the fabric."""


async def test_a_fin_behind_a_stalled_upload_comes_after_the_last_byte(start_path, start_backend):
    gate, ended = Gate(), trio.Event()
    path = await start_path(await start_backend(gate.handle, receive_buffer=SMALL_BUFFER))
    with trio.fail_after(WITHIN):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(upload, path.address, HELD_MIB, ended)
            await ended.wait()
            await no_more_moves(path)
            (row,) = (await path.away.snapshot())["channels"]
            assert row["received_bytes"] < HELD_MIB * MIB, "nothing was held back"
            gate.opened.set()


async def test_a_fin_behind_a_stalled_download_comes_after_the_last_byte(
    start_path, start_backend
):
    ended = trio.Event()

    async def all_and_fin(sock):
        await send_pattern(sock, HELD_MIB)
        send_eof(sock)
        ended.set()
        await receive_all(sock)

    path = await start_path(await start_backend(all_and_fin))
    with (
        trio.fail_after(WITHIN),
        await connect(path.address, receive_buffer=SMALL_BUFFER) as client,
    ):
        await ended.wait()
        await no_more_moves(path)
        (row,) = (await path.edge.snapshot())["channels"]
        assert row["received_bytes"] < HELD_MIB * MIB, "nothing was held back"
        assert await receive_hash(client) == pattern_hash(HELD_MIB)
