"""``fabricctl expose | unexpose | forward``: services offered and used without editing a file."""

from __future__ import annotations

import json as jsonlib

from rich.text import Text

from cli.client import AdminRefusedError, Documents
from cli.ctl.asking import Node
from cli.ctl.granting import Several, permit, require_selector
from cli.exit_codes import Exit
from cli.exits import CommandError, Json, UsageError
from cli.local.fabric import EXPOSING_NODE, FORWARDING_NODE, LocalFabric, existing_fabric
from cli.output import here, show
from cli.units import age, byte_count
from fabric.codes import Code
from fabric.config import HostPort
from fabric.config.values import Wrong, read_name


async def expose(
    name: str,
    backend: str,
    /,
    *,
    open_to: Several = (),
    edge: bool = False,
    node: Node = EXPOSING_NODE,
    json: bool = False,
) -> int:
    """Offer service NAME from a node, answered by the TCP server at BACKEND (127.0.0.1:8000).

    Kept in the node's state, and told to the fabric at once. Who may offer and open it is said
    by its signed record: `fabricctl service add`, or --open-to here.

    Parameters
    ----------
    open_to:
        Selector of nodes that may open it, from now on these alone; may be given several times.
        The authority of the local fabric signs it, and that this node may offer it.
    edge:
        With --open-to: let an ingress show it to clients outside the fabric.
    node:
        The node that offers it.
    """
    _require_name(name)
    _require_address(backend)
    if edge and not open_to:
        raise UsageError(
            "edge_alone", "--edge does not say who may open it.", "Give --open-to SELECTOR too."
        )
    for selector in open_to:
        require_selector(selector)
    fabric = existing_fabric()
    admin = fabric.admin(node)
    if open_to:
        await admin.publish(permit(fabric, name, node, open_to, edge=edge))
    try:
        await admin.expose(name, backend)
    except AdminRefusedError as refused:
        if refused.code in _UNPERMITTED:
            raise CommandError(
                refused.code, refused.message, _permission(fabric, name, node)
            ) from refused
        raise
    opened = f", open to {' '.join(open_to)}" if open_to else ""
    text = Text(f"{node} offers {name} from {backend}{opened}")
    show({"service": name, "node": node, "backend": backend}, text, json=json)
    return Exit.YES


_UNPERMITTED = {code.label for code in (Code.OFFER_NOT_PERMITTED, Code.REVOKED)}


def _permission(fabric: LocalFabric, name: str, node: str) -> str:
    """What to type so that *node* may offer *name*."""
    folder = here(fabric.authority)
    record = here(fabric.authority / "records" / "service" / f"{name}.json")
    return (
        "Say who may, and let the nodes hear it:\n"
        f"    fabricctl service add {name} --offer-by node:{node} --open-to any --dir {folder}\n"
        f"    fabricctl record publish {record}\n"
        "or at once, with --open-to any on the command that you gave."
    )


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
    _require_name(service)
    if listen.isdecimal():
        listen = f"127.0.0.1:{listen}"
    _require_address(listen)
    return listen, service


def _require_name(text: str) -> None:
    try:
        read_name(text)
    except Wrong as wrong:
        what, remedy = wrong.args
        raise UsageError("not_a_name", f"{what}.", f"{remedy.capitalize()}.") from wrong


def _require_address(text: str) -> None:
    try:
        HostPort.parse(text)
    except ValueError as error:
        raise UsageError(
            "not_an_address", f"{text!r} is not an address: {error}.", "Write 127.0.0.1:8000."
        ) from error
