"""An answer printed: as JSON for a script, as text for a person."""

from __future__ import annotations

import json as jsonlib
import sys
from pathlib import Path

from rich.console import Console, RenderableType

from cli.exits import Json

_UNLIMITED = 10_000
"""Width of a pipe: whoever reads it wants whole lines, not a terminal's."""


def show(document: Json, text: RenderableType, *, json: bool) -> None:
    """Print *document* if *json*, else *text*: the one answer of a command."""
    if json:
        print(jsonlib.dumps(document, indent=2))
    else:
        show_text(text, width=None if sys.stdout.isatty() else _UNLIMITED)


def show_text(text: RenderableType, *, width: int | None = None) -> None:
    """Print *text*, *width* characters wide or as wide as the terminal."""
    console = Console(width=width, highlight=False)
    with console.capture() as printed:
        console.print(text)
    for line in printed.get().splitlines():  # cells are filled up with blanks
        print(line.rstrip())


def here(path: Path) -> str:
    """*path* as it is typed from the working folder."""
    whole = path.absolute()
    return str(whole.relative_to(Path.cwd())) if whole.is_relative_to(Path.cwd()) else str(whole)
