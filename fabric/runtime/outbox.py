"""Frames that wait to leave on one stream: bounded, and drained by a task of the stream's own.

Whoever has something to say puts it here and goes on: one slow peer delays nobody else. What does
not fit is dropped and counted. Nothing depends on it: a wave is repaired by anti-entropy, a probe
is followed by the next.

Two lanes: records and rolls can be many and large, and repair follows if they come late. All else
is small and about this moment, so it goes first and has room of its own: a probe neither waits
behind a wave nor is lost because of one. Each lane keeps its order. While nothing waits at all,
what would go first goes at once, without the task: the answer to a probe leaves with the
acknowledgement of the probe, and the process has slept again before a task would have run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

import trio
from attrs import define, field

from fabric.core.codec import MAX_FRAME, encode
from fabric.core.frames import Frame, Records, RollCall

MOST_BYTES: Final = 256 << 10
"""Of records and rolls, held for one stream: more is sooner repaired than sent."""

MOST_PROMPT_BYTES: Final = 32 << 10
"""Of everything else: hundreds of probes, or what is said when half of a fleet is suspected."""

PIECE_BYTES: Final = 16 << 10
"""Written at a time, so that a probe never waits behind more than that or one frame."""


@define(eq=False)
class _Lane:
    """Frames in their order, up to a number of bytes."""

    most_bytes: int
    held: int = field(init=False, default=0)
    _frames: deque[bytes] = field(init=False, factory=deque)

    def __bool__(self) -> bool:
        return bool(self._frames)

    def put(self, data: bytes) -> bool:
        """Take *data* if there is room for it. An empty lane has, for any frame."""
        if self._frames and self.held + len(data) > self.most_bytes:
            return False
        self._frames.append(data)
        self.held += len(data)
        return True

    def take(self, room: int) -> bytes | None:
        """Return the first frame, if it has no more than *room* bytes."""
        if not self._frames or len(self._frames[0]) > room:
            return None
        self.held -= len(self._frames[0])
        return self._frames.popleft()


def _never(_data: bytes) -> bool:
    return False


@define(eq=False)
class Outbox:
    """Belongs to one stream. :meth:`offer` from anywhere, :meth:`drain` from one task."""

    dropped: int = field(init=False, default=0)
    """Frames that found no room."""
    _send_at_once: Callable[[bytes], bool] = field(init=False, default=_never)
    _prompt: _Lane = field(init=False, factory=lambda: _Lane(MOST_PROMPT_BYTES))
    _patient: _Lane = field(init=False, factory=lambda: _Lane(MOST_BYTES))
    _filled: trio.Event = field(init=False, factory=trio.Event)
    _emptied: trio.Event = field(init=False, factory=trio.Event)

    @property
    def held(self) -> int:
        """Bytes that wait."""
        return self._prompt.held + self._patient.held

    def offer(self, frame: Frame) -> bool:
        """Queue *frame*, or return that there is no room for it. Never blocks."""
        data = encode(frame)
        lane = self._patient if isinstance(frame, Records | RollCall) else self._prompt
        if lane is self._prompt and not self.held and self._send_at_once(data):
            return True
        # Whoever reads it would end the connection over a frame that is too long.
        if len(data) > MAX_FRAME or not lane.put(data):
            self.dropped += 1
            return False
        self._filled.set()
        return True

    async def drain(
        self,
        send: Callable[[bytes], Awaitable[None]],
        send_at_once: Callable[[bytes], bool] = _never,
    ) -> NoReturn:
        """Hand over what is queued, piece by piece, until cancelled or *send* raises.

        What was handed over is gone, whether or not *send* got it out. *send_at_once* writes bytes
        if the stream takes them whole, now, and tells whether it did. It is asked from here on:
        what is offered before may have to stay behind others' first words on the stream.
        """
        self._send_at_once = send_at_once
        while True:
            await self._filled.wait()
            await send(self._next_piece())

    def _next_piece(self) -> bytes:
        """Take one frame of any size, and as many more as fit beside it."""
        piece = bytearray()
        room = MAX_FRAME
        while (data := self._prompt.take(room) or self._patient.take(room)) is not None:
            piece += data
            room = PIECE_BYTES - len(piece)
        if not self._prompt and not self._patient:
            self._filled = trio.Event()
            self._emptied.set()
            self._emptied = trio.Event()
        return bytes(piece)

    async def wait_empty(self) -> None:
        """Wait until all that is queued was handed over."""
        while self._prompt or self._patient:
            await self._emptied.wait()
