"""The numbers of what this node says about itself: each one drawn once, whatever ends the process.

Theory of operation
===================

Peers keep the record with the highest sequence and call two records of one sequence a lie. So a
number is on the disk before anything bears it, in a small document that is replaced whole. It is
apart from the cache because it is the one thing that cannot be heard again from a peer, and so
must outlive a cache that is put aside.

Numbers are unix seconds, or one more than the last where that is higher: a node that lost its
disk is still above what it said before, as long as its clock did not go back. Where that fails
too it hears its own old word from a peer, and claims one *above* that.

A disk that takes no writes keeps no node from speaking. Numbers then rise in memory alone, and
are written when it takes writes again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from attrs import define, field

from fabric import durable
from fabric.store.aside import put_aside

HIGHEST: Final = 2**53 - 1
"""What a record can bear."""


@define(eq=False)
class Sequences:
    """The last number drawn for each kind. *path* belongs to this object alone."""

    path: Path
    _last: dict[str, int] = field(init=False, factory=dict)
    _written: Mapping[str, int] | None = field(init=False, default=None)
    """None until the disk was asked."""

    def read(self) -> Path | None:
        """Continue above what the disk says, if it was not asked yet.

        Returns where a damaged document was put, if it was. Raises :exc:`OSError`.
        """
        if self._written is not None:
            return None
        aside = None
        try:
            stored = _parsed(self.path.read_bytes())
        except FileNotFoundError:
            stored = {}
        except (ValueError, RecursionError):
            stored, aside = {}, put_aside(self.path)
        self._written = stored
        for kind, number in stored.items():
            self._last[kind] = max(number, self._last.get(kind, 0))
        return aside

    def claim(self, kind: str, unix_now: float, *, above: int = 0) -> int:
        """Return the next number for *kind*; not to be used before :meth:`write` has returned."""
        number = min(max(self._last.get(kind, 0), int(unix_now), above) + 1, HIGHEST)
        self._last[kind] = number
        return number

    @property
    def unwritten(self) -> bool:
        """Whether numbers were drawn that the disk does not have."""
        return self._last != (self._written or {})

    def write(self) -> None:
        """Make every number drawn so far durable, once :meth:`read` was called.

        Blocks for the disk. Raises :exc:`OSError`.
        """
        drawn = dict(self._last)
        durable.replace_file(self.path, (json.dumps(drawn, sort_keys=True) + "\n").encode())
        self._written = drawn


def _parsed(raw: bytes) -> dict[str, int]:
    document = json.loads(raw.decode())
    if not isinstance(document, dict):
        raise ValueError("no object")
    for number in document.values():
        if type(number) is not int or not 0 <= number <= HIGHEST:
            raise ValueError(f"{number!r} is not a sequence")
    return document
