"""``fabric-inspect``: a live view of one node through its admin socket."""

from __future__ import annotations

import json as jsonlib
import sys
from pathlib import Path
from typing import Annotated

import cyclopts
import trio
from cyclopts import Parameter
from rich.console import Console
from rich.live import Live

from cli.client import AdminClient
from cli.exit_codes import Exit
from cli.exits import NotReachedError, finish
from cli.local.fabric import INSPECTED_NODE, existing_fabric
from cli.output import show_text
from cli.svg import picture
from cli.views import gone_view, node_view
from fabric import __version__

PICTURE_WIDTH = 100
"""Columns of an SVG: all of a row shows, and a README can hold it."""

app = cyclopts.App(
    name="fabric-inspect",
    version=f"fabric-inspect {__version__}",
    default_parameter=Parameter(negative_bool=()),
)


@app.default
async def inspect(
    node: Annotated[str, Parameter(env_var="FABRIC_NODE")] = INSPECTED_NODE,
    /,
    *,
    socket: Path | None = None,
    once: bool = False,
    json: bool = False,
    svg: Path | None = None,
    interval: float = 1.0,
) -> int:
    """Watch a node: its peers, channels, planes, services and listeners. ^C ends it.

    Where the output is no terminal, one frame is printed.

    Parameters
    ----------
    node:
        A node of the local fabric: of the nearest .fabric/ upward, or of $FABRIC_DIR.
    socket:
        The admin socket of any node on this machine, instead of NODE.
    once:
        Print one frame.
    json:
        Print the snapshot as the node gives it.
    svg:
        Write one frame to this file as a picture.
    interval:
        Seconds between frames.
    """
    admin = AdminClient(socket, str(socket)) if socket else existing_fabric().admin(node)
    console = Console()
    if json:
        print(jsonlib.dumps(await admin.snapshot(), indent=2))
    elif svg is not None:
        frame = node_view(await admin.snapshot())
        drawn = picture(frame, width=PICTURE_WIDTH, title=f"fabric-inspect {admin.name}")
        await trio.Path(svg).write_text(drawn)
    elif once or not console.is_terminal:
        show_text(node_view(await admin.snapshot()))
    else:
        await _watch(admin, console, interval)
    return Exit.YES


async def _watch(admin: AdminClient, console: Console, interval: float) -> None:
    """Draw a frame per *interval* until ^C; a node that goes away is waited for."""
    snapshot = await admin.snapshot()  # a node that is not there at first is an error
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            try:
                snapshot = await admin.snapshot()
                frame = node_view(snapshot, height=console.height)
            except NotReachedError as error:
                frame = gone_view(snapshot, error.message)
            live.update(frame, refresh=True)
            await trio.sleep(interval)


def main() -> None:
    sys.exit(finish(app))


if __name__ == "__main__":
    main()
