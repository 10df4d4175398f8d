"""A Unix socket that a group may use, and who is at the other end of it.

Theory of operation
===================

A socket that is bound but does not listen yet refuses everybody, so its mode and group are set
between the two, whatever the umask is. The socket of a process that is dead refuses everybody
too: that is how it is told from a live one, and why it may be replaced.
"""

from __future__ import annotations

import errno
import grp
import os
import socket
import stat
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import trio
from attrs import frozen

from fabric import durable
from fabric.errors import ConfigError

BACKLOG = 64
_SO_PEERGROUPS = 59
"""Linux' asm-generic/socket.h, since 4.13. Python has no name for it."""

_MOST_GROUPS = 65_536
"""Linux' NGROUPS_MAX."""


@frozen
class Credentials:
    """The process that connected, as the kernel recorded it at that moment."""

    pid: int
    uid: int
    groups: frozenset[int]
    """Its primary and supplementary groups."""


def credentials_of(stream: trio.SocketStream) -> Credentials:
    """Who connected. Raises :exc:`OSError` where *stream* is no Unix socket."""
    raw = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid, uid, gid = struct.unpack("iII", raw)
    return Credentials(pid, uid, frozenset({gid, *_supplementary_groups(stream)}))


def _supplementary_groups(stream: trio.SocketStream) -> tuple[int, ...]:
    for most in (256, _MOST_GROUPS):
        try:
            raw = stream.socket.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 4 * most)
        except OSError as error:
            if error.errno == errno.ERANGE:
                continue
            if error.errno == errno.ENOPROTOOPT:  # an older kernel: the primary group must do
                return ()
            raise
        return struct.unpack(f"{len(raw) // 4}I", raw)
    return ()


def group_id(name: str, *, setting: str) -> int:
    """The id of group *name*; :exc:`ConfigError` about *setting* where there is none."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        remedy = "make it with groupadd, or name another"
        raise ConfigError([f"{setting}: no group {name} on this machine; {remedy}"]) from None


@asynccontextmanager
async def open_unix_listener(
    path: Path, *, gid: int, share_folder: bool = False
) -> AsyncGenerator[trio.SocketListener]:
    """Listen at *path*, mode 0660 for group *gid*, until the end of the ``async with``.

    Its folder is made if need be, 0750 for the group; with *share_folder* one that is there and
    this user's is opened to the group alike. The socket of a dead process is replaced. Raises
    :exc:`ConfigError` for a live one, for a file that is no socket, and for a folder or a group
    that this process may not use.
    """
    try:
        _make_folder(path.parent, gid, share_folder)
        _make_room(path)
        bound, identity = _bind(path, gid)
    except OSError as error:
        remedy = "see [admin] socket and group: the node's user needs both"
        raise ConfigError([f"{path}: cannot listen there ({error}); {remedy}"]) from error
    async with trio.SocketListener(trio.socket.from_stdlib_socket(bound)) as listener:
        try:
            yield listener
        finally:
            _unlink(path, identity)


def _make_folder(folder: Path, gid: int, share: bool) -> None:
    new = not folder.exists()
    durable.own_folder(folder, mode=0o750)
    if new or (share and folder.stat().st_uid == os.geteuid()):
        os.chown(folder, -1, gid)
        folder.chmod(stat.S_IMODE(folder.stat().st_mode) | 0o750)


def _make_room(path: Path) -> None:
    """Remove a dead socket from *path*; refuse to touch anything else."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ConfigError([f"{path}: is no socket; move it away, or set [admin] socket"])
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        answer = probe.connect_ex(os.fspath(path))
    if answer != errno.ECONNREFUSED:
        remedy = "stop it, or set [admin] socket"
        raise ConfigError([f"{path}: another process answers there; {remedy}"])
    path.unlink()


def _bind(path: Path, gid: int) -> tuple[socket.socket, tuple[int, int]]:
    bound = socket.socket(socket.AF_UNIX)
    try:
        bound.bind(os.fspath(path))
        path.chmod(0o660)
        os.chown(path, -1, gid)
        bound.listen(BACKLOG)
    except BaseException:
        bound.close()
        raise
    return bound, _identity(path)


def _identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino


def _unlink(path: Path, identity: tuple[int, int]) -> None:
    """Remove the socket unless another process has put its own there meanwhile."""
    with suppress(FileNotFoundError):
        if _identity(path) == identity:
            path.unlink()
