"""What the local fabric consists of, as data: its nodes, and the configuration of each. Pure.

Names, areas, sites and roles are those of a small real fleet: two data centres, a node overseas
that stands beside the service, and an edge where clients come in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import evolve, frozen

from cli.exits import Json
from cli.local.ports import LOOPBACK
from services.authority import About, Grant

SERVICE = "demo"
OFFERING_NODE = "usa-los-1"
"""The node that stands beside the demo backend."""
EDGE_NODE = "edge-1"
"""The node whose listener clients of the demo come in by."""
BACKEND = "backend"
"""The demo's HTTP server: a process of the local fabric, and no node."""
FIRST_NODE = "home-1"
"""The node that is handed every record of the fabric; all others find it, and by it each other."""

APP_NODE = "app-1"
"""A member that no process of ours runs: its file is there for a program of the reader's own."""
APP_SERVICE = "echo"
"""What that program may offer."""

DRAIN_TIMEOUT = 10
"""Seconds a node of the local fabric lets its channels finish in: a person waits for `down`."""

GRANTS: Mapping[str, Grant] = {
    # test-1 is left out, to show what a refusal looks like
    SERVICE: Grant(
        offer_by=("role:egress",),
        open_to=("role:ingress", f"node:{FIRST_NODE}", f"node:{APP_NODE}"),
        edge_exposable=True,
        core=True,
    ),
    APP_SERVICE: Grant(offer_by=(f"node:{APP_NODE}",), open_to=("any",)),
}
"""Who may offer and open each service, as its signed record says at first."""


@frozen
class PlannedNode:
    """One node: what its signed record says of it, and the module of the program that runs it."""

    name: str
    about: About
    program: str = "cli.fabricd"
    file: str = "node.toml"
    """Name of its configuration, in its folder."""


_HOME = About(area="home", site_id="home-dc", locality_group="home-lan", nat_group="home-edge")

FLEET = (
    PlannedNode(
        FIRST_NODE,
        evolve(_HOME, roles=("control-api", "update-store", "ingress"), critical=True),
    ),
    PlannedNode(
        "test-1",
        About(
            area="test",
            site_id="test-dc",
            locality_group="test-lan",
            nat_group="test-edge",
            roles=("control-api", "relay"),
            critical=True,
        ),
    ),
    PlannedNode(
        OFFERING_NODE,
        About(
            area="usa",
            site_id="usa-los",
            roles=("relay", "ingress", "egress", "update-cache"),
            critical=True,
        ),
    ),
    PlannedNode(EDGE_NODE, evolve(_HOME, roles=("ingress",)), program="cli.fabric_ingress"),
)
"""What `up` starts."""

APP = PlannedNode(APP_NODE, About(area="home"), program="", file="app.toml")
MEMBERS = (*FLEET, APP)
"""Whom the fabric's authority signs a record for."""


@frozen
class Ports:
    """Every port of the local fabric, on loopback; kept in ``fabric.toml`` across runs."""

    ingress: int
    backend: int
    quic: Mapping[str, int]
    """UDP port of each node, by name."""


@frozen(kw_only=True)
class Papers:
    """What a node is given of what the authority signed: paths, from the node's own folder."""

    trust_root: str
    records: Sequence[str]


def configuration(node: PlannedNode, *, ports: Ports, papers: Papers) -> Json:
    """The TOML document of *node*, which knows nobody's address but the first node's."""
    first = f"{LOOPBACK}:{ports.quic[FIRST_NODE]}"
    document: Json = {
        "node": {
            "name": node.name,
            "trust_root": papers.trust_root,
            "seeds": [] if node.name == FIRST_NODE else [first],
            "records": list(papers.records),
            "roles": list(node.about.roles),
            "drain_timeout_s": DRAIN_TIMEOUT,
        },
        "quic": {"listen": f"{LOOPBACK}:{ports.quic.get(node.name, 0)}"},
        "log": {"format": "json"},
    }
    if node.name in ports.quic:
        # All are on this machine, whatever their locality groups say: unless it is advertised, a
        # private address is for its own group.
        document["quic"]["advertise"] = [document["quic"]["listen"]]
    if node.name == OFFERING_NODE:
        backend = f"{LOOPBACK}:{ports.backend}"
        # the backend shows the client's address
        document["services"] = {SERVICE: {"backend": backend, "send_proxy": "v2"}}
    if node.name == EDGE_NODE:
        door = {"listen": f"{LOOPBACK}:{ports.ingress}", "service": SERVICE}
        document["listeners"] = [door]
    return document
