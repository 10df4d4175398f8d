"""Keeping long-lived tasks alive without hiding their bugs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import NoReturn

import structlog
import trio

from fabric.core.backoff import Backoff
from fabric.core.planes import Planes, PlaneState
from fabric.errors import FabricError, LocalProtocolError

log = structlog.get_logger()

STABLE_AFTER = 30.0
"""Seconds a task must survive before its next failure counts as the first."""


async def keep_running(
    name: str, body: Callable[[], Awaitable[object]], backoff: Backoff
) -> NoReturn:
    """Run *body* for ever, restarting it after weather but never after a bug.

    Weather is :exc:`OSError`, or any :exc:`FabricError` except :exc:`LocalProtocolError`.
    Everything else, cancellation included, propagates to the nursery: a supervisor that swallows
    ``TypeError`` only delays the page.
    """
    while True:
        started = trio.current_time()
        reason = "returned"
        try:
            await body()
        except* LocalProtocolError:
            raise
        except* (OSError, FabricError) as group:  # a body's nursery wraps what it raises
            reason = ", ".join(repr(exc) for exc in leaves(group))
        if trio.current_time() - started >= STABLE_AFTER:
            backoff.reset()
        delay = backoff.next_delay()
        log.warning("task.restarting", task=name, reason=reason, delay_s=round(delay, 3))
        await trio.sleep(delay)


async def keep_plane(
    planes: Planes, name: str, body: Callable[[], Awaitable[object]], backoff: Backoff
) -> NoReturn:
    """As :func:`keep_running`, and show in *planes* what becomes of it."""

    async def watched() -> None:
        planes.entered(name, PlaneState.RUNNING)
        try:
            await body()
        finally:
            planes.entered(name, PlaneState.RESTARTING)

    try:
        await keep_running(name, watched, backoff)
    finally:
        planes.entered(name, PlaneState.STOPPED)


def leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    """Yield the exceptions at the bottom of *group*, in the order they were raised."""
    for exc in group.exceptions:
        if isinstance(exc, BaseExceptionGroup):
            yield from leaves(exc)
        else:
            yield exc
