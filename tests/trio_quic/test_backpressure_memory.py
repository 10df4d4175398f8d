"""What a stalled stream costs, engine included: resident memory of each end, in two processes."""

from __future__ import annotations

import subprocess
import sys

import pytest

STREAMS = 20
KIB = 1024

END = '''
import ctypes, sys, psutil, trio
from fabric.testing.quic import ACCEPTOR, DIALLER, an_identity
from fabric.trio_quic import Settings, open_endpoint

STREAMS, GROWN = int(sys.argv[1]), int(sys.argv[2])
SETTINGS = Settings(max_datagram_bytes=1452)
BLOCK = bytes(1 << 16)  # what a sender holds while it waits is not the driver's

def resident():
    ctypes.CDLL(None).malloc_trim(0)  # or what the warm-up left would hide what comes
    return psutil.Process().memory_info().rss

async def take(stream, size):
    while size > 0:
        size -= len(await stream.receive_some())

async def accept():
    """Read as many bytes as told of each stream, then stall; say what that costs."""
    async with open_endpoint(
        "127.0.0.1", 0, identity=an_identity(ACCEPTOR).identity, settings=SETTINGS
    ) as endpoint:
        print(endpoint.address[1], flush=True)
        connection = await endpoint.accept()
        connection.admit()
        warm = await connection.accept_stream()
        await take(warm, 8 << 20)
        before = resident()
        await warm.send_all(b"go")
        streams = []
        for _ in range(STREAMS):
            stream = await connection.accept_stream()
            await take(stream, GROWN)
            streams.append(stream)
        await trio.sleep(1.5)
        window = sum(stream.unread for stream in streams) // STREAMS
        print(window, (resident() - before) // STREAMS, flush=True)
        connection.close()
        await trio.sleep(0.2)

async def dial(port):
    async with open_endpoint(
        "127.0.0.1", 0, identity=an_identity(DIALLER).identity, settings=SETTINGS
    ) as endpoint:
        connection = await endpoint.connect(("127.0.0.1", port), pin=None)
        async def pour(stream, size):
            try:
                while size > 0:
                    await stream.send_all(BLOCK)
                    size -= 1 << 16
            except trio.BrokenResourceError:
                pass
        async with trio.open_nursery() as nursery:
            warm = await connection.open_stream()
            await pour(warm, 8 << 20)
            await warm.receive_some()
            before = resident()
            for _ in range(STREAMS):
                nursery.start_soon(pour, await connection.open_stream(), 1 << 40)
            with trio.move_on_after(1.2):
                await connection.wait_closed()
            await trio.sleep(0)
            print((resident() - before) // STREAMS, flush=True)
            await connection.wait_closed()

trio.run(accept) if len(sys.argv) == 3 else trio.run(dial, int(sys.argv[3]))
'''


def start(*arguments):
    command = [sys.executable, "-c", END, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("grown", [0, 2 << 20])
def test_a_stalled_stream_costs_less_than_twice_its_window(grown):
    """Fresh streams at their first window, and grown ones that stall later."""
    with start(STREAMS, grown) as acceptor:
        port = int(acceptor.stdout.readline())
        with start(STREAMS, grown, port) as dialler:
            window, held = map(int, acceptor.stdout.readline().split())
            queued = int(dialler.stdout.readline())
            dialler.wait(timeout=10)
        acceptor.wait(timeout=10)
    assert window >= 63 * KIB
    assert held < 2 * window
    assert queued < 2 * window
