"""Records on their way out: by whom they go to, in frames that a probe can wait behind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from fabric.core.frames import MOST_RECORDS
from fabric.core.identity import NodeId
from fabric.core.wave import Item, Send

PART_BYTES: Final = 16 << 10
"""Of records in one frame, unless one alone is larger: what a probe may have to wait behind, and
far below the longest frame that anybody reads."""


def parcels(sends: Iterable[Send]) -> Iterator[tuple[NodeId, tuple[Item, ...]]]:
    """Yield to whom each frame goes and what is in it: peers in their first order, items too."""
    outgoing: dict[NodeId, list[Item]] = {}
    for send in sends:
        outgoing.setdefault(send.to, []).append(send.item)
    for to, items in outgoing.items():
        for part in in_parts(items):
            yield to, part


def in_parts(items: Iterable[Item]) -> Iterator[tuple[Item, ...]]:
    """Yield *items* in order, as many at a time as go into one frame."""
    part: list[Item] = []
    size = 0
    for item in items:
        size += len(item[0])
        if part and (size > PART_BYTES or len(part) == MOST_RECORDS):
            yield tuple(part)
            part, size = [], len(item[0])
        part.append(item)
    yield tuple(part)
