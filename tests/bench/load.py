"""TCP load and the backend it ends at: bulk both ways, kept and new connections, idle ones.

    load.py serve   HOST PORT COUNTER           the backend; PORT is free beforehand
    load.py check   HOST PORT SECONDS           16 MiB each way with equal hashes; tries again
                                                until SECONDS are over
    load.py up      HOST PORT STREAMS SECONDS COUNTER
    load.py down    HOST PORT STREAMS SECONDS
    load.py kept    HOST PORT STREAMS SECONDS   1 KiB there and back on connections that stay
    load.py connect HOST PORT STREAMS SECONDS   a new connection for each 1 KiB there and back
    load.py idle    HOST PORT STREAMS 0         one exchange on each, then all stay open and
                                                silent until standard input ends

One JSON line comes out. It uses the standard library alone and starts in 30 ms.

Theory of operation. One thread and one epoll on each side. The load takes its share of the cores
that are measured, so it does as little as Python can: one large buffer to send from and one to
receive into, both small enough for a core's cache (`sendfile` from memory costs twice as much),
no look at the bytes: `check` has looked beforehand. A connection's first byte says what the
backend does with the rest (`MODES`). Upload is counted where it arrives: the backend keeps one
running total in the first 8 bytes of COUNTER, a file that both map, so that counting needs no
message. Rates leave out the first fifth of SECONDS, in which windows grow.

A new connection is closed by the backend first: TIME_WAIT stays at its side and never uses up the
client's ports. Long streams end with a reset (SO_LINGER 0): what a path still holds is of no use.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import random
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from typing import ClassVar

KIB = 1024
BLOCK = 256 * KIB
"""Bytes for one send or receive: few calls, and both ends' buffers stay in a core's own cache."""
CHECKED = 16 * KIB * KIB
WARM_UP = 0.2
"""Part of a run that is not counted."""
RESET = struct.pack("ii", 1, 0)
PAYLOAD = random.Random(7).randbytes(BLOCK)
REQUEST = PAYLOAD[:KIB]


def mapped(path: str) -> memoryview:
    """The 64-bit total that backend and uploader share; one store or load, never torn."""
    with open(path, "r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), 8)).cast("Q")


# ---- the backend ----
class Backend:
    """Serves every connection of one listening socket, by the mode in its first byte."""

    def __init__(self, listener: socket.socket, total: memoryview) -> None:
        self.listener = listener
        self.total = total
        self.epoll = select.epoll()
        self.buffer = bytearray(BLOCK)
        self.open: dict[int, tuple[socket.socket, Callable[[socket.socket], bool]]] = {}

    def run(self) -> None:
        """Never returns. A connection that fails in any way is closed and forgotten."""
        self.epoll.register(self.listener, select.EPOLLIN)
        while True:
            for fd, events in self.epoll.poll():
                if fd == self.listener.fileno():
                    self.accept()
                    continue
                connection, serve = self.open[fd]
                try:
                    goes_on = not events & select.EPOLLRDHUP and serve(connection)
                except BlockingIOError:
                    continue
                except OSError:
                    goes_on = False
                if not goes_on:
                    del self.open[fd]
                    connection.close()

    def accept(self) -> None:
        try:
            connection, _ = self.listener.accept()
        except BlockingIOError:
            return
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.open[connection.fileno()] = connection, self.choose
        self.epoll.register(connection, select.EPOLLIN)

    def choose(self, connection: socket.socket) -> bool:
        serve = self.MODES.get(connection.recv(1))
        if serve is None:
            return False
        self.open[connection.fileno()] = connection, serve.__get__(self)
        if serve is Backend.pour:
            # the client's FIN ends it: a path that cannot pass a reset on would carry it for ever
            self.epoll.modify(connection, select.EPOLLOUT | select.EPOLLRDHUP)
        return True

    def swallow(self, connection: socket.socket) -> bool:
        arrived = connection.recv_into(self.buffer)
        self.total[0] += arrived
        return arrived > 0

    def pour(self, connection: socket.socket) -> bool:
        return connection.send(PAYLOAD) > 0

    def echo(self, connection: socket.socket) -> bool:
        data = connection.recv(KIB)
        return bool(data) and connection.send(data) == len(data)

    def answer_once(self, connection: socket.socket) -> bool:
        """Waits for all of a request before it answers, since it closes with the answer."""
        data = connection.recv(KIB, socket.MSG_PEEK)
        if len(data) < KIB and data:
            return True
        if data:
            connection.recv(KIB)
            connection.send(data)
        return False

    def verify(self, connection: socket.socket) -> bool:
        """Takes the whole of one turn; nothing else is served meanwhile."""
        connection.settimeout(20)
        received = hashlib.sha256()
        for piece in pieces(connection, CHECKED):
            received.update(piece)
        back = os.urandom(CHECKED)
        connection.sendall(received.digest() + hashlib.sha256(back).digest() + back)
        return False

    MODES: ClassVar = {b"U": swallow, b"D": pour, b"K": echo, b"N": answer_once, b"V": verify}


def pieces(connection: socket.socket, wanted: int) -> Iterator[bytes]:
    """Exactly `wanted` bytes as they come. Raises ConnectionError where the stream ends early."""
    while wanted:
        data = connection.recv(min(wanted, BLOCK))
        if not data:
            raise ConnectionError(f"the stream ended {wanted} bytes early")
        wanted -= len(data)
        yield data


def serve(host: str, port: int, counter: str) -> None:
    listener = socket.create_server((host, port), backlog=4096)
    listener.setblocking(False)
    Backend(listener, mapped(counter)).run()


# ---- the load ----
Address = tuple[str, int]
Result = dict[str, float]


def dial(address: Address, mode: bytes) -> socket.socket:
    """A connection that the backend will treat by `mode`; blocks at most 10 s, then never."""
    connection = socket.create_connection(address, 10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(mode)
    connection.setblocking(False)
    return connection


def hang_up(connections: list[socket.socket]) -> None:
    for connection in connections:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        connection.close()


def stream(
    address: Address,
    streams: int,
    seconds: float,
    mode: bytes,
    move: Callable[[int], object],
    moved: Callable[[], int],
) -> Result:
    """Calls `move` with each descriptor that is ready; the rate is of `moved` after warm-up."""
    connections = [dial(address, mode) for _ in range(streams)]
    epoll = select.epoll()
    for connection in connections:
        epoll.register(connection, select.EPOLLOUT if mode == b"U" else select.EPOLLIN)
    at_first, start = moved(), time.perf_counter()
    warm, end = start + WARM_UP * seconds, start + seconds
    base = 0
    while (now := time.perf_counter()) < end:
        if now >= warm:
            base, begun, warm = moved(), now, end
        for fd, _ in epoll.poll(0.05):
            move(fd)
    total, stopped = moved(), time.perf_counter()
    hang_up(connections)
    return {"mb_per_s": (total - base) / (stopped - begun) / 1e6, "mb": (total - at_first) / 1e6}


def up(address: Address, streams: int, seconds: float, counter: str) -> Result:
    total = mapped(counter)
    return stream(
        address,
        streams,
        seconds,
        b"U",
        lambda fd: os.write(fd, PAYLOAD),
        lambda: total[0],
    )


def down(address: Address, streams: int, seconds: float) -> Result:
    buffer, received = [bytearray(BLOCK)], 0

    def take(fd: int) -> None:
        nonlocal received
        arrived = os.readv(fd, buffer)
        if not arrived:
            raise ConnectionError("the backend's stream ended")
        received += arrived

    return stream(address, streams, seconds, b"D", take, lambda: received)


def kept(address: Address, streams: int, seconds: float) -> Result:
    """Microseconds are from before the send to after the last byte of the answer."""
    connections = {c.fileno(): c for c in (dial(address, b"K") for _ in range(streams))}
    epoll, sent, missing = select.epoll(), {}, dict.fromkeys(connections, KIB)
    for fd, connection in connections.items():
        epoll.register(fd, select.EPOLLIN)
        sent[fd] = time.perf_counter()
        connection.send(REQUEST)
    took: list[float] = []
    start = time.perf_counter()
    warm, end = start + WARM_UP * seconds, start + seconds
    while (now := time.perf_counter()) < end:
        if now >= warm:
            took.clear()
            start, warm = now, end
        for fd, _ in epoll.poll(1):
            connection = connections[fd]
            missing[fd] -= len(received(connection))
            if missing[fd] == 0:
                again = time.perf_counter()
                took.append(again - sent[fd])
                missing[fd], sent[fd] = KIB, again
                connection.send(REQUEST)
    elapsed = time.perf_counter() - start
    hang_up(list(connections.values()))
    return latencies(took) | {"per_s": len(took) / elapsed}


def received(connection: socket.socket) -> bytes:
    data = connection.recv(KIB)
    if not data:
        raise ConnectionError("a kept connection was closed")
    return data


def latencies(took: list[float]) -> Result:
    """Empty for no exchange at all, so that a dead path cannot look like a fast one."""
    if not took:
        return {}
    took.sort()
    return {
        "p50_us": took[len(took) // 2] * 1e6,
        "p99_us": took[len(took) * 99 // 100] * 1e6,
    }


class NewConnections:
    """`streams` at a time: connect, 1 KiB there and back, the backend's FIN, close, again."""

    def __init__(self, address: Address, streams: int) -> None:
        self.address = address
        self.epoll = select.epoll()
        self.open: dict[int, tuple[socket.socket, int]] = {}
        self.done = self.failed = 0
        for _ in range(streams):
            self.begin()

    def begin(self) -> None:
        connection = socket.socket()
        connection.setblocking(False)
        connection.connect_ex(self.address)
        self.open[connection.fileno()] = connection, -1
        self.epoll.register(connection, select.EPOLLOUT)

    def step(self, fd: int) -> None:
        connection, have = self.open[fd]
        try:
            if have < 0:
                connection.send(b"N" + REQUEST)
                self.epoll.modify(fd, select.EPOLLIN)
                self.open[fd] = connection, 0
            elif data := connection.recv(2 * KIB):
                self.open[fd] = connection, have + len(data)
            else:
                self.end(fd, is_whole=have == KIB)
        except BlockingIOError:
            return
        except OSError:
            self.end(fd, is_whole=False)

    def end(self, fd: int, *, is_whole: bool) -> None:
        connection, _ = self.open.pop(fd)
        connection.close()
        self.done += is_whole
        self.failed += not is_whole
        if not is_whole:
            time.sleep(0.001)  # a path that refuses must not be hammered into the ground
        self.begin()

    def run(self, until: float) -> None:
        while time.perf_counter() < until:
            for fd, _ in self.epoll.poll(0.05):
                self.step(fd)


def connect(address: Address, streams: int, seconds: float) -> Result:
    """`failed` counts connections that ended without their whole answer."""
    loads, start = NewConnections(address, streams), time.perf_counter()
    loads.run(start + WARM_UP * seconds)
    before, begun = loads.done, time.perf_counter()
    loads.run(start + seconds)
    rate = (loads.done - before) / (time.perf_counter() - begun)
    for connection, _ in loads.open.values():
        connection.close()
    return {"per_s": rate, "failed": loads.failed}


def idle(address: Address, streams: int, _: float) -> Result:
    """Opens in flights of 100; prints once all are open, and returns when standard input ends."""
    connections: list[socket.socket] = []
    start = time.perf_counter()
    while len(connections) < streams:
        flight = [dial(address, b"K") for _ in range(min(100, streams - len(connections)))]
        for connection in flight:
            connection.send(REQUEST)
        for connection in flight:
            connection.settimeout(20)
            for _piece in pieces(connection, KIB):
                pass
        connections += flight
    print(json.dumps({"opened_in_s": time.perf_counter() - start}), flush=True)
    sys.stdin.read()
    hang_up(connections)
    return {}


def check(address: Address, seconds: float) -> Result:
    """Retries a path that is not up yet. Raises what the last try raised once time is over."""
    end = time.monotonic() + seconds
    while True:
        start = time.monotonic()
        try:
            verify(address)
            return {"ready_after_s": time.monotonic() - start}
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def verify(address: Address) -> None:
    """Raises ValueError where a byte was changed, lost or repeated on either way."""
    payload = os.urandom(CHECKED)
    with dial(address, b"V") as connection:
        connection.settimeout(20)
        connection.sendall(payload)
        told = b"".join(pieces(connection, 64))
        got = hashlib.sha256()
        for piece in pieces(connection, CHECKED):
            got.update(piece)
    if told != hashlib.sha256(payload).digest() + got.digest():
        raise ValueError("what arrived is not what was sent")


def main() -> None:
    match sys.argv[1:]:
        case ["serve", host, port, counter]:
            serve(host, int(port), counter)
            return
        case ["check", host, port, seconds]:
            result = check((host, int(port)), float(seconds))
        case [
            ("up" | "down" | "kept" | "connect" | "idle") as name,
            host,
            port,
            n,
            seconds,
            *rest,
        ]:
            result = globals()[name]((host, int(port)), int(n), float(seconds), *rest)
        case _:
            sys.exit(__doc__)
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
