"""Our own path and our own nodes: real `fabricd` and `fabric-ingress`, configured in a room."""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx2
import psutil
import tomli_w
from attrs import frozen

from fabric.net.tls import certificate_for, load_key
from fabric.testing.papers import Papers
from fabric.testing.records import AFabric
from tests.bench.processes import Room, free_port, listening
from tests.bench.route import Route

PROGRAMS = Path(sys.executable).parent
SERVICE = "bench"
MOST = 30_000
"""Channels and connections at once; above every load here."""

Table = dict[str, Any]


@frozen
class Node:
    """One node to be: its record is signed with it, so that others can be told of it."""

    name: str
    folder: Path
    port: int
    roles: tuple[str, ...] = ()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def admin_socket(self) -> Path:
        return self.folder / "state" / "admin.sock"


class OwnNodes:
    """Nodes of one fabric in one room. All that is planned before a start is known to it."""

    def __init__(self, room: Room, datagram_bytes: int) -> None:
        self._room = room
        self._papers = Papers(room.folder / "papers")
        self._datagram_bytes = datagram_bytes

    @property
    def fabric(self) -> AFabric:
        """Who signs for these nodes."""
        return self._papers.fabric

    def plan(self, name: str, *roles: str, area: str = "bench") -> Node:
        node = Node(name, self._room.folder / name, free_port(socket.SOCK_DGRAM), roles)
        key_file = node.folder / "node.key"
        self._papers.write_key(name, key_file)
        certificate_for(load_key(key_file))  # as `fabricctl` draws keys: nodes need no X.509 then
        self._papers.publish(self.fabric.node(name, area=area, roles=roles))
        return node

    def grant(self, service: str) -> None:
        """Let every node offer *service*, and every ingress show it."""
        open_to = ("role:ingress",)
        record = self.fabric.service(service, open_to=open_to, edge_exposable=True)
        self._papers.publish(record)

    def start(
        self,
        program: str,
        node: Node,
        seeds: Sequence[Node] = (),
        *,
        services: Table | None = None,
        listeners: Sequence[Table] = (),
        log: int | None = None,
    ) -> psutil.Popen:
        """Blocks until the node's admin socket is there, which is after its UDP socket.

        Logs are kept, one line for each channel as in a real node, in the room's own file. Or they
        go to the descriptor `log`, with a line for each record that changes: then nothing is
        waited for.
        """
        document = {
            "node": {
                "name": node.name,
                "trust_root": str(self._papers.trust_root),
                "seeds": [seed.address for seed in seeds],
                "records": [str(self._papers.records)],
                "roles": list(node.roles),
                "drain_timeout_s": 0.5,
            },
            "quic": {"listen": node.address, "datagram_bytes": self._datagram_bytes},
            "log": {"format": "json", "level": "info" if log is None else "debug"},
            "services": services or {},
            "listeners": list(listeners),
        }
        config = self._room.write(f"{node.name}/node.toml", tomli_w.dumps(document))
        until = node.admin_socket.exists if log is None else None
        return self._room.start(PROGRAMS / program, "--config", config, until=until, log=log)


@frozen
class OwnPath:
    """A route through two nodes; `ingress` is the one whose memory is of interest."""

    route: Route
    ingress: psutil.Popen


def start_path(room: Room, backend: int, *, datagram_bytes: int = 1452) -> OwnPath:
    """client -> fabric-ingress -> QUIC -> fabricd -> backend."""
    nodes, port = OwnNodes(room, datagram_bytes), free_port()
    inside, edge = nodes.plan("inside", "egress"), nodes.plan("edge", "ingress")
    nodes.grant(SERVICE)
    backed = {"backend": f"127.0.0.1:{backend}", "max_channels": MOST}
    nodes.start("fabricd", inside, services={SERVICE: backed})
    listener = {"listen": f"127.0.0.1:{port}", "service": SERVICE, "max_connections": MOST}
    ingress = nodes.start("fabric-ingress", edge, [inside], listeners=[listener])
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
    resting = nodes.start("fabricd", centre)
    for peer in around:
        nodes.start("fabricd", peer, [centre])
    room.wait(lambda: all(is_connected(peer, centre) for peer in around))
    return resting


def is_connected(node: Node, peer: Node) -> bool:
    """Whether *peer* is connected to *node*, as its own snapshot says."""
    transport = httpx2.HTTPTransport(uds=str(node.admin_socket))
    with httpx2.Client(transport=transport, base_url="http://node", timeout=10) as client:
        peers = client.get("/v1/snapshot").json()["peers"]
    return any((each["name"], each["state"]) == (peer.name, "connected") for each in peers)
