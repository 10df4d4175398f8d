"""``fabricctl up | down | status``: the local fabric as a whole."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import trio
from attrs import asdict
from cyclopts import Parameter, validators
from rich.console import Group
from rich.text import Text

from cli.exit_codes import Exit
from cli.exits import CommandError, Json, NotReachedError
from cli.local.fabric import LocalFabric, existing_fabric, fabric_here, only_one
from cli.local.plan import BACKEND, OFFERING_NODE
from cli.local.process import Process
from cli.local.running import end_all, known_processes, running_processes
from cli.local.trial import told
from cli.local.up import Up, bring_up
from cli.output import show
from cli.tables import columns, state_word
from cli.views import SHORT_ID

Port = Annotated[int, Parameter(validator=validators.Number(gte=1, lte=65535))]


async def up(*, port: Port | None = None, json: bool = False) -> int:
    """Start a local fabric in .fabric/, and send one request through it.

    Three fabricd, one fabric-ingress and a small HTTP backend. Run it again to start what died.

    Parameters
    ----------
    port:
        TCP port of the ingress on 127.0.0.1; the first time 8080, later the one it had.
    """
    fabric = fabric_here()
    progress = sys.stderr if json else sys.stdout

    def tell(line: str) -> None:
        with suppress(BrokenPipeError):  # nobody reads on: no reason to undo what was begun
            print(line, file=progress, flush=True)

    tell(f"local fabric in {fabric.root}")
    result = await bring_up(fabric, port=port, tell=tell)
    document = {"fabric": str(fabric.root), **asdict(result), "already_ran": result.already_ran}
    show(document, Text("\n".join(_up_lines(result))), json=json)
    return Exit.YES


def _up_lines(result: Up) -> list[str]:
    programs = Path(sys.executable).parent
    if programs.is_relative_to(Path.cwd()):
        programs = programs.relative_to(Path.cwd())
    return [
        _what_started(result),
        "",
        *told(result.journey),
        "",
        "Try next:",
        f"  curl -i {result.journey.url}",
        f"  {programs}/fabric-inspect {OFFERING_NODE}",
        f"  {programs}/fabricctl channel {(result.journey.channel or 'ID')[:SHORT_ID]}",
    ]


def _what_started(result: Up) -> str:
    new = [one.name for one in result.processes if one.started]
    old = [one.name for one in result.processes if not one.started]
    if not old:
        return f"all {len(new)} processes run in the background"
    already = f"already running: {', '.join(old)}"
    return f"started: {', '.join(new)}; {already}" if new else already


async def down(*, json: bool = False) -> int:
    """End exactly the processes that `up` started. Channels get ten seconds to finish."""
    fabric = existing_fabric()
    with only_one(fabric):
        running = running_processes(fabric)
        stubborn = await end_all(fabric, known_processes(fabric))
    ended = [name for name in running if name not in stubborn]
    if stubborn:
        raise CommandError(
            "not_ended",
            f"Still running after SIGKILL: {', '.join(stubborn)}.",
            "A process in the kernel's hands ends when its disk or network answers.",
        )
    text = f"ended: {', '.join(ended)}" if ended else "nothing was running"
    show({"ended": ended}, Text(text), json=json)
    return Exit.YES


async def status(*, json: bool = False) -> int:
    """Show each process of the local fabric. Exits 1 unless all are ready, 3 if none runs."""
    fabric = existing_fabric()
    rows = await _rows(fabric)
    grid = columns("process", "state", ">pid", ">peers", ">channels")
    for row in rows:
        peers = "" if row["peers"] is None else f"{row['connected']}/{row['peers']}"
        channels = "" if row["channels"] is None else str(row["channels"])
        grid.add_row(row["name"], state_word(row["state"]), str(row["pid"] or ""), peers, channels)
    document = {"fabric": str(fabric.root), "processes": rows}
    show(document, Group(grid, *_unlinked(rows)), json=json)
    if all(row["state"] in ("ready", "running") for row in rows):
        return Exit.YES
    alive = any(row["pid"] for row in rows)
    return Exit.NO if alive else Exit.UNREACHABLE


def _unlinked(rows: list[Json]) -> list[Text]:
    """Tell of the members that no process here is: a place for a program of one's own, first."""
    here = {row["name"] for row in rows if row["pid"]}
    missing = sorted({name for row in rows for name in row["unlinked"]} - here)
    return [Text(f"\nmembers without a process here: {', '.join(missing)}")] if missing else []


async def _rows(fabric: LocalFabric) -> list[Json]:
    known = known_processes(fabric)
    names = [BACKEND, *fabric.names]
    rows: dict[str, Json] = {}

    async def look(name: str) -> None:
        rows[name] = await _row(fabric, name, known.get(name))

    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(look, name)
    return [rows[name] for name in names]


async def _row(fabric: LocalFabric, name: str, process: Process | None) -> Json:
    alive = process is not None and process.alive
    row: Json = {
        "name": name,
        "state": "running" if alive else "died" if process else "stopped",
        "pid": process.pid if process and alive else None,
        "peers": None,
        "connected": None,
        "unlinked": [],
        "channels": None,
    }
    if name == BACKEND or not alive:
        return row
    try:
        snapshot = await fabric.admin(name).snapshot()
    except NotReachedError:
        return {**row, "state": "silent"}
    peers = snapshot["peers"]
    unlinked = [peer["name"] for peer in peers if peer["state"] != "connected"]
    return {
        **row,
        "state": snapshot["node"]["state"],
        "peers": len(peers),
        "connected": len(peers) - len(unlinked),
        "unlinked": unlinked,
        "channels": len(snapshot["channels"]),
    }
