"""``fabricctl nodes | drain NODE | stop NODE``: single nodes of the local fabric."""

from __future__ import annotations

import trio
from rich.console import Group
from rich.text import Text

from cli.exit_codes import Exit
from cli.exits import CommandError, Json, NotReachedError
from cli.local.fabric import LocalFabric, existing_fabric
from cli.local.process import forget, recorded, wait_ended
from cli.output import show
from cli.tables import columns, state_word
from cli.units import UNKNOWN, age
from fabric.net.tls import load_key

STOP_MARGIN = 10.0
"""Seconds beyond the drain timeout until a node that stops has to be gone."""


async def nodes(*, json: bool = False) -> int:
    """List the nodes of the local fabric, with the public keys that peers pin."""
    fabric = existing_fabric()
    found = await _described(fabric)
    grid = columns("node", "area", "state", "udp", ">up", "roles")
    for node in found:
        grid.add_row(
            node["name"],
            node["area"] or UNKNOWN,
            state_word(node["state"]),
            node["listen"],
            age(node["uptime_s"]),
            " ".join(node["roles"]) or UNKNOWN,
        )
    keys = columns("node", "public key")
    for node in found:
        keys.add_row(node["name"], node["public_key"])
    show({"nodes": found}, Group(grid, "", keys), json=json)
    return Exit.YES


async def drain(node: str, /, *, json: bool = False) -> int:
    """Have NODE take no new channels and let those it has finish."""
    fabric = existing_fabric()
    await fabric.admin(node).drain()
    show({"node": node, "state": "draining"}, Text(f"{node} drains"), json=json)
    return Exit.YES


async def stop(node: str, /, *, json: bool = False) -> int:
    """Drain NODE and end its process; return once it is gone."""
    fabric = existing_fabric()
    patience = fabric.config(node).drain_timeout + STOP_MARGIN
    process = recorded(fabric.folder(node))
    await fabric.admin(node).stop()
    if process is not None:
        with trio.move_on_after(patience) as waiting:
            await wait_ended(process)
        if waiting.cancelled_caught:
            raise CommandError(
                "not_ended",
                f"{node} still runs {patience:g} s after it was told to stop.",
                "`fabricctl down` ends it whatever it does.",
            )
        forget(fabric.folder(node))
    show({"node": node, "state": "stopped"}, Text(f"{node} has stopped"), json=json)
    return Exit.YES


async def _described(fabric: LocalFabric) -> list[Json]:
    found: dict[str, Json] = {}

    async def look(name: str) -> None:
        found[name] = await _description(fabric, name)

    async with trio.open_nursery() as nursery:
        for name in fabric.names:
            nursery.start_soon(look, name)
    return [found[name] for name in fabric.names]


async def _description(fabric: LocalFabric, name: str) -> Json:
    """What the node says of itself, or what its file says while it does not run."""
    config = fabric.config(name)
    described: Json = {
        "name": name,
        "id": None,
        "public_key": load_key(config.key_file).public.hex(),
        "area": None,  # its record says it, and a node that runs knows that
        "roles": sorted(config.roles),
        "state": "stopped",
        "listen": str(config.quic.listen),
        "uptime_s": None,
    }
    try:
        live = (await fabric.admin(name).snapshot())["node"]
    except NotReachedError:
        return described
    return {**described, **{key: live[key] for key in described if key in live}}
