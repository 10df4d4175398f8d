"""Non-blocking TCP sockets, as the two edges use them: bare ones, tried first and waited on after.

A socket here is a plain non-blocking :class:`socket.socket`, owned by one connection. The system
call is tried at once and the task waits only after EAGAIN: against ``trio.SocketStream`` that
saves a scheduler pass for each piece that was already there (measured, both ways of a bulk
transfer). Whoever loops over these without another checkpoint starves the process.
"""

from __future__ import annotations

import errno
import socket
import struct

import trio

READ_BYTES = 64 * 1024
"""Most taken by one receive where nobody says otherwise."""

BACKLOG = 4096
"""Connections that the kernel may complete before they are accepted; clipped to ``somaxconn``."""

_RESET_ON_CLOSE, _FIN_ON_CLOSE = struct.pack("ii", 1, 0), struct.pack("ii", 0, 0)

# A client that vanished without a FIN (power, NAT) is noticed after 60 + 4 x 15 seconds.
_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
)


def prepare(sock: socket.socket) -> None:
    """Make *sock* non-blocking, undelayed and kept alive; accepted ones inherit the options.

    However it is closed, the death of this process included, the other side sees an RST: it may
    take a FIN for the end of all there was. Only :func:`finish` closes without one.
    """
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    for level, option, value in _KEEPALIVE:
        sock.setsockopt(level, option, value)


async def receive(sock: socket.socket, at_most: int = READ_BYTES) -> bytes:
    """Return what is there, or wait for it; ``b""`` is the FIN. No checkpoint unless it waits."""
    while True:
        try:
            return sock.recv(at_most)
        except BlockingIOError:
            await trio.lowlevel.wait_readable(sock)


def receive_nowait(sock: socket.socket, at_most: int = READ_BYTES) -> bytes | None:
    """Return what is there, ``b""`` for the FIN, ``None`` when nothing is."""
    try:
        return sock.recv(at_most)
    except BlockingIOError:
        return None


async def send_all(sock: socket.socket, data: bytes) -> None:
    """Hand all of *data* to the kernel, waiting while its buffer is full.

    Raises :exc:`OSError` when the other side is gone. No checkpoint unless it waits.
    """
    try:
        sent = sock.send(data)
    except BlockingIOError:
        sent = 0
    if sent < len(data):
        await _send_rest(sock, memoryview(data)[sent:])


async def _send_rest(sock: socket.socket, rest: memoryview) -> None:
    while rest:
        await trio.lowlevel.wait_writable(sock)
        try:
            rest = rest[sock.send(rest) :]
        except BlockingIOError:
            continue


def send_eof(sock: socket.socket) -> None:
    """Send the FIN behind everything already sent; receiving goes on.

    Raises :exc:`OSError` when the other side has reset the connection.
    """
    sock.shutdown(socket.SHUT_WR)


def finish(sock: socket.socket) -> None:
    """Close once both sides have sent their FIN. What the kernel still holds goes on its way."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _FIN_ON_CLOSE)
    sock.close()


def reset(sock: socket.socket) -> None:
    """Close with RST: the other side must see that what it got is not all there was."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    sock.close()


async def connect(host: str, port: int) -> socket.socket:
    """Connect to an address or, over every address of its kind, to a name.

    Raises :exc:`OSError`. The caller bounds the wait and owns the socket.
    """
    family = family_of(host)
    if family is None:
        return await _connect_to_name(host, port)
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        prepare(sock)
        await _connected(sock, (host, port))
    except BaseException:
        sock.close()
        raise
    return sock


async def _connected(sock: socket.socket, address: tuple[str, int]) -> None:
    pending = sock.connect_ex(address)
    if pending == errno.EINPROGRESS:
        # On this machine's own addresses the answer is already there: asking again costs half
        # a microsecond, a wait a scheduler pass.
        pending = sock.connect_ex(address)
    if pending in (errno.EALREADY, errno.EINPROGRESS):
        await trio.lowlevel.wait_writable(sock)
        pending = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if pending not in (0, errno.EISCONN):
        raise OSError(pending, errno.errorcode.get(pending, "unknown error"))


async def _connect_to_name(host: str, port: int) -> socket.socket:
    stream = await trio.open_tcp_stream(host, port)
    sock = socket.socket(fileno=stream.socket.detach())
    prepare(sock)
    return sock


def family_of(host: str) -> socket.AddressFamily | None:
    """Tell an IPv4 from an IPv6 literal; None for a name, which has yet to be resolved."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host.partition("%")[0])
        except OSError:
            continue
        return family
    return None


async def listen(host: str, port: int) -> socket.socket:
    """Bind and listen on an address, or on the first one (IPv4 preferred) of a name.

    An IPv6 socket takes IPv6 only: what is not configured does not listen. Raises
    :exc:`OSError`; the caller owns the socket.
    """
    family, address = await _bindable(host, port)
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        prepare(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


async def _bindable(host: str, port: int) -> tuple[int, tuple[int | str | bytes, ...]]:
    found = await trio.socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return family, address
