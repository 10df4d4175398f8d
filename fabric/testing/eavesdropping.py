"""A UDP socket that is overheard: how a test gets live packets, to send them again altered."""

from __future__ import annotations

import random
from collections.abc import Sequence

from fabric.trio_quic import UdpSocket, open_udp_socket
from fabric.trio_quic.udp import SockAddr

ONE_IN = 100
"""Of so many datagrams one is shown: enough to keep up with keys and paths, for little work."""


class Overheard(UdpSocket):
    """Shows one in a hundred of what it sends to the port ``towards`` to the one ``heard_at``."""

    towards: int
    heard_at: int

    def send(self, datagrams: Sequence[bytes], to: SockAddr) -> None:
        super().send(datagrams, to)
        if to[1] == self.towards and random.random() < len(datagrams) / ONE_IN:
            self.sock.sendto(datagrams[0], ("127.0.0.1", self.heard_at))


def open_overheard_socket(
    host: str, port: int, *, buffer_bytes: int, towards: int, heard_at: int
) -> Overheard:
    """As :func:`open_udp_socket`, overheard. Raises :exc:`OSError`."""
    plain = open_udp_socket(host, port, buffer_bytes=buffer_bytes)
    overheard = Overheard(plain.sock, gso=plain.gso, gro=plain.gro)
    overheard.towards, overheard.heard_at = towards, heard_at
    return overheard
