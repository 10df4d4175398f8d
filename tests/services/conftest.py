"""A fabric without nodes: channels in memory that break, refuse and push back as real ones do."""

from __future__ import annotations

import itertools
import socket
from collections import deque
from contextlib import asynccontextmanager, contextmanager, suppress

import pytest
import trio
from attrs import Factory, define, field

from fabric.codes import Code
from fabric.config import HostPort, ListenerConfig, ServiceConfig
from fabric.errors import ChannelBroken, RefusedError
from fabric.runtime.metrics import Metrics
from services import tcp
from services.egress import open_egress
from services.ingress import open_ingress

WINDOW_BYTES = 256 * 1024


@define(eq=False)
class Pipe:
    """One direction: at most a window and a piece, then the sender waits."""

    pieces: deque[bytes] = Factory(deque)
    held: int = 0
    finished: bool = False
    broken: Code | None = None
    moved: trio.lowlevel.ParkingLot = Factory(trio.lowlevel.ParkingLot)

    async def put(self, data):
        await trio.lowlevel.checkpoint()
        while self.held >= WINDOW_BYTES and self.broken is None:
            await self.moved.park()
        self.check()
        self.pieces.append(data)
        self.held += len(data)
        self.moved.unpark_all()

    async def take(self):
        await trio.lowlevel.checkpoint()
        while not self.pieces and not self.finished and self.broken is None:
            await self.moved.park()
        self.check()
        if not self.pieces:
            return b""
        data = self.pieces.popleft()
        self.held -= len(data)
        self.moved.unpark_all()
        return data

    def check(self):
        if self.broken is not None:
            raise ChannelBroken(self.broken)

    def finish(self):
        self.finished = True
        self.moved.unpark_all()

    def breaks(self, code):
        if self.broken is None:
            self.broken = code
            self.pieces.clear()
            self.moved.unpark_all()


@define(eq=False)
class MemoryChannel:
    """One end of a channel; `reset_with` is the code that this end gave."""

    id: str
    service: str
    client: str | None
    out: Pipe
    into: Pipe
    peer: str = "memory"
    reset_with: Code | None = None
    answered: trio.Event = Factory(trio.Event)
    refused: Code | None = None
    has_line: bool = True
    run_bytes: int = 32 * 1024

    async def send_all(self, data):
        await self.out.put(data)

    async def send_all_eof(self, data):
        await self.out.put(data)
        await self.send_eof()

    async def send_eof(self):
        await trio.lowlevel.checkpoint()
        self.out.check()
        self.out.finish()

    async def receive_some(self):
        return await self.into.take()

    def reset(self, code):
        self.reset_with = self.reset_with or code
        self.out.breaks(code)
        self.into.breaks(code)

    async def accept(self):
        await trio.lowlevel.checkpoint()
        self.answered.set()

    async def refuse(self, code, detail=""):
        await trio.lowlevel.checkpoint()
        self.refused = code
        self.answered.set()


def channel_pair(service="demo", client=None, number=1):
    there, back = Pipe(), Pipe()
    name = f"{number:032x}"
    return (
        MemoryChannel(name, service, client, there, back),
        MemoryChannel(name, service, client, back, there),
    )


@define(eq=False)
class MemoryFabric:
    """What an ingress and an egress need of a node: both ends of every channel in one place."""

    nursery: trio.Nursery
    handlers: dict = field(factory=dict)
    opened: list[MemoryChannel] = field(factory=list)
    served: list[MemoryChannel] = field(factory=list)
    metrics: Metrics = field(factory=Metrics)
    numbers: itertools.count = field(factory=lambda: itertools.count(1))

    @asynccontextmanager
    async def open_channel(self, service, *, client=None, deadline=5.0):
        if service not in self.handlers:
            raise RefusedError(Code.NO_INSTANCE)
        near, far = channel_pair(service, client, next(self.numbers))
        self.opened.append(near)
        self.served.append(far)
        self.nursery.start_soon(self.handlers[service], far)
        with trio.move_on_after(deadline) as opening:
            await far.answered.wait()
        if opening.cancelled_caught:
            near.reset(Code.DEADLINE)
            raise RefusedError(Code.DEADLINE)
        if far.refused is not None:
            raise RefusedError(far.refused, hop="far", channel_id=near.id)
        try:
            yield near
        except BaseException:
            near.reset(Code.CANCELLED)
            raise
        near.out.finish()

    async def serve(self, service, handler, *, auto_accept=True, handler_nursery=None):
        assert not auto_accept
        self.handlers[service] = handler
        try:
            await trio.sleep_forever()
        finally:
            del self.handlers[service]


@pytest.fixture
async def memory_fabric(nursery):
    return MemoryFabric(nursery)


@pytest.fixture
def tcp_pair():
    """Yield a function that makes a connected pair of non-blocking sockets: (near, far)."""
    made = []

    def make(host="127.0.0.1"):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, 0), family=family) as listener:
            near = socket.create_connection(listener.getsockname()[:2])
            far, _ = listener.accept()
        for sock in (near, far):
            tcp.prepare(sock)
            made.append(sock)
        return near, far

    yield make
    for sock in made:
        sock.close()


@pytest.fixture
def pair_of_channels():
    return channel_pair


def _service(name="demo", **settings):
    return ServiceConfig(name=name, **settings)


def _listener(service="demo", listen="127.0.0.1:0", **settings):
    return ListenerConfig(listen=HostPort.parse(listen), service=service, **settings)


@pytest.fixture
def a_service():
    return _service


@pytest.fixture
def a_listener():
    return _listener


@define(eq=False)
class Edge:
    """An ingress and an egress back to back, and where to knock."""

    fabric: MemoryFabric
    ingress: object
    egress: object

    @property
    def ports(self):
        return [HostPort.parse(row["listen"]).port for row in self.ingress.rows()]

    async def connect(self, number=0):
        row = HostPort.parse(self.ingress.rows()[number]["listen"])
        return await tcp.connect(row.host, row.port)


@pytest.fixture
def open_edge(memory_fabric):
    """Return `open_edge(backend, listener={…}, service={…})`, a context manager for an Edge."""

    @asynccontextmanager
    async def open_(backend=None, *, listener=None, service=None, listeners=None):
        offered = _service(backend=backend, **(service or {}))
        services = {offered.name: offered}
        wanted = listeners or [_listener(**(listener or {}))]
        metrics = memory_fabric.metrics
        async with (
            open_egress(memory_fabric, services.values(), metrics) as egress,
            open_ingress(memory_fabric, wanted, services, metrics) as ingress,
        ):
            await trio.testing.wait_all_tasks_blocked()
            yield Edge(memory_fabric, ingress, egress)

    return open_


@pytest.fixture
async def start_backend(nursery):
    """Return `await start_backend(handler)`: its HostPort; each raw socket goes to the handler."""

    async def handle(handler, sock):
        with sock, suppress(ConnectionError):  # it is the other side that is tested
            await handler(sock)
            if sock.fileno() != -1:
                tcp.finish(sock)  # a backend that has done its part

    async def start(handler, host="127.0.0.1"):
        sock = await tcp.listen(host, 0)

        async def run():
            with sock:
                while True:
                    await trio.lowlevel.wait_readable(sock)
                    accepted, _ = sock.accept()
                    accepted.setblocking(False)
                    nursery.start_soon(handle, handler, accepted)

        nursery.start_soon(run)
        return HostPort(host, sock.getsockname()[1])

    return start


async def echo(sock):
    while data := await tcp.receive(sock):
        await tcp.send_all(sock, data)
        await trio.lowlevel.checkpoint()
    tcp.send_eof(sock)


@pytest.fixture
async def echo_backend(start_backend):
    return await start_backend(echo)


async def read_to_end(sock):
    """Everything until the FIN; raises ConnectionResetError on an RST."""
    pieces = []
    while piece := await tcp.receive(sock):
        pieces.append(piece)
        await trio.lowlevel.checkpoint()
    return b"".join(pieces)


@pytest.fixture
def received():
    return read_to_end


@contextmanager
def _resets():
    with pytest.raises(ConnectionResetError):
        yield


@pytest.fixture
def resets():
    """Return a context manager that demands an RST; a FIN or a hang fails the test."""
    return _resets
