"""One UDP socket that moves many datagrams per system call, with GSO and GRO where they exist.

Segmentation offload (GSO) sends a run of equal datagrams with one call, receive offload (GRO)
hands a run of them over as one buffer. Together they are worth a factor of four on loopback;
either alone is worth nothing. Both are probed, and a kernel or driver that refuses GSO later
turns it off for good: the same bytes are then sent one by one.
"""

from __future__ import annotations

import errno
import socket
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

import trio
from attrs import define, field

UDP_SEGMENT = 103  # linux/udp.h; the socket module has names for neither
UDP_GRO = 104

MAX_READ = 65_535
"""GRO never hands over more; less would truncate."""

MAX_SEGMENTS = 64
"""Datagrams per send. This kernel takes 128, older ones 64."""

MAX_GSO_BYTES = 65_474
"""Payload of one send: with link, IPv6 and UDP headers still a 64 KiB buffer. Up to 65,507 the
kernel takes it, but what passes 65,536 with its headers arrives as single datagrams (measured:
46 x 1424 bytes, and a third of the rate)."""

MAX_QUEUED = 4096
"""Datagrams kept while the socket is not writable; beyond it they are dropped, as routers do."""

_ANCILLARY = socket.CMSG_SPACE(4)
_NO_GSO = frozenset({errno.EIO, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOPROTOOPT})

SockAddr = Any
"""As the socket module has it: (host, port) or (host, port, flow, scope)."""


@define
class UdpCounters:
    """Counted since the socket was opened; single writer, read by anyone."""

    datagrams_sent: int = 0
    sends: int = 0
    reads: int = 0
    send_errors: int = 0
    receive_errors: int = 0
    dropped_unsent: int = 0
    gso_refused: int = 0


class Transport(Protocol):
    """Where an endpoint's datagrams come from and go to: a socket, or a simulated network."""

    counters: UdpCounters

    @property
    def address(self) -> SockAddr: ...

    @property
    def blocked(self) -> bool:
        """Datagrams wait for the socket to become writable."""

    def receive(self) -> tuple[bytes, int, SockAddr] | None:
        """Return (bytes, segment size or 0, source), or ``None`` when nothing waits.

        The bytes are empty for an empty datagram: whoever reads in bounded turns counts it.
        """

    def send(self, datagrams: Sequence[bytes], to: SockAddr) -> None:
        """Send, or queue within a bound; never blocks."""

    async def wait_readable(self) -> None: ...

    async def wait_unblocked(self) -> None:
        """Wait until queued datagrams have left."""

    def close(self) -> None: ...


@define(eq=False)
class UdpSocket:
    """A non-blocking UDP socket. Owned by one endpoint, which must :meth:`close` it."""

    sock: socket.socket
    gso: bool
    gro: bool
    counters: UdpCounters = field(factory=UdpCounters)
    _queue: deque[tuple[Sequence[bytes], SockAddr]] = field(factory=deque)
    _queued: int = 0

    @property
    def address(self) -> SockAddr:
        return self.sock.getsockname()

    @property
    def blocked(self) -> bool:
        return bool(self._queue)

    def receive(self) -> tuple[bytes, int, SockAddr] | None:
        """See :class:`Transport`. Errors of earlier sends surface here and are counted."""
        try:
            data, ancillary, _flags, source = self.sock.recvmsg(MAX_READ, _ANCILLARY)
        except BlockingIOError:
            return None
        except OSError:
            self.counters.receive_errors += 1
            return None
        self.counters.reads += 1
        return data, _segment_size(ancillary), source

    def send(self, datagrams: Sequence[bytes], to: SockAddr) -> None:
        """See :class:`Transport`. Unequal sizes are split into runs that GSO can take."""
        self.counters.datagrams_sent += len(datagrams)
        if len(datagrams) == 1:
            self._offer(datagrams, to)
            return
        start, total = 0, len(datagrams)
        sizes = list(map(len, datagrams))
        while start < total:
            end = run_end(sizes, start) if self.gso else start + 1
            self._offer(datagrams[start:end], to)
            start = end

    async def wait_readable(self) -> None:
        await trio.lowlevel.wait_readable(self.sock)

    async def wait_unblocked(self) -> None:
        while self._queue:
            await trio.lowlevel.wait_writable(self.sock)
            waiting, self._queue, self._queued = self._queue, deque(), 0
            for run, to in waiting:
                self._offer(run, to)

    def close(self) -> None:
        self.sock.close()

    def _offer(self, run: Sequence[bytes], to: SockAddr) -> None:
        if self._queue:
            self._enqueue(run, to)
            return
        try:
            self._transmit(run, to)
        except BlockingIOError:
            self._enqueue(run, to)
        except OSError as exc:
            if len(run) > 1 and exc.errno in _NO_GSO:
                self._give_up_gso(run, to)
            else:  # EMSGSIZE, EPERM, ENETUNREACH…: lost, as on any network; recovery resends
                self.counters.send_errors += 1

    def _transmit(self, run: Sequence[bytes], to: SockAddr) -> None:
        if len(run) == 1:
            self.sock.sendto(run[0], to)
        else:
            size = len(run[0]).to_bytes(2, "little")
            self.sock.sendmsg(run, [(socket.SOL_UDP, UDP_SEGMENT, size)], 0, to)
        self.counters.sends += 1

    def _give_up_gso(self, run: Sequence[bytes], to: SockAddr) -> None:
        self.gso = False
        self.counters.gso_refused += 1
        for datagram in run:
            self._offer((datagram,), to)

    def _enqueue(self, run: Sequence[bytes], to: SockAddr) -> None:
        if self._queued + len(run) > MAX_QUEUED:
            self.counters.dropped_unsent += len(run)
            return
        self._queued += len(run)
        self._queue.append((run, to))


def run_end(sizes: Sequence[int], start: int) -> int:
    """Return where the run that begins at *start* ends: equal sizes, the last may be shorter."""
    size = sizes[start]
    stop = min(len(sizes), start + min(MAX_SEGMENTS, MAX_GSO_BYTES // size))
    run = sizes[start:stop]
    equal = run.count(size)
    if equal == len(run) or (equal == len(run) - 1 and run[-1] < size):
        return stop  # nearly always: full datagrams, and perhaps the rest of a message
    end = next(at for at, other in enumerate(run) if other != size)
    return start + end + (run[end] < size)


def open_udp_socket(host: str, port: int, *, buffer_bytes: int) -> UdpSocket:
    """Bind a socket and probe what the kernel can do. Raises :exc:`OSError` if it cannot bind."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        _ask_for_buffers(sock, buffer_bytes)
        if host == "::":
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        gso, gro = _takes(sock, UDP_SEGMENT, 0), _takes(sock, UDP_GRO, 1)
        sock.bind((host, port))
    except BaseException:
        sock.close()
        raise
    return UdpSocket(sock, gso=gso, gro=gro)


def _takes(sock: socket.socket, option: int, value: int) -> bool:
    try:
        sock.setsockopt(socket.SOL_UDP, option, value)
    except OSError:
        return False
    return True


def _ask_for_buffers(sock: socket.socket, size: int) -> None:
    # The forced option passes net.core.[rw]mem_max but needs CAP_NET_ADMIN.
    for plain, forced in ((socket.SO_RCVBUF, 33), (socket.SO_SNDBUF, 32)):
        try:
            sock.setsockopt(socket.SOL_SOCKET, forced, size)
        except PermissionError:
            sock.setsockopt(socket.SOL_SOCKET, plain, size)


def _segment_size(ancillary: list[tuple[int, int, bytes]]) -> int:
    for level, kind, value in ancillary:
        if level == socket.SOL_UDP and kind == UDP_GRO:
            return int.from_bytes(value[:4], "little")
    return 0
