"""Which stream ids of the peer's were seen, so that each is accepted once.

The engine forgets streams that finished long ago (it remembers 1,024), and a late frame would
bring one back to life with stale data. What is known here is the highest id of each kind, and
which below it have not come yet: ids may arrive in any order.
"""

from __future__ import annotations

_STEP = 4
_ONE_WAY = 2


class PeerStreams:
    """The ids that the peer opened. Memory: the ids skipped so far, at most its stream limit."""

    __slots__ = ("_highest", "_skipped")

    def __init__(self) -> None:
        self._highest: dict[int, int] = {}
        self._skipped: set[int] = set()

    def first_sight(self, stream_id: int) -> bool:
        """Note *stream_id*; return whether it was never seen before."""
        kind = stream_id % _STEP
        highest = self._highest.get(kind, kind - _STEP)
        if stream_id > highest:
            self._skipped.update(range(highest + _STEP, stream_id, _STEP))
            self._highest[kind] = stream_id
            return True
        if stream_id in self._skipped:
            self._skipped.discard(stream_id)
            return True
        return False


def is_further(stream_id: int) -> bool:
    """Return whether this is a bidirectional stream that is not its opener's first."""
    return stream_id >= _STEP and not stream_id & _ONE_WAY
