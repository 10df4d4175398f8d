"""One connection from accept to its end: what it moved, who may end it, and with which code."""

from __future__ import annotations

import math

import trio
from attrs import define, field

from fabric.codes import Code


@define(eq=False)
class Lifetime:
    """Counters, limits and the one cancel scope of a connection.

    The handler runs its whole connection inside :attr:`scope`. Whoever has a reason to end it
    (a broken direction, a quota, a drain) calls :meth:`end`; the first reason stands.
    """

    quota_bytes: int = 0
    """Most bytes over both ways together; 0 for no quota."""

    idle_timeout: float = 0.0
    """Seconds without a byte either way before the end; 0 for never."""

    started: float = field(factory=trio.current_time)
    sent_bytes: int = 0
    """Taken from TCP and given to the channel."""

    received_bytes: int = 0
    """Taken from the channel and given to TCP."""

    scope: trio.CancelScope = field(factory=trio.CancelScope)
    _admitted_bytes: int = 0
    _code: Code | None = None
    _refresh_at: float = math.inf

    @property
    def code(self) -> Code:
        """Why it ended; ``DONE`` while nothing but two FINs has ended it."""
        return Code.DONE if self._code is None else self._code

    @property
    def age(self) -> float:
        """Seconds since it was accepted."""
        return trio.current_time() - self.started

    def end(self, code: Code) -> None:
        """End the connection for *code*, from any task. Later reasons are consequences."""
        if self._code is None:
            self._code = code
            self.scope.cancel()

    def watch_idleness(self) -> None:
        """Start the idle clock. Nothing happens without an idle timeout."""
        if self.idle_timeout:
            self._refresh(trio.current_time())

    def settle(self) -> None:
        """Name what cancelled the connection without :meth:`end`: its idle clock, or its owner."""
        idle = self.scope.deadline <= trio.current_time()
        self.end(Code.IDLE if idle else Code.CANCELLED)

    def allows(self, count: int) -> bool:
        """Let *count* more bytes pass; False when that would exceed the quota, which ends it."""
        if self.idle_timeout:
            now = trio.current_time()
            if now >= self._refresh_at:
                self._refresh(now)
        if self.quota_bytes:
            # Counted on entry: the other direction's piece may be on its way just now.
            self._admitted_bytes += count
            if self._admitted_bytes > self.quota_bytes:
                self.end(Code.QUOTA_EXCEEDED)
                return False
        return True

    def _refresh(self, now: float) -> None:
        # The deadline moves at most four times per timeout, not with every piece: moving it is
        # a heap push. So the end comes between 1 and 1.25 timeouts after the last byte.
        self._refresh_at = now + self.idle_timeout / 4
        self.scope.deadline = now + self.idle_timeout * 1.25
