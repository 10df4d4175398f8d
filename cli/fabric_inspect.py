"""``fabric-inspect``: a live view of one node through its admin socket."""

from __future__ import annotations

import json as jsonlib
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Literal, TypeAlias

import cyclopts
import trio
from attrs import frozen
from cyclopts import Parameter
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from cli.client import AdminClient
from cli.ctl.asking import ASKED, Node, admin_at
from cli.exit_codes import Exit
from cli.exits import Json, NotReachedError, finish
from cli.keys import open_keys
from cli.output import show_text
from cli.svg import picture
from cli.tables import Cropped, cut
from cli.views import gone_view, members_view, node_view, services_view, waves_view
from fabric import __version__

PICTURE_WIDTH = 100
"""Columns of an SVG: all of a row shows, and a README can hold it."""

QUIT = "q"

HINT_LINES = 2
"""At the end of each frame: which keys there are, and a gap above."""

app = cyclopts.App(
    name="fabric-inspect",
    version=f"fabric-inspect {__version__}",
    default_parameter=Parameter(negative_bool=()),
)

ViewName: TypeAlias = Literal["node", "services", "members", "waves"]


@frozen
class View:
    """One way to look at a node: what is asked beside the snapshot, and how it is drawn."""

    key: str
    """What brings it, on the keyboard."""
    ask: Callable[[AdminClient], Awaitable[Json]]
    draw: Callable[..., RenderableType]


VIEWS: Mapping[ViewName, View] = {
    "node": View("n", AdminClient.snapshot, node_view),
    "services": View("s", AdminClient.registry, services_view),
    "members": View("m", AdminClient.members, members_view),
    "waves": View("w", AdminClient.waves, waves_view),
}


@app.default
async def inspect(
    node: Node = ASKED,
    /,
    *,
    view: ViewName = "node",
    socket: Path | None = None,
    once: bool = False,
    json: bool = False,
    svg: Path | None = None,
    interval: float = 1.0,
) -> int:
    """Watch a node: its peers, channels, planes, services and listeners; and what it knows.

    The keys n, s, m and w change the view; q or ^C ends it. Where the output is no terminal, one
    frame is printed.

    Parameters
    ----------
    node:
        A node of the local fabric: of the nearest .fabric/ upward, or of $FABRIC_DIR.
    view:
        What to begin with: the node itself, the fabric's services, its members, or the last waves.
    socket:
        The admin socket of any node on this machine, instead of NODE.
    once:
        Print one frame.
    json:
        Print what the view is made of, as the node gives it.
    svg:
        Write one frame to this file as a picture.
    interval:
        Seconds between frames.
    """
    admin = admin_at(node, socket)
    console = Console()
    if json:
        print(jsonlib.dumps(await VIEWS[view].ask(admin), indent=2))
    elif svg is not None:
        frame = await _Eye(admin, view).frame()
        drawn = picture(frame, width=PICTURE_WIDTH, title=f"fabric-inspect {admin.name}")
        await trio.Path(svg).write_text(drawn)
    elif once or not console.is_terminal:
        show_text(await _Eye(admin, view).frame())
    else:
        await _watch(_Eye(admin, view), console, interval)
    return Exit.YES


class _Eye:
    """What one looks at: a node, in one of the views."""

    def __init__(self, admin: AdminClient, view: ViewName) -> None:
        self._admin = admin
        self._view = view
        self._snapshot: Json | None = None

    async def frame(self, height: int | None = None) -> RenderableType:
        """The view as the node is now. Raises :exc:`NotReachedError` if it never answered."""
        try:
            return await self._drawn(height)
        except NotReachedError as error:
            if self._snapshot is None:
                raise
            return gone_view(self._snapshot, error.message)

    async def _drawn(self, height: int | None) -> RenderableType:
        view = VIEWS[self._view]
        self._snapshot = snapshot = await self._admin.snapshot()
        if self._view == "node":
            return view.draw(snapshot, height=height)
        return view.draw(snapshot, await view.ask(self._admin), now=time.time(), height=height)

    def press(self, key: str) -> None:
        """Change to the view that *key* brings, if any."""
        self._view = next((name for name, each in VIEWS.items() if each.key == key), self._view)

    def hint(self) -> Text:
        """Which keys there are, the present view's in bold."""
        told = Text()
        for name, view in VIEWS.items():
            told.append(f"{view.key} {name}", "bold" if name == self._view else "dim").append("  ")
        return cut(told.append(f"{QUIT} quit", "dim"))


async def _watch(eye: _Eye, console: Console, interval: float) -> None:
    """Draw a frame per *interval* until q or ^C; a node that goes away is waited for."""
    room = console.height - HINT_LINES
    frame = await eye.frame(room)  # who is not there at first is an error
    async with open_keys() as keys:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(Group(Cropped(frame, room), "", eye.hint()), refresh=True)
                with trio.move_on_after(interval):
                    if (key := await keys.receive()) == QUIT:
                        return
                    eye.press(key)
                room = console.height - HINT_LINES
                frame = await eye.frame(room)


def main() -> None:
    sys.exit(finish(app))


if __name__ == "__main__":
    main()
