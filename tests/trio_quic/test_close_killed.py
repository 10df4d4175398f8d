"""A peer whose process is killed: noticed by silence, or at once when it comes back."""

from __future__ import annotations

import subprocess
import sys

import pytest
import trio

from fabric.trio_quic import ConnectionClosed, Settings, codes, open_endpoint

ACCEPTOR = """
import sys, trio
from fabric.testing.quic import an_identity
from fabric.trio_quic import open_endpoint

async def main(port):
    async with open_endpoint(
        "127.0.0.1", port, identity=an_identity(2).identity, reset_key=b"k" * 32
    ) as endpoint:
        print(endpoint.address[1], flush=True)
        while True:
            (await endpoint.accept()).admit()

trio.run(main, int(sys.argv[1]))
"""


def start(port=0):
    command = [sys.executable, "-c", ACCEPTOR, str(port)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def acceptor():
    with start() as process:
        yield process, int(process.stdout.readline())
        process.kill()


async def test_a_killed_peer_is_noticed_by_its_silence(acceptor, dials):
    process, port = acceptor
    impatient = Settings(idle_timeout=1.0)
    async with open_endpoint(
        "127.0.0.1", 0, identity=dials.identity, settings=impatient
    ) as endpoint:
        connection = await endpoint.connect(("127.0.0.1", port), pin=None)
        process.kill()
        stream = await connection.open_stream()
        killed = trio.current_time()
        await stream.send_all(b"into the void")
        with pytest.raises(ConnectionClosed) as closed:
            await stream.receive_some()
        assert closed.value.code == codes.IDLE_TIMEOUT
        assert trio.current_time() - killed < 2.5


async def test_a_restarted_peer_says_that_it_forgot_us(acceptor, dials):
    process, port = acceptor
    async with open_endpoint("127.0.0.1", 0, identity=dials.identity) as endpoint:
        connection = await endpoint.connect(("127.0.0.1", port), pin=None)
        await connection.ping()
        process.kill()
        process.wait()
        with start(port) as restarted:
            try:
                restarted.stdout.readline()
                stream = await connection.open_stream()
                spoken = trio.current_time()
                await stream.send_all(b"do you know me?")
                with pytest.raises(ConnectionClosed):
                    await stream.receive_some()
                assert trio.current_time() - spoken < 1
                again = await endpoint.connect(("127.0.0.1", port), pin=None)
                assert await again.ping() < 1
            finally:
                restarted.kill()
