"""Tables without lines, cells that give up their end, and states in their colours."""

from __future__ import annotations

from attrs import frozen
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

_STATE_STYLE = {
    "ready": "green",
    "connected": "green",
    "running": "green",
    "open": "green",
    "starting": "yellow",
    "draining": "yellow",
    "dialling": "yellow",
    "waiting": "yellow",
    "restarting": "yellow",
    "refused": "bold red",
    "stopped": "bold red",
    "died": "bold red",
    # of members
    "alive": "green",
    "suspect": "yellow",
    "dead": "bold red",
    "left": "dim",
    # of records
    "live": "green",
    "cached": "yellow",
    "grace": "yellow",
    "expired": "bold red",
    "peer_barred": "bold red",
    "revoked": "dim",
    "disputed": "bold red",
    # of services
    "active": "green",
    "candidate_only": "yellow",
    "missing": "bold red",
}


def columns(*headings: str) -> Table:
    """A table without lines; a heading that starts with ``>`` is set to the right."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for heading in headings:
        right = heading.startswith(">")
        name = heading.removeprefix(">").upper()
        table.add_column(name, justify="right" if right else "left")
    return table


def cut(text: str | Text) -> Text:
    """A cell that gives up its end, not its line, where the screen is narrow."""
    cell = Text(text) if isinstance(text, str) else text
    cell.no_wrap, cell.overflow = True, "ellipsis"
    return cell


@frozen
class Cropped:
    """*frame* without what comes after its first *height* lines."""

    frame: RenderableType
    height: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        unbounded = options.update(height=None)
        lines = console.render_lines(self.frame, unbounded, pad=False)
        for line in lines[: self.height]:
            yield from line
            yield Segment.line()


def state_word(state: str) -> Text:
    return Text(state, _STATE_STYLE.get(state, ""), no_wrap=True)
