"""Our own path and our own nodes: real `fabricd` and `fabric-ingress`, configured in a room."""

from __future__ import annotations

import secrets
import socket
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import httpx2
import psutil
import tomli_w
from attrs import frozen

from fabric.net.tls import create_key
from tests.bench.processes import Room, free_port, listening
from tests.bench.route import Route

PROGRAMS = Path(sys.executable).parent
SERVICE = "bench"
MOST = 30_000
"""Channels and connections at once; above every load here."""

Table = dict[str, Any]


@frozen
class Node:
    """One node to be: its key is made with it, so that others can be told of it."""

    name: str
    folder: Path
    public_key: str
    port: int
    roles: tuple[str, ...] = ()

    def as_peer(self, *, is_dialled: bool, offers: Sequence[str] = ()) -> Table:
        peer = {"name": self.name, "public_key": self.public_key, "area": "bench"}
        if is_dialled:
            peer["address"] = f"127.0.0.1:{self.port}"
        return peer | {"roles": list(self.roles), "offers": list(offers)}

    @property
    def admin_socket(self) -> Path:
        return self.folder / "state" / "admin.sock"


class OwnNodes:
    """Nodes of one fabric in one room."""

    def __init__(self, room: Room, datagram_bytes: int) -> None:
        self._room = room
        self._fabric_id = secrets.token_hex(16)
        self._datagram_bytes = datagram_bytes

    def plan(self, name: str, *roles: str) -> Node:
        folder = self._room.folder / name
        folder.mkdir(mode=0o700)
        key = create_key(folder / "node.key")
        return Node(name, folder, key.public.hex(), free_port(socket.SOCK_DGRAM), roles)

    def start(
        self,
        program: str,
        node: Node,
        peers: Iterable[Table],
        *,
        services: Table | None = None,
        listeners: Sequence[Table] = (),
    ) -> psutil.Popen:
        """Blocks until the node's admin socket is there, which is after its UDP socket.

        Logs are kept, one line for each channel as in a real node, in the room's own file.
        """
        document = {
            "node": {
                "name": node.name,
                "fabric_id": self._fabric_id,
                "area": "bench",
                "roles": list(node.roles),
                "drain_timeout_s": 0.5,
            },
            "quic": {
                "listen": f"127.0.0.1:{node.port}",
                "datagram_bytes": self._datagram_bytes,
            },
            "log": {"format": "json"},
            "peers": list(peers),
            "services": services or {},
            "listeners": list(listeners),
        }
        config = self._room.write(f"{node.name}/node.toml", tomli_w.dumps(document))
        return self._room.start(
            PROGRAMS / program, "--config", config, until=node.admin_socket.exists
        )


@frozen
class OwnPath:
    """A route through two nodes; `ingress` is the one whose memory is of interest."""

    route: Route
    ingress: psutil.Popen


def start_path(room: Room, backend: int, *, datagram_bytes: int = 1452) -> OwnPath:
    """client -> fabric-ingress -> QUIC -> fabricd -> backend."""
    nodes, port = OwnNodes(room, datagram_bytes), free_port()
    inside, edge = nodes.plan("inside"), nodes.plan("edge", "ingress")
    service = {"open_to": ["role:ingress"], "edge_exposable": True, "max_channels": MOST}
    nodes.start(
        "fabricd",
        inside,
        [edge.as_peer(is_dialled=False)],
        services={SERVICE: service | {"backend": f"127.0.0.1:{backend}"}},
    )
    listener = {"listen": f"127.0.0.1:{port}", "service": SERVICE, "max_connections": MOST}
    ingress = nodes.start(
        "fabric-ingress",
        edge,
        [inside.as_peer(is_dialled=True, offers=[SERVICE])],
        services={SERVICE: service},
        listeners=[listener],
    )
    room.wait(listening(port))
    return OwnPath(Route(port=port), ingress)


def start_route(room: Room, backend: int, *, datagram_bytes: int) -> Route:
    return start_path(room, backend, datagram_bytes=datagram_bytes).route


def start_resting(room: Room, peers: int) -> psutil.Popen:
    """A node with so many connected peers and nothing to do; blocks until all are connected.

    It is asked nothing itself: its first answer would load the web framework, which a node at
    rest does without.
    """
    nodes = OwnNodes(room, 1452)
    centre = nodes.plan("centre")
    around = [nodes.plan(f"around-{number}") for number in range(peers)]
    resting = nodes.start("fabricd", centre, [peer.as_peer(is_dialled=False) for peer in around])
    for peer in around:
        nodes.start("fabricd", peer, [centre.as_peer(is_dialled=True)])
    room.wait(lambda: all(map(is_connected, around)))
    return resting


def is_connected(node: Node) -> bool:
    """Whether all peers of a node are connected, as its own snapshot says."""
    transport = httpx2.HTTPTransport(uds=str(node.admin_socket))
    with httpx2.Client(transport=transport, base_url="http://node", timeout=10) as client:
        peers = client.get("/v1/snapshot").json()["peers"]
    return bool(peers) and all(peer["state"] == "connected" for peer in peers)
