"""Where disk work is done: in one worker thread at a time, away from the event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import trio

T = TypeVar("T")


class RunBlocking(Protocol):
    """Runs *work* to its end and returns what it returns; one work at a time, in order.

    When it is cancelled it may leave *work* to end by itself, but still lets nothing else begin
    before. Tests on a virtual clock, which would jump past a thread, run it in place.
    """

    async def __call__(self, work: Callable[[], T], /) -> T: ...


def in_one_thread() -> RunBlocking:
    """Return what runs work in threads, never two at once."""
    one_at_a_time = trio.CapacityLimiter(1)

    async def run(work: Callable[[], T], /) -> T:
        # The limiter is held until an abandoned thread has ended, so its order holds all the same.
        return await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=one_at_a_time)

    return run
