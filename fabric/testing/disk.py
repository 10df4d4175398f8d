"""Disk work done in place: for whole nodes on a virtual clock, which would jump past a thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import trio

T = TypeVar("T")


async def in_place(work: Callable[[], T], /) -> T:
    """Run *work* now, in trio's own thread."""
    await trio.lowlevel.checkpoint()
    return work()
