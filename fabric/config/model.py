"""The settings of one node, each default with its reason and what raising it costs.

TOML names durations with the suffix ``_s``; here they are float seconds without it. A duration or
a quota of 0 means *none* wherever its comment says so.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from attrs import Factory, frozen

from fabric.config.address import HostPort

LONGEST_SOCKET_PATH_BYTES = 100
"""``sun_path`` holds 108 with its NUL; the margin is for a name to bind under at first."""


@frozen(kw_only=True)
class QuicConfig:
    """``[quic]``: the node's one UDP socket."""

    listen: HostPort = Factory(lambda: HostPort("0.0.0.0", 4433))
    """An IP address: nothing is looked up before the node runs. 443 often belongs to HTTP/3."""

    advertise: tuple[HostPort, ...] = ()
    """Where others reach this socket, best first. Empty: the address that it listens on, or, for
    a wildcard, those of this machine's interfaces."""

    datagram_bytes: int = 1200
    """Largest UDP payload. 1200 passes everywhere QUIC does; 1452 fits plain Ethernet with IPv6
    and moves a fifth more, but a path that cannot take it passes nothing at all."""


@frozen(kw_only=True)
class AdminConfig:
    """``[admin]``: the Unix socket that answers the inspector and the operator."""

    socket: Path | None = None
    """None stands for ``admin.sock`` in the state folder: see :func:`admin_socket_path`."""

    group: str = ""
    """Who may read. Empty: ``fabric-admin`` where that group exists, else the owner's group."""

    change_group: str = ""
    """Who, beside root and the owner, may change things. Empty: nobody."""


@frozen(kw_only=True)
class LogConfig:
    """``[log]``: what goes to standard error."""

    format: str = "auto"
    """``console`` for people, ``json`` for machines; ``auto`` is ``console`` on a terminal."""

    level: str = "info"
    """One line per connection and channel. ``debug`` multiplies the lines, hence the disk."""


@frozen(kw_only=True)
class ServiceConfig:
    """``[services.NAME]``: what answers a service here. Who may offer it and who may open it is
    said by its signed record alone."""

    name: str
    backend: HostPort | None = None
    """TCP address that answers channels of this service here. None: not offered by this node,
    unless a program that embeds it serves it."""

    max_channels: int = 10_000
    """Channels of this service at once. Each costs a descriptor and up to 25 kB here."""

    quota_bytes: int = 0
    """Most bytes one channel may move, both ways together; 0 is no limit."""

    send_proxy: str = ""
    """``v1`` or ``v2``: tell the backend the client's address in a PROXY header. Empty by
    default, since a backend that does not expect the header takes it for the client's bytes."""

    connect_timeout: float = 5.0
    """Seconds for the backend to accept. Raising it keeps clients of a hung backend waiting."""

    idle_timeout: float = 0.0
    """Seconds without a byte either way until a channel is reset; 0 is never: protocols that
    rest for hours are common, and a lost peer is noticed without it."""


@frozen(kw_only=True)
class ListenerConfig:
    """``[[listeners]]``: a TCP address whose connections become channels; for role ``ingress``."""

    listen: HostPort
    service: str
    accept_proxy: bool = False
    """Whether each connection *must* start with a PROXY header. Only for a load balancer in
    front: any other client could claim any address."""

    max_connections: int = 30_000
    """Beyond it new ones are reset. Each open one costs a descriptor and up to 25 kB."""

    quota_bytes: int = 0
    """Most bytes one connection may move, both ways together; 0 is no limit."""

    idle_timeout: float = 0.0
    """Seconds without a byte either way until a connection is reset; 0 is never."""

    open_timeout: float = 5.0
    """Seconds until the channel must be open. A client that is told no can go elsewhere; one
    that is kept waiting cannot."""


@frozen(kw_only=True)
class NodeConfig:
    """Everything one node is told. Paths are absolute once :func:`load_config` has read them."""

    name: str
    """What the node calls itself until it knows its own record, whose name is what counts."""

    trust_root: Path = Path("root.json")
    """The fabric's first trust root: the one thing that is believed because the operator put it
    there. Later versions are learnt from peers and kept in the state folder."""

    key_file: Path = Path("node.key")
    """The node's identity; readable by its owner alone."""

    seeds: tuple[HostPort, ...] = ()
    """Where nodes of the fabric may be found. One that answers is enough, and once any did all
    others are known too. Never forgotten, not even when none answers for months."""

    records: tuple[Path, ...] = ()
    """Signed records, files or folders of them, that the node takes at its start as if a peer
    had told: its own node record, so that it can be admitted where it is not known yet."""

    roles: frozenset[str] = frozenset()
    """What the node does. Whether others *believe* it to be an ingress is said by its record."""

    state_dir: Path = Path("state")
    """What the node itself writes: its peer cache, what was exposed at run time. Losing it costs
    both, no identity."""

    drain_timeout: float = 30.0
    """Seconds that open channels have to finish once the node drains. A service unit must wait
    longer before it kills: the shipped ones add 15 s."""

    quic: QuicConfig = Factory(QuicConfig)
    admin: AdminConfig = Factory(AdminConfig)
    log: LogConfig = Factory(LogConfig)
    services: Mapping[str, ServiceConfig] = Factory(dict)
    listeners: tuple[ListenerConfig, ...] = ()


def admin_socket_path(config: NodeConfig) -> Path:
    """Where the admin socket of *config*'s node is, for the node and for those who call it alike.

    A path too long for the kernel moves to ``$XDG_RUNTIME_DIR``, else to a folder of the state
    folder's owner among the temporary files, under a name drawn from the path itself. Nothing is
    created here: whoever binds makes the folder, with :func:`fabric.durable.own_folder`.
    """
    wanted = config.admin.socket or config.state_dir / "admin.sock"
    if len(os.fsencode(wanted)) <= LONGEST_SOCKET_PATH_BYTES:
        return wanted
    digest = hashlib.blake2b(os.fsencode(wanted), digest_size=8).hexdigest()
    return _short_folder(config.state_dir) / f"fabric-{digest}.sock"


def _short_folder(state_dir: Path) -> Path:
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(runtime)
    owner = state_dir.stat().st_uid if state_dir.exists() else os.getuid()
    return Path(tempfile.gettempdir()) / f"fabric-{owner}"
