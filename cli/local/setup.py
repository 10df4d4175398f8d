"""Making the local fabric's folder ready: members, ports and files, each made once and kept."""

from __future__ import annotations

import socket
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import tomli_w
from attrs import evolve, frozen

from cli.exits import CommandError, Json
from cli.local.fabric import LocalFabric
from cli.local.membership import Membership, settle_membership
from cli.local.plan import FLEET, MEMBERS, PlannedNode, Ports, configuration
from cli.local.ports import free_ports, is_free

LAYOUT = 2
"""Raised when the folder of an older release can no longer be used as it stands. 1: nodes had a
list of peers, and no authority."""

DEFAULT_PORT = 8080


@frozen
class Setup:
    """What ``fabric.toml`` remembers."""

    ports: Ports


def remembered(fabric: LocalFabric) -> Setup | None:
    """What the folder says of earlier runs; None where there was none."""
    try:
        state = tomllib.loads(fabric.state_file.read_text())
        if (layout := state["layout"]) != LAYOUT:
            raise _unusable(fabric, f"is of another release (layout {layout}, not {LAYOUT})")
        return Setup(Ports(state["ingress_port"], state["backend_port"], state["quic_ports"]))
    except FileNotFoundError:
        return None
    except (tomllib.TOMLDecodeError, KeyError) as error:
        raise _unusable(fabric, f"was edited, or is no file of ours ({error})") from error


def _unusable(fabric: LocalFabric, why: str) -> CommandError:
    return CommandError(
        "unusable_folder",
        f"{fabric.state_file} {why}.",
        f"`fabricctl down` ends what runs from it; remove {fabric.root}, and run `fabricctl up` "
        "again: it makes a new fabric, with new keys.",
    )


def prepare(fabric: LocalFabric, *, port: int | None, running: frozenset[str]) -> Setup:
    """Write what is missing under the folder, and rewrite the files whose ports changed.

    *port* is where the ingress shall listen, None meaning where it did. UDP ports that others
    took meanwhile are chosen anew, which is possible only while no node is *running*: the others
    know the old ones.
    """
    before = remembered(fabric)
    setup = before or _drawn()
    if port is not None:
        setup = evolve(setup, ports=evolve(setup.ports, ingress=port))
    if not running:
        setup = evolve(setup, ports=_usable(setup.ports))
    members = settle_membership(fabric, is_new=before is None, now=_this_moment())
    for node in MEMBERS:
        _write_config(
            fabric.folder(node.name) / node.file,
            _document(fabric, node, setup, members),
            _document(fabric, node, before, members) if before else None,
        )
    state = {
        "layout": LAYOUT,
        "ingress_port": setup.ports.ingress,
        "backend_port": setup.ports.backend,
        "quic_ports": dict(setup.ports.quic),
    }
    fabric.state_file.write_text(tomli_w.dumps(state))
    return setup


def _this_moment() -> int:
    """Unix seconds, whole: what records count in."""
    return int(datetime.now(UTC).timestamp())


def _drawn() -> Setup:
    names = [node.name for node in FLEET]
    quic = dict(zip(names, free_ports(socket.SOCK_DGRAM, len(names)), strict=True))
    (backend,) = free_ports(socket.SOCK_STREAM, 1)
    ports = Ports(DEFAULT_PORT, backend, quic)
    return Setup(ports)


def _usable(ports: Ports) -> Ports:
    """*ports*, those that somebody took since replaced; the ingress's is a person's choice."""
    others = iter(free_ports(socket.SOCK_DGRAM, len(ports.quic)))
    quic = {
        name: port if is_free(port, socket.SOCK_DGRAM) else next(others)
        for name, port in ports.quic.items()
    }
    backend = ports.backend
    if not is_free(backend, socket.SOCK_STREAM):
        (backend,) = free_ports(socket.SOCK_STREAM, 1)
    return evolve(ports, backend=backend, quic=quic)


def _document(fabric: LocalFabric, node: PlannedNode, setup: Setup, members: Membership) -> Json:
    papers = members.papers(node.name, fabric.folder(node.name))
    return configuration(node, ports=setup.ports, papers=papers)


def _write_config(path: Path, document: Json, before: Json | None) -> None:
    """Write *document* unless *before*, what was written last, says the same: edits stay."""
    if document != before or not path.exists():
        path.write_text(tomli_w.dumps(document))
