"""Putting a file aside that cannot be used, so that a new one can take its place.

It is kept for whoever wants to know what was in it, but not every one for ever.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

MOST_ASIDE: Final = 3
"""The newest of one name: a disk that fails each night must not fill itself with the proofs."""

_MARK: Final = ".aside-"

_BESIDE: Final = ("-wal", "-shm", "")
"""What SQLite keeps beside a file, and last the file: ended half-way, this must not leave a log
that would be taken for that of the new file."""


def put_aside(path: Path) -> Path:
    """Rename *path*, and what SQLite keeps beside it, to ``<name>.aside-<unix time>``.

    Returns the new name, or *path* itself where nothing is. Raises :exc:`OSError`.
    """
    if not path.exists():
        return path
    before = [_when(old) for old in all_aside(path)]
    when = max([int(time.time()), *(each + 1 for each in before)])
    aside = path.with_name(f"{path.name}{_MARK}{when}")
    for suffix in _BESIDE:
        beside = Path(f"{path}{suffix}")
        if beside.exists():
            os.replace(beside, f"{aside}{suffix}")
    for old in all_aside(path)[:-MOST_ASIDE]:
        for suffix in _BESIDE:
            Path(f"{old}{suffix}").unlink(missing_ok=True)
    return aside


def all_aside(path: Path) -> Sequence[Path]:
    """Return what *path* was once, oldest first."""
    named = re.compile(re.escape(path.name + _MARK) + r"\d+")
    return sorted(
        (each for each in path.parent.iterdir() if named.fullmatch(each.name)), key=_when
    )


def _when(aside: Path) -> int:
    return int(aside.name.rpartition(_MARK)[2])
