"""How much the streams of a connection may queue in its engine, and who waits until it is more.

Theory of operation
===================

What is queued in the engine costs others. More than the congestion window takes holds up
acknowledgements (decision 0006), and where a stream was cut short all of it has to leave before
events are taken (decision 0009). So no more is queued than the window has room for, and
:data:`QUEUED_MAX` in all; while events are held back, nothing. The rest waits in ``send_all``,
those that waited longest go on first. A stream that has less than :data:`SMALL` queued is only
bound by the window: the engine sends all streams in turn, and a request need not wait for bulk.

Streams whose frame headers differ in length queue by turns (decision 0017). The engine packs as
much data into each datagram whatever the header, and takes from all streams in turn: datagrams of
two sizes would alternate, and the kernel sends only equal ones with one call. A turn ends when
what it was given is used up and has left; then it is theirs who have waited longest. Where the
window is what binds, it sets the pace and nothing is gained by turns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fabric.trio_quic.settings import Settings

if TYPE_CHECKING:
    from fabric.trio_quic._native import Engine
    from fabric.trio_quic.stream import Stream

QUEUED_MAX = 1024 * 1024
"""Bytes. Beside the bulk of a hundred streams, with one reset every few milliseconds, a ping took
20 ms (4 MiB: 55, without bound: 470). Eight bulk streams still have 128 KiB each."""

SMALL = 4 * 1024
"""Bytes that any stream may have queued beyond the others': a request, with room to spare."""

WINDOW_SHARE = 16 * 1024
"""What one woken sender is expected to take of a congestion window that has little room."""

QUEUE_SHARE = 64 * 1024
"""The same where only the queue is full: about a run. Woken in vain, a sender costs 20 us."""


class Room:
    """One connection's; what streams take is subtracted until the next flush measures anew."""

    def __init__(self, limits: Settings) -> None:
        self.waiting: dict[Stream, None] = {}
        """Streams whose sender waits for room, in the order in which they came."""
        self._limits = limits
        self._in_window = self._in_queue = limits.unsent_high
        self._header_bytes = 0
        """Of the frames that are queued."""
        self._is_drained = True
        self._is_shared = False
        """Whether streams with other headers wait."""
        self._turn = 0
        """Bytes that may be queued until it is theirs."""

    def measure(self, engine: Engine) -> None:
        """Look how much there is, after a flush."""
        self._in_window = engine.window_room(2 * self._limits.unsent_high)
        self._is_drained = engine.is_drained
        if engine.holds_events:
            self._in_queue = 0
        else:
            self._in_queue = QUEUED_MAX - engine.queued(exact_above=QUEUED_MAX // 2)

    def take(self, size: int, header_bytes: int) -> None:
        """Note that so much was queued."""
        self._in_window -= size
        self._in_queue -= size
        self._turn -= size
        if size > SMALL and self._is_drained:
            self._is_drained = False
            self._header_bytes = header_bytes

    def wait(self, stream: Stream) -> None:
        """Note whose sender waits; :meth:`wake` wakes it."""
        self.waiting[stream] = None
        self._is_shared |= stream.header_bytes != self._header_bytes

    def beside(self, unsent: int, header_bytes: int) -> int:
        """Return how much a stream may queue that has *unsent* bytes queued."""
        in_queue = self._in_queue if self._is_its_turn(header_bytes) else 0
        in_queue = max(in_queue, SMALL - unsent)
        return min(self._limits.unsent_high - unsent, self._in_window, in_queue)

    def is_enough_beside(self, unsent: int, header_bytes: int) -> bool:
        """Return whether a sender that waits should go on, of whom *unsent* bytes are queued."""
        left = min(self._in_window, self._in_queue)
        return (
            left >= self._limits.max_datagram_bytes
            and unsent <= self._limits.unsent_high // 2
            and self._is_its_turn(header_bytes)
        )

    def _is_its_turn(self, header_bytes: int) -> bool:
        if self._in_window < self._in_queue:
            return True
        if not self._is_shared:
            return self._is_drained or header_bytes == self._header_bytes
        return self._turn > 0 and header_bytes == self._header_bytes

    def _begin_turn(self) -> None:
        """Give a turn to those whose headers are as long as those of who has waited longest."""
        self._header_bytes = next(iter(self.waiting)).header_bytes
        same = sum(each.header_bytes == self._header_bytes for each in self.waiting)
        self._turn = same * self._limits.unsent_high
        self._is_shared = same < len(self.waiting)

    def wake(self) -> None:
        """Let go on who has waited longest, as many as there is room for."""
        if not self.waiting:
            return
        if self._is_drained:
            self._begin_turn()
        left = min(self._in_window, self._in_queue)
        share = WINDOW_SHARE if self._in_window < self._in_queue else QUEUE_SHARE
        for stream in list(self.waiting):
            if left <= 0:
                return
            if stream.wake_if_roomy():
                left -= share
