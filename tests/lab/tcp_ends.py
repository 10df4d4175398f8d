"""Both TCP ends of a path through the fabric: a backend that does as it is told, and its clients.

A client's first line says what the backend is to do with the connection: see `TRICKS`.
"""

from __future__ import annotations

import hashlib
import struct
from contextlib import contextmanager, suppress

import pytest
import trio

from fabric.config import HostPort

PATTERN = bytes(range(256)) * 4096
"""1 MiB; what moved is compared by hash."""

MIB = len(PATTERN)

PIECE_BYTES = 1 << 16


# -- any end --


async def send_all(sock, data):
    rest = memoryview(data)
    while rest:
        rest = rest[await sock.send(rest) :]


async def send_pattern(sock, mebibytes):
    for _ in range(mebibytes):
        await send_all(sock, PATTERN)


def pattern_hash(mebibytes):
    digest = hashlib.sha256()
    for _ in range(mebibytes):
        digest.update(PATTERN)
    return digest.hexdigest()


async def receive_exactly(sock, size):
    """Raises :exc:`EOFError` when the FIN comes first."""
    data = b""
    while len(data) < size:
        piece = await sock.recv(size - len(data))
        if not piece:
            raise EOFError(f"a FIN after {len(data)} of {size} bytes")
        data += piece
    return data


async def receive_hash(sock):
    """Return the hash of everything up to the FIN."""
    digest = hashlib.sha256()
    while piece := await sock.recv(PIECE_BYTES):
        digest.update(piece)
    return digest.hexdigest()


async def receive_all(sock):
    pieces = []
    while piece := await sock.recv(PIECE_BYTES):
        pieces.append(piece)
    return b"".join(pieces)


def send_eof(sock):
    sock.shutdown(trio.socket.SHUT_WR)


def reset(sock):
    """Close by RST."""
    sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def open_socket(host, receive_buffer):
    family = trio.socket.AF_INET6 if ":" in host else trio.socket.AF_INET
    sock = trio.socket.socket(family, trio.socket.SOCK_STREAM)
    if receive_buffer is not None:
        sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, receive_buffer)
    return sock


# -- clients --


async def connect(address, *, receive_buffer=None):
    to = HostPort.parse(address)
    sock = open_socket(to.host, receive_buffer)
    try:
        await sock.connect((to.host, to.port))
    except BaseException:
        sock.close()
        raise
    return sock


async def ask(address, trick, *arguments):
    """Connect, and say what the backend is to do."""
    sock = await connect(address)
    await send_all(sock, " ".join([trick, *map(str, arguments)]).encode() + b"\n")
    return sock


async def echoes(address, data=b"ping"):
    """Whether a new connection gets *data* back. False for a reset or a refused connection."""
    try:
        with await ask(address, "echo") as sock:
            await send_all(sock, data)
            return await receive_exactly(sock, len(data)) == data
    except ConnectionError:
        return False


@contextmanager
def is_reset(within=5.0):
    """Demand an RST in time: a clean end, or none, fails the test."""
    with trio.fail_after(within), pytest.raises(ConnectionResetError):
        yield


# -- the backend --


async def serve(handler, host="127.0.0.1", receive_buffer=None, *, task_status):
    """Run *handler*(socket) per connection; tells where it listens as ``HOST:PORT``."""
    async with trio.open_nursery() as nursery:
        with open_socket(host, receive_buffer) as listener:
            await listener.bind((host, 0))
            listener.listen(4096)
            task_status.started(str(HostPort(host, listener.getsockname()[1])))
            while True:
                sock, _ = await listener.accept()
                nursery.start_soon(_handle, handler, sock)


async def _handle(handler, sock):
    with sock, suppress(OSError):  # not only ConnectionError: a FIN after their RST is ENOTCONN
        await handler(sock)


async def obey(sock):
    """Do what the first line says."""
    line = b""
    while not line.endswith(b"\n"):
        byte = await sock.recv(1)
        if not byte:
            return
        line += byte
    trick, *arguments = line.decode().split()
    await TRICKS[trick](sock, *map(int, arguments))


async def echo(sock):
    while piece := await sock.recv(PIECE_BYTES):
        await send_all(sock, piece)
    send_eof(sock)


async def say(sock, mebibytes):
    """Send so much, then FIN, then wait for the client's."""
    await send_pattern(sock, mebibytes)
    send_eof(sock)
    await receive_all(sock)


async def flood(sock):
    while True:
        await send_all(sock, PATTERN)


async def fingerprint(sock):
    """Answer with the hash of everything up to the client's FIN."""
    await send_all(sock, (await receive_hash(sock)).encode())
    send_eof(sock)


async def keep_silent(sock):
    await trio.sleep_forever()


async def echo_then_reset(sock, count):
    await send_all(sock, await receive_exactly(sock, count))
    reset(sock)


async def echo_then_close(sock, count):
    """A FIN while the client still sends, and the RST that follows from unread data."""
    await send_all(sock, await receive_exactly(sock, count))


TRICKS = {
    "echo": echo,
    "say": say,
    "flood": flood,
    "fingerprint": fingerprint,
    "silence": keep_silent,
    "echo-reset": echo_then_reset,
    "echo-close": echo_then_close,
}
