"""Frames that wait to leave on one stream: bounded, and drained by a task of the stream's own.

Whoever has something to say puts it here and goes on: one slow peer delays nobody else. What does
not fit is dropped and counted. Nothing depends on it: a wave is repaired by anti-entropy, a probe
is followed by the next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

import trio
from attrs import define, field

from fabric.core.codec import encode
from fabric.core.frames import Frame

MOST_BYTES: Final = 256 << 10
"""Held for one stream. Four of the largest records; for probes and rumours it is hours of them."""

PIECE_BYTES: Final = 16 << 10
"""Written at a time, so that a probe never waits behind more than that and one record."""


@define(eq=False)
class Outbox:
    """Belongs to one stream. :meth:`offer` from anywhere, :meth:`drain` from one task."""

    most_bytes: int = MOST_BYTES
    dropped: int = field(init=False, default=0)
    """Frames that found no room."""
    held: int = field(init=False, default=0)
    """Bytes that wait."""
    _frames: deque[bytes] = field(init=False, factory=deque)
    _filled: trio.Event = field(init=False, factory=trio.Event)
    _emptied: trio.Event = field(init=False, factory=trio.Event)

    def offer(self, frame: Frame, *, ahead: bool = False) -> bool:
        """Queue *frame*, or return that there is no room. *ahead*: before all that waits."""
        data = encode(frame)
        if self.held + len(data) > self.most_bytes and self._frames:
            self.dropped += 1
            return False
        self.held += len(data)
        if ahead:
            self._frames.appendleft(data)
        else:
            self._frames.append(data)
        self._filled.set()
        return True

    async def drain(self, send: Callable[[bytes], Awaitable[None]]) -> NoReturn:
        """Hand over what is queued, in order, piece by piece, until cancelled."""
        while True:
            await self._filled.wait()
            await send(self._next_piece())

    def _next_piece(self) -> bytes:
        piece = [self._frames.popleft()]
        size = len(piece[0])
        while self._frames and size + len(self._frames[0]) <= PIECE_BYTES:
            piece.append(self._frames.popleft())
            size += len(piece[-1])
        self.held -= size
        if not self._frames:
            self._filled = trio.Event()
            self._emptied.set()
            self._emptied = trio.Event()
        return b"".join(piece)

    async def wait_empty(self) -> None:
        """Wait until all that is queued was handed over."""
        while self._frames:
            await self._emptied.wait()
