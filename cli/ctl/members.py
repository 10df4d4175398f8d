"""``fabricctl node add | change | replace | list``: who belongs to the fabric."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import cyclopts
from attrs import evolve
from cyclopts import Parameter
from rich.text import Text

from cli.ctl.holding import (
    Dir,
    key_bytes,
    open_authority,
    pairs,
    tell_signed,
)
from cli.ctl.holding import now as this_moment
from cli.exit_codes import Exit
from cli.exits import Json, UsageError
from cli.output import here, show
from cli.tables import columns
from cli.units import UNKNOWN, date
from fabric.core.codec.records import decode_record
from fabric.core.envelope import Envelope
from fabric.core.records import NodeRecord
from fabric.net.tls import NodeKey
from services.authority import About, Authority
from services.authority.keys import SHORT, read_key

node = cyclopts.App(name="node", help="Say who belongs to the fabric.")

Several = Annotated[tuple[str, ...], Parameter(negative="")]


@node.command
def add(
    name: str,
    /,
    *,
    area: str,
    site: str = "",
    nat_group: str = "",
    locality_group: str = "",
    role: Several = (),
    label: Several = (),
    critical: bool = False,
    key: str = "",
    key_file: Path | None = None,
    folder: Dir = None,
    json: bool = False,
) -> int:
    """Add the node NAME. Without --key, its key is drawn here and has to be taken to it.

    Parameters
    ----------
    area:
        Region or failure area.
    site:
        Place: nodes that fail together.
    nat_group:
        Nodes behind one public edge.
    locality_group:
        Nodes that reach each other by private addresses.
    role:
        As relay, ingress, egress; may be given several times.
    label:
        KEY=VALUE; may be given several times.
    critical:
        The policy's targets for critical nodes are its own.
    key:
        Its public key, 64 hexadecimal digits: `fabricd --check-config` says it.
    key_file:
        The node's key file, if it is at hand here.
    folder:
        The authority's folder; else $FABRIC_DIR, else the working folder.
    """
    about = About(
        area=area,
        site_id=site,
        nat_group=nat_group,
        locality_group=locality_group,
        roles=role,
        labels=_labels(label),
        critical=critical,
    )
    with open_authority(folder) as authority:
        before = frozenset(authority.records())
        if not (key or key_file):
            authority.check_node(name, about)  # before a key is drawn in vain
        public, drawn = _key(authority, name, key, key_file)
        made = authority.add_node(name, public, about, now=this_moment())
        _tell(authority, [made], name, before=before, drawn=drawn, json=json)
    return Exit.YES


@node.command
def change(
    name: str,
    /,
    *,
    area: str | None = None,
    site: str | None = None,
    nat_group: str | None = None,
    locality_group: str | None = None,
    role: Annotated[tuple[str, ...] | None, Parameter(negative="")] = None,
    label: Annotated[tuple[str, ...] | None, Parameter(negative="")] = None,
    critical: Annotated[bool | None, Parameter(negative="--not-critical")] = None,
    folder: Dir = None,
    json: bool = False,
) -> int:
    """Change what is said of the node NAME: what is given here, and nothing else.

    Parameters
    ----------
    area:
        Region or failure area.
    site:
        Place: nodes that fail together; "" for none.
    nat_group:
        Nodes behind one public edge; "" for none.
    locality_group:
        Nodes that reach each other by private addresses; "" for none.
    role:
        All roles that it has from now on.
    label:
        KEY=VALUE: all labels that it has from now on.
    critical:
        Whether the policy's targets for critical nodes are its own.
    folder:
        The authority's folder; else $FABRIC_DIR, else the working folder.
    """
    asked: Json = {
        "area": area,
        "site_id": site,
        "nat_group": nat_group,
        "locality_group": locality_group,
        "roles": role,
        "labels": None if label is None else _labels(label),
        "critical": critical,
    }
    given = {field: value for field, value in asked.items() if value is not None}
    if not given:
        raise UsageError("nothing_to_change", "Nothing is to be changed.", "Say what: --area …")
    with open_authority(folder) as authority:
        before = frozenset(authority.records())
        record = authority.node(name)
        about = evolve(About.of(record), **given)
        made = authority.add_node(name, record.key_bytes, about, now=this_moment())
        _tell(authority, [made], name, before=before, drawn=None, json=json)
    return Exit.YES


@node.command
def replace(
    name: str,
    /,
    *,
    key: str = "",
    key_file: Path | None = None,
    folder: Dir = None,
    json: bool = False,
) -> int:
    """Give the node NAME a new key, and revoke the one that it had.

    Parameters
    ----------
    key:
        The new public key. Without it, one is drawn here and has to be taken to the node.
    key_file:
        The new key file, if it is at hand here.
    folder:
        The authority's folder; else $FABRIC_DIR, else the working folder.
    """
    with open_authority(folder) as authority:
        before = frozenset(authority.records())
        authority.node(name)
        public, drawn = _key(authority, name, key, key_file)
        made = authority.replace_node(name, public, now=this_moment())
        _tell(authority, made, name, before=before, drawn=drawn, json=json)
    return Exit.YES


@node.command(name="list")
def list_nodes(*, folder: Dir = None, json: bool = False) -> int:
    """List the nodes that are not revoked, and until when their records count.

    Parameters
    ----------
    folder:
        The authority's folder; else $FABRIC_DIR, else the working folder.
    """
    with open_authority(folder, to_change=False) as authority:
        found = authority.nodes()
        grid = columns("node", "id", "area", "site", "roles", "labels", "until")
        for one in found:
            grid.add_row(
                one.name,
                one.subject[:SHORT],
                one.area,
                one.site_id or UNKNOWN,
                " ".join(one.roles) or UNKNOWN,
                " ".join(f"{key}={value}" for key, value in sorted(one.labels.items())) or UNKNOWN,
                date(one.expires_at),
            )
        document = {"nodes": [_document(authority, one) for one in found]}
        show(document, grid if found else Text("no nodes yet", "dim"), json=json)
    return Exit.YES


def _document(authority: Authority, record: NodeRecord) -> Json:
    return {
        "name": record.name,
        "id": record.subject,
        "public_key": record.key_bytes.hex(),
        "area": record.area,
        "site": record.site_id,
        "nat_group": record.nat_group,
        "locality_group": record.locality_group,
        "roles": list(record.roles),
        "labels": dict(sorted(record.labels.items())),
        "critical": record.critical,
        "epoch": record.epoch,
        "generation": record.generation,
        "expires_at": record.expires_at,
        "file": str(authority.file_of(record.key)),
    }


def _tell(
    authority: Authority,
    made: list[Envelope] | tuple[Envelope, ...],
    name: str,
    *,
    before: frozenset[Envelope],
    drawn: NodeKey | None,
    json: bool,
) -> None:
    record = decode_record(made[0].payload)
    file = authority.file_of(record.key)
    more = []
    if drawn and drawn.file:
        more = [
            f"  {here(drawn.file)}  its key, drawn just now: take it there, and leave no copy",
            "",
            f"On its machine {name} needs, as [node] trust_root, records and key:",
            *(f"  {here(each)}" for each in (authority.folder.root_file, file, drawn.file)),
        ]
    tell_signed(
        authority,
        made,
        f"{name} ({record.subject[:SHORT]}) of {authority.name}",
        before=before,
        json=json,
        more=more,
        extra={
            "node": name,
            "id": record.subject,
            "key_file": str(drawn.file) if drawn else None,
            "trust_root": str(authority.folder.root_file),
        },
    )


def _key(
    authority: Authority, name: str, key: str, key_file: Path | None
) -> tuple[bytes, NodeKey | None]:
    """The node's public key, and its key file where one was drawn for it."""
    if key and key_file:
        raise UsageError("two_keys", "--key and --key-file are two keys.", "Give one of them.")
    if key:
        return key_bytes(key), None
    if key_file:
        return read_key(key_file).public, None
    drawn = authority.draw_node_key(name)
    return drawn.public, drawn


def _labels(told: tuple[str, ...]) -> dict[str, str]:
    return pairs(told, "=", "KEY=VALUE")
