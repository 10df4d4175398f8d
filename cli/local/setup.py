"""Making the local fabric's folder ready: id, keys, ports and files, each made once and kept."""

from __future__ import annotations

import secrets
import socket
import tomllib
from collections.abc import Mapping
from pathlib import Path

import tomli_w
from attrs import evolve, frozen

from cli.exits import CommandError, Json
from cli.local.fabric import LocalFabric
from cli.local.plan import FLEET, MEMBERS, PlannedNode, Ports, configuration
from cli.local.ports import free_ports, is_free
from fabric.net.tls import create_key, load_key

LAYOUT = 1
"""Raised when the folder of an older release can no longer be used as it stands."""

DEFAULT_PORT = 8080


@frozen
class Setup:
    """What ``fabric.toml`` remembers."""

    fabric_id: str
    ports: Ports


def remembered(fabric: LocalFabric) -> Setup | None:
    """What the folder says of earlier runs; None where there was none."""
    try:
        state = tomllib.loads(fabric.state_file.read_text())
        if state["layout"] != LAYOUT:
            raise KeyError("layout")
        ports = Ports(state["ingress_port"], state["backend_port"], state["quic_ports"])
        return Setup(state["fabric_id"], ports)
    except FileNotFoundError:
        return None
    except (tomllib.TOMLDecodeError, KeyError) as error:
        raise CommandError(
            "unusable_folder",
            f"{fabric.state_file} is of another release, or was edited ({error}).",
            f"End what runs from it, remove {fabric.root}, and run `fabricctl up` again.",
        ) from error


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
    keys = {node.name: _public_key(fabric, node.name) for node in MEMBERS}
    for node in MEMBERS:
        _write_config(
            fabric.folder(node.name) / node.file,
            _document(node, setup, keys),
            _document(node, before, keys) if before else None,
        )
    state = {
        "layout": LAYOUT,
        "fabric_id": setup.fabric_id,
        "ingress_port": setup.ports.ingress,
        "backend_port": setup.ports.backend,
        "quic_ports": dict(setup.ports.quic),
    }
    fabric.state_file.write_text(tomli_w.dumps(state))
    return setup


def _drawn() -> Setup:
    names = [node.name for node in FLEET]
    quic = dict(zip(names, free_ports(socket.SOCK_DGRAM, len(names)), strict=True))
    (backend,) = free_ports(socket.SOCK_STREAM, 1)
    ports = Ports(DEFAULT_PORT, backend, quic)
    return Setup(secrets.token_hex(16), ports)


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


def _document(node: PlannedNode, setup: Setup, keys: Mapping[str, str]) -> Json:
    return configuration(node, fabric_id=setup.fabric_id, ports=setup.ports, public_keys=keys)


def _public_key(fabric: LocalFabric, name: str) -> str:
    folder = fabric.folder(name)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / "node.key"
    key = load_key(path) if path.exists() else create_key(path)
    return key.public.hex()


def _write_config(path: Path, document: Json, before: Json | None) -> None:
    """Write *document* unless *before*, what was written last, says the same: edits stay."""
    if document != before or not path.exists():
        path.write_text(tomli_w.dumps(document))
