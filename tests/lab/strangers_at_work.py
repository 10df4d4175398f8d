"""The processes of the three strangers' test, each one role; started by played.py.

``strangers_at_work.py ROLE JSON`` runs until its standard input ends. The acceptor prints a JSON
line of measurements ten times a second; the others print one when they are ready, and strangers
how much they have done by then about ten times a second.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import socket
import struct
import sys
from time import monotonic, sleep

import psutil
import trio

from fabric.testing.eavesdropping import open_overheard_socket
from fabric.testing.hostile import a_short_hello, hello_datagrams
from fabric.testing.quic import ACCEPTOR, an_identity
from fabric.trio_quic import Settings, open_endpoint, open_endpoint_on

PASSWORD = b"one of us".ljust(32, b".")
"""In place of Hello: whoever says it first is admitted."""

CHUNK = bytes(1 << 18)
EXPECTED = (trio.BrokenResourceError, trio.ClosedResourceError)


def say(**facts):
    print(json.dumps(facts), flush=True)


# -- the one under attack --


class Acceptor:
    """Admits who knows the password; swallows what the admitted send; never admits others."""

    def __init__(self):
        self.received = 0
        self.admitted = 0

    async def serve(self, endpoint):
        async with trio.open_nursery() as nursery:
            while True:
                nursery.start_soon(self.greet, await endpoint.accept())

    async def greet(self, connection):
        try:
            stream = await connection.accept_stream()
            if await read_exactly(stream, len(PASSWORD)) == PASSWORD:
                connection.admit()
                self.admitted += 1
                await stream.send_all(b"welcome")
                while piece := await stream.receive_some():
                    self.received += len(piece)
        except EXPECTED:
            return  # the connection is over, whoever ended it

    async def report(self, endpoint):
        process = psutil.Process()
        while True:
            say(
                at=monotonic(),
                received=self.received,
                rss=process.memory_info().rss,
                connections=len(endpoint.connections),
                retries=endpoint.counters.retries_sent,
                dropped=endpoint.counters.strangers_dropped,
                datagrams=endpoint.counters.datagrams_received,
            )
            await trio.sleep(0.1)


async def read_exactly(stream, size):
    data = b""
    while len(data) < size and (piece := await stream.receive_some(size - len(data))):
        data += piece
    return data


async def accept(*, known, **settings):
    acceptor = Acceptor()
    async with (
        open_endpoint(
            "127.0.0.1",
            0,
            identity=an_identity(ACCEPTOR).identity,
            settings=Settings(max_datagram_bytes=1452, **settings),
        ) as endpoint,
        trio.open_nursery() as nursery,
    ):
        endpoint.exempt = lambda address: list(address) == known
        say(port=endpoint.address[1])
        nursery.start_soon(acceptor.serve, endpoint)
        nursery.start_soon(acceptor.report, endpoint)
        await until_input_ends()
        nursery.cancel_scope.cancel()


# -- the transfer --


async def transfer(*, port, eavesdropper):
    transport = open_overheard_socket(
        "127.0.0.1", 0, buffer_bytes=4 << 20, towards=port, heard_at=eavesdropper
    )
    async with open_endpoint_on(
        transport, identity=an_identity(1).identity, settings=Settings(max_datagram_bytes=1452)
    ) as endpoint:
        connection = await endpoint.connect(("127.0.0.1", port), pin=an_identity(ACCEPTOR).public)
        stream = await connection.open_stream()
        await stream.send_all(PASSWORD)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pour, stream)
            say(ready=True)
            await until_input_ends()
            nursery.cancel_scope.cancel()


async def pour(stream):
    while True:
        await stream.send_all(CHUNK)


# -- the strangers --

GIVES_WAY = 10
"""How nice strangers are: what they do is the attack, what it costs them is not."""


def mutate(*, port, capture, per_second=20_000):
    """Copies of live packets, connection ID untouched, everything after it changed."""
    chance, to = random.Random(1), ("127.0.0.1", port)
    ears = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ears.bind(("127.0.0.1", capture))
    ears.settimeout(10)
    mouth = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    say(ready=True)
    pool = [ears.recv(2048)]
    ears.setblocking(False)
    for _ in paced(per_second, 100):
        overhear(ears, pool)
        for _ in range(100):
            copy = bytearray(chance.choice(pool))
            copy[chance.randrange(9, len(copy))] ^= 1 << chance.randrange(8)
            mouth.sendto(copy, to)


def overhear(ears, pool):
    try:
        while True:
            pool.append(ears.recv(2048))
    except BlockingIOError:
        del pool[:-64]


def initials(*, port, per_second=2_000):
    """Valid first packets from 40 ports of 250 addresses each; no answer is ever taken."""
    hello, to = a_short_hello(), ("127.0.0.1", port)
    packets = [
        hello_datagrams(hello.message, source_cid=hello.source_cid)[0] for _ in range(10_000)
    ]
    mouths = [deaf_socket() for _ in range(40)]
    sources = itertools.cycle(range(10_000))
    say(ready=True)
    for _ in paced(per_second, 20):
        for number in itertools.islice(sources, 20):
            address = bytes([127, 7, number // 250 % 40, number % 250 + 1])
            info = [(socket.IPPROTO_IP, IP_PKTINFO, struct.pack("=I4s4s", 0, address, bytes(4)))]
            mouths[number // 250].sendmsg([packets[number]], info, 0, to)


IP_PKTINFO = 8  # linux/in.h; names the source address of one send


def deaf_socket():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
    sock.bind(("0.0.0.0", 0))
    return sock


CATCHES_UP = 0.1
"""Seconds of its work that a stranger makes good when it was kept from it: what was to be spread
over a second is another attack when it comes in a tenth of one."""


def paced(per_second, batch):
    """Yield once for every *batch* of what must happen *per_second* times; say how many did."""
    due = monotonic()
    for done in itertools.count(batch, batch):
        yield
        if done % (per_second // 10) == 0:
            say(done=done)
        due = max(due, monotonic() - CATCHES_UP) + batch / per_second
        if (early := due - monotonic()) > 0:
            sleep(early)


async def handshakes(*, port, per_second=50):
    """Strangers with unknown keys that open every stream they may and fill it.

    Every other one leaves its first at half a frame: whoever reads a Hello there waits for more.
    """
    async with (
        open_endpoint("127.0.0.1", 0, identity=an_identity(666).identity) as endpoint,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(knock, endpoint, ("127.0.0.1", port), per_second)
        say(ready=True)
        await until_input_ends()
        nursery.cancel_scope.cancel()


async def knock(endpoint, to, per_second):
    due, met = trio.current_time(), itertools.count(1)
    async with trio.open_nursery() as nursery:
        for number in itertools.count():
            first = FILLING if number % 2 else HALF_A_FRAME
            nursery.start_soon(visit, endpoint, to, first, met)
            due = max(due, trio.current_time() - CATCHES_UP) + 1 / per_second
            await trio.sleep_until(due)


FILLING = os.urandom(32) + bytes(64_000)
HALF_A_FRAME = bytes([0, 0, 1])


async def visit(endpoint, to, first, met):
    try:
        connection = await endpoint.connect(to, pin=None, timeout=5)
        say(done=next(met))
        async with trio.open_nursery() as nursery:
            for number in range(400):
                stream = await connection.open_stream()
                nursery.start_soon(fill, stream, FILLING if number else first)
                if number % 20 == 19:
                    await trio.sleep(0.01)
    except* EXPECTED:
        pass  # refused, as strangers are


async def fill(stream, data):
    await stream.send_all(data)
    await trio.sleep_forever()


async def until_input_ends():
    await trio.to_thread.run_sync(sys.stdin.buffer.read, abandon_on_cancel=True)


ASYNC_ROLES = {"accept": accept, "transfer": transfer, "handshakes": handshakes}
ROLES = {"mutate": mutate, "initials": initials}
STRANGERS = ("mutate", "initials", "handshakes")


async def play(role, options):
    await ASYNC_ROLES[role](**options)


def main():
    role, options = sys.argv[1], json.loads(sys.argv[2])
    if role in STRANGERS:
        os.nice(GIVES_WAY)
    if role in ROLES:
        ROLES[role](**options)  # until it is killed: it waits for nothing
    else:
        trio.run(play, role, options)


if __name__ == "__main__":
    main()
