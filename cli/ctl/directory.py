"""``fabricctl directory | services | members | waves``: what a node knows of its fabric."""

from __future__ import annotations

import time
from pathlib import Path

import cyclopts
from rich.console import Group
from rich.text import Text

from cli.ctl.asking import ASKED, Node, admin_at
from cli.directory_views import (
    members_table,
    records_table,
    services_table,
    trace_view,
    waves_table,
)
from cli.exit_codes import Exit
from cli.exits import UsageError
from cli.output import show
from cli.tables import state_word

directory = cyclopts.App(
    name="directory", help="See the records that a node holds; sign them anew."
)


@directory.default
async def records(
    *, kind: str = "", node: Node = ASKED, socket: Path | None = None, json: bool = False
) -> int:
    """List the records that a node holds: what each is worth, and who told it.

    Parameters
    ----------
    kind:
        One kind alone: node, service, endpoint, offers and others.
    node:
        A node of the local fabric.
    socket:
        The admin socket of any node on this machine, instead of --node.
    """
    found = await admin_at(node, socket).directory(kind)
    show(found, records_table(found["records"], now=time.time()), json=json)
    return Exit.YES


@directory.command
async def trace(
    record: str, /, *, node: Node = ASKED, socket: Path | None = None, json: bool = False
) -> int:
    """Show how RECORD came to a node: who told it, hops, time on the way, wave; and what it says.

    Exits 1 if the node holds no such record.

    Parameters
    ----------
    record:
        KIND/SUBJECT as `fabricctl directory` lists it: a node by its name or its id.
    node:
        A node of the local fabric.
    socket:
        The admin socket of any node on this machine, instead of --node.
    """
    kind, slash, subject = record.partition("/")
    if not (kind and slash and subject):
        raise UsageError(
            "not_a_record",
            f"{record!r} is not a record's key.",
            "Write KIND/SUBJECT, as in node/home-1 or service/web.",
        )
    found = await admin_at(node, socket).trace(record)
    show(found, trace_view(found), json=json)
    return Exit.YES


# By name: whoever only looks at a fabric does not wait for what signs records to be imported.
for _name, _what in (
    ("resign", "Sign anew the records that are old, or that no key vouches for any more."),
    ("rekey", "Put a new directory key in the place of KEY, or of the only one."),
):
    directory.command(f"cli.ctl.roots:{_name}", name=_name, help=_what)


async def services(*, node: Node = ASKED, socket: Path | None = None, json: bool = False) -> int:
    """List the services of the fabric as a node sees them. Exits 1 unless core ones are active.

    A service is active at a node that may open it and to which an instance has lately answered.

    Parameters
    ----------
    node:
        A node of the local fabric.
    socket:
        The admin socket of any node on this machine, instead of --node.
    """
    found = await admin_at(node, socket).registry()
    status = found["fabric_registry_runtime_report"]["status"]
    head = Text.assemble("registry ", state_word(status))
    is_core = any(row["core"] for row in found["services"])
    lacks = is_core and status != "active"
    if not is_core:
        head.append("  no service is core here", "dim")
    table = services_table(found["services"], now=time.time())
    show(found, Group(head, "", table), json=json)
    return Exit.NO if lacks else Exit.YES


async def members(*, node: Node = ASKED, socket: Path | None = None, json: bool = False) -> int:
    """List the members of the fabric: who is there as a node sees it, and who has a link to it.

    Parameters
    ----------
    node:
        A node of the local fabric.
    socket:
        The admin socket of any node on this machine, instead of --node.
    """
    found = await admin_at(node, socket).members()
    show(found, members_table(found["members"]), json=json)
    return Exit.YES


async def waves(*, node: Node = ASKED, socket: Path | None = None, json: bool = False) -> int:
    """List the last waves that came by a node: from whom, over how many hops, and on to how many.

    Parameters
    ----------
    node:
        A node of the local fabric.
    socket:
        The admin socket of any node on this machine, instead of --node.
    """
    found = await admin_at(node, socket).waves()
    show(found, waves_table(found["waves"]), json=json)
    return Exit.YES
