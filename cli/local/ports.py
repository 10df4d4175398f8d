"""Ports of the local fabric: free ones chosen, taken ones told, with their holder if known."""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack

import psutil

LOOPBACK = "127.0.0.1"


def free_ports(kind: socket.SocketKind, count: int) -> list[int]:
    """*count* different ports of *kind* (stream or datagram) that nobody holds on loopback now."""
    with ExitStack() as held:  # all at once: one that is let go may come again
        probes = [held.enter_context(socket.socket(socket.AF_INET, kind)) for _ in range(count)]
        for probe in probes:
            probe.bind((LOOPBACK, 0))
        return [probe.getsockname()[1] for probe in probes]


def is_free(port: int, kind: socket.SocketKind) -> bool:
    """Whether *port* of loopback is held by nobody now.

    Raises :exc:`PermissionError` where this user may not use it at all (below 1024).
    """
    with socket.socket(socket.AF_INET, kind) as probe:
        if kind is socket.SOCK_STREAM:  # as servers do: connections in TIME_WAIT do not count
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
        return True


def next_free(port: int) -> int:
    """The first free TCP port above *port*: what to suggest instead."""
    above = range(port + 1, 65536)
    return next((one for one in above if is_free(one, socket.SOCK_STREAM)), 0)


def holder(port: int) -> str:
    """Who listens on TCP *port*, as ``NAME (pid N)``; empty where this user may not know."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return ""
    listening = (
        one.pid
        for one in connections
        if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port
    )
    pid = next((pid for pid in listening if pid is not None), None)
    return _described(pid) if pid is not None else ""


def _described(pid: int) -> str:
    try:
        process = psutil.Process(pid)
        words = process.cmdline()
        return f"{process.name()} (pid {pid}): {' '.join(words)[:120]}"
    except psutil.NoSuchProcess:
        return ""
