"""What the local fabric consists of, as data: its nodes, and the configuration of each. Pure.

Names, areas and roles are those of a small real fleet: two data centres, a node overseas that
stands beside the service, and an edge where clients come in.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from cli.exits import Json
from cli.local.ports import LOOPBACK

SERVICE = "demo"
OFFERING_NODE = "usa-los-1"
"""The node that stands beside the demo backend."""
EDGE_NODE = "edge-1"
"""The node whose listener clients of the demo come in by."""
BACKEND = "backend"
"""The demo's HTTP server: a process of the local fabric, and no node."""

APP_NODE = "app-1"
"""A member that no process of ours runs: its file is there for a program of the reader's own."""
APP_SERVICE = "echo"
"""What that program may offer."""

OPEN_TO = ("role:ingress", "node:home-1", f"node:{APP_NODE}")
"""Who may open the demo. test-1 is left out, to show what a refusal looks like."""

DRAIN_TIMEOUT = 10
"""Seconds a node of the local fabric lets its channels finish in: a person waits for `down`."""


@frozen
class PlannedNode:
    """One node: who it is, and the module of the program that runs it."""

    name: str
    area: str
    roles: tuple[str, ...]
    program: str = "cli.fabricd"
    file: str = "node.toml"
    """Name of its configuration, in its folder."""


FLEET = (
    PlannedNode("home-1", "home", ("control-api", "update-store", "ingress")),
    PlannedNode("test-1", "test", ("control-api", "relay")),
    PlannedNode(OFFERING_NODE, "usa", ("relay", "ingress", "egress", "update-cache")),
    PlannedNode(EDGE_NODE, "home", ("ingress",), program="cli.fabric_ingress"),
)
"""What `up` starts."""

APP = PlannedNode(APP_NODE, "home", (), program="", file="app.toml")
MEMBERS = (*FLEET, APP)
"""Whom every node admits."""


@frozen
class Ports:
    """Every port of the local fabric, on loopback; kept in ``fabric.toml`` across runs."""

    ingress: int
    backend: int
    quic: Mapping[str, int]
    """UDP port of each node, by name."""


def configuration(
    node: PlannedNode, *, fabric_id: str, ports: Ports, public_keys: Mapping[str, str]
) -> Json:
    """The TOML document of *node*; *public_keys* holds every member's, in hex."""
    document: Json = {
        "node": {
            "name": node.name,
            "fabric_id": fabric_id,
            "area": node.area,
            "roles": list(node.roles),
            "drain_timeout_s": DRAIN_TIMEOUT,
        },
        "quic": {"listen": f"{LOOPBACK}:{ports.quic.get(node.name, 0)}"},
        "log": {"format": "json"},
        "peers": [
            _peer(peer, ports, public_keys[peer.name]) for peer in MEMBERS if peer is not node
        ],
        "services": {SERVICE: _demo(node, ports)},
    }
    if node is APP:  # peers learn of it from the node itself, once its program serves it
        document["services"][APP_SERVICE] = {"open_to": ["any"]}
    if node.name == EDGE_NODE:
        door = {"listen": f"{LOOPBACK}:{ports.ingress}", "service": SERVICE}
        document["listeners"] = [door]
    return document


def _peer(peer: PlannedNode, ports: Ports, public_key: str) -> Json:
    document = {
        "name": peer.name,
        "public_key": public_key,
        "area": peer.area,
        "roles": list(peer.roles),
        "offers": [SERVICE] if peer.name == OFFERING_NODE else [],
    }
    if peer.name in ports.quic:  # a member without a fixed port dials, and is never dialled
        document["address"] = f"{LOOPBACK}:{ports.quic[peer.name]}"
    return document


def _demo(node: PlannedNode, ports: Ports) -> Json:
    service: Json = {"open_to": list(OPEN_TO), "edge_exposable": True}
    if node.name == OFFERING_NODE:
        service["backend"] = f"{LOOPBACK}:{ports.backend}"
        service["send_proxy"] = "v2"  # the backend shows the client's address
    return service
