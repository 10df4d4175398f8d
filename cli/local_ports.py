"""Ports of the local fabric: free ones chosen, taken ones told, with their holder if known."""

from __future__ import annotations

import errno
import socket

import psutil

LOOPBACK = "127.0.0.1"


def free_port(kind: socket.SocketKind) -> int:
    """A port of *kind* (stream or datagram) that nobody holds on loopback now."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


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
