"""``fabricctl expose | unexpose | forward``: services offered and used without editing a file."""

from __future__ import annotations

import json as jsonlib
from typing import Annotated

from cyclopts import Parameter
from rich.text import Text

from cli.client import Documents
from cli.exit_codes import Exit
from cli.exits import Json, UsageError
from cli.local.fabric import EXPOSING_NODE, FORWARDING_NODE, existing_fabric
from cli.output import show
from cli.units import age, byte_count
from fabric.config import HostPort
from fabric.core.access import FORMS, parse_selector

Node = Annotated[str, Parameter(env_var="FABRIC_NODE")]


async def expose(
    name: str,
    backend: str,
    /,
    *,
    open_to: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    edge: Annotated[bool, Parameter(negative="")] = False,
    node: Node = EXPOSING_NODE,
    json: bool = False,
) -> int:
    """Offer service NAME from a node, answered by the TCP server at BACKEND (127.0.0.1:8000).

    Kept in the node's state, and told to its peers at once.

    Parameters
    ----------
    open_to:
        Who may open it: any, node:NAME, role:ROLE, area:AREA or label:KEY=VALUE. May be given
        several times; without it nobody may.
    edge:
        Let an ingress show it to clients outside the fabric.
    node:
        The node that offers it.
    """
    _require_address(backend)
    for selector in open_to:
        _require_selector(selector)
    fabric = existing_fabric()
    admin = fabric.admin(node)
    await admin.expose(name, backend, open_to=open_to, edge_exposable=edge)
    document = {
        "service": name,
        "node": node,
        "backend": backend,
        "open_to": list(open_to),
        "edge_exposable": edge,
    }
    to_whom = f"open to {' '.join(open_to)}" if open_to else "open to nobody yet (--open-to)"
    show(document, Text(f"{node} offers {name} from {backend}, {to_whom}"), json=json)
    return Exit.YES


async def unexpose(name: str, /, *, node: Node = EXPOSING_NODE, json: bool = False) -> int:
    """Take back what `expose` offered.

    Parameters
    ----------
    node:
        The node that offers it.
    """
    fabric = existing_fabric()
    await fabric.admin(node).unexpose(name)
    text = Text(f"{node} no longer offers {name}")
    show({"service": name, "node": node}, text, json=json)
    return Exit.YES


async def forward(what: str, /, *, node: Node = FORWARDING_NODE, json: bool = False) -> int:
    """Make a local port lead to a fabric service, as ssh -L would: WHAT is 5432:NAME.

    Runs until ^C, which closes the port. With --json, prints one JSON object per line.

    Parameters
    ----------
    what:
        PORT:NAME or ADDRESS:PORT:NAME. The address is 127.0.0.1 unless given.
    node:
        The node that listens, and opens the channels.
    """
    listen, service = _forwarding(what)
    fabric = existing_fabric()
    async with fabric.admin(node).open_forward(listen, service) as lines:
        await _tell(lines, f"{service} (by {node})", json=json)
    return Exit.NO  # the node ended it: it stopped, and not at our wish


async def _tell(lines: Documents, target: str, *, json: bool) -> None:
    async for line in lines:
        if json:
            print(jsonlib.dumps(line), flush=True)
        elif "listening" in line:
            print(f"{line['listening']} -> {target}; ^C closes it", flush=True)
        else:
            print(_connection_text(line), flush=True)


def _connection_text(line: Json) -> str:
    """One connection at its end; a reason stands only where it was refused."""
    if "reason" in line:
        told = f"{line['client']}  {line['code']}: {line['reason']}\n  remedy: {line['remedy']}"
        return f"{told}\n  channel {line['channel']}" if line["channel"] else told
    moved = f"{byte_count(line['sent_bytes'])} up  {byte_count(line['received_bytes'])} down"
    how = "" if line["code"] == "done" else f"  {line['code']}"
    return f"{line['client']}  {moved}  {age(line['age_s'])}{how}  channel {line['channel']}"


def _forwarding(what: str) -> tuple[str, str]:
    listen, _, service = what.rpartition(":")
    if not listen or not service:
        raise UsageError(
            "not_a_forward", f"{what!r} does not say what leads where.", "Write 5432:NAME."
        )
    if listen.isdecimal():
        listen = f"127.0.0.1:{listen}"
    _require_address(listen)
    return listen, service


def _require_address(text: str) -> None:
    try:
        HostPort.parse(text)
    except ValueError as error:
        raise UsageError(
            "not_an_address", f"{text!r} is not an address: {error}.", "Write 127.0.0.1:8000."
        ) from error


def _require_selector(text: str) -> None:
    try:
        parse_selector(text)
    except ValueError as error:
        raise UsageError(
            "not_a_selector",
            f"{text!r} selects nobody.",
            f"Write {FORMS}.",
        ) from error
