"""Stream credit: how much a peer may send on a stream, decided by its reader's progress.

Theory of operation
===================

The engine renews its own flow control when an event is *taken*, whether or not the application
has read, so it cannot hold back a sender whose reader stalls. The two drivers therefore keep
credit of their own. A fresh stream may carry :data:`INITIAL_CREDIT` bytes. As its reader
consumes, the receiving driver writes *grants* on a unidirectional stream of kind 0::

    grant = stream id, consumed, limit    (three varints, absolute; neither number ever falls)

and the sender stops at the limit. A grant is due when less than half of the window is left. The
window starts at the initial credit and doubles each time its reader has kept up (nothing unread
when the grant is due), up to a ceiling. What is promised beyond the initial credit is summed over
the connection's streams; a window may take an eighth of what is left under the guard, so the
first readers get all they ask for and many slow ones share, while a reader that keeps up never
falls below :data:`FLOOR`.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from fabric.trio_quic import codes
from fabric.trio_quic.settings import INITIAL_CREDIT, Settings

if TYPE_CHECKING:
    from fabric.trio_quic.connection import Connection
    from fabric.trio_quic.stream import Stream

CREDIT_KIND = 0
"""First byte of the credit stream; its user's unidirectional streams take 1 to 63."""

FLOOR = 2 * INITIAL_CREDIT
"""Smallest window of a reader that keeps up, however little is left under the guard."""

LOOK_AGAIN = 64
"""Finished streams kept before those read meanwhile are let go; then at twice what is left."""

SHORT_PATH = 0.005
"""Round trips up to this many seconds need no more than 1 MiB in flight per stream."""


def next_window(window: int, *, kept_up: bool, promised: int, far: bool, limits: Settings) -> int:
    """Return the window for the next grant.

    *promised* is the connection's sum beyond the initial credits, this stream's own left out.
    """
    if not kept_up:
        return window
    ceiling = limits.max_stream_credit_far if far else limits.max_stream_credit
    share = max(FLOOR, (limits.guard_bytes - promised) // 8)
    return max(INITIAL_CREDIT, min(2 * window, ceiling, share))


def varint_bytes(value: int) -> int:
    """Return how many bytes *value* takes as a varint."""
    if value < 1 << 14:
        return 1 if value < 1 << 6 else 2
    return 4 if value < 1 << 30 else 8


def encode_varint(value: int) -> bytes:
    """Encode as RFC 9000 section 16 does; *value* is below 2**62."""
    size = varint_bytes(value)
    return (value | (size.bit_length() - 1) << (8 * size - 2)).to_bytes(size, "big")


def decode_varint(data: bytes | bytearray, at: int) -> tuple[int, int] | None:
    """Return (value, index after it), or ``None`` when *data* ends too soon."""
    if at >= len(data):
        return None
    size = 1 << (data[at] >> 6)
    if at + size > len(data):
        return None
    return int.from_bytes(data[at : at + size], "big") & ((1 << (8 * size - 2)) - 1), at + size


def encode_grant(stream_id: int, consumed: int, limit: int) -> bytes:
    """One grant, to be appended to the credit stream."""
    return encode_varint(stream_id) + encode_varint(consumed) + encode_varint(limit)


class GrantReader:
    """Collects the bytes of a credit stream into whole grants; keeps at most one partial grant."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def receive(self, data: bytes) -> list[tuple[int, int, int]]:
        """Return the grants completed by *data* as (stream id, consumed, limit)."""
        data = self._rest + data
        grants: list[tuple[int, int, int]] = []
        at = 0
        while True:
            numbers: list[int] = []
            end = at
            while len(numbers) < 3 and (step := decode_varint(data, end)) is not None:
                numbers.append(step[0])
                end = step[1]
            if len(numbers) < 3:
                self._rest = data[at:]
                return grants
            grants.append((numbers[0], numbers[1], numbers[2]))
            at = end


class Credit:
    """One connection's credit: what its streams granted, and the grants that the peer sent."""

    def __init__(self, connection: Connection) -> None:
        self.unread = 0
        """Bytes received on all streams that nobody has taken."""
        self.promised = 0
        """Sum over streams of what was granted beyond the initial credit."""
        self.peer_stream: int | None = None
        """The stream on which the peer's grants come."""
        self._connection = connection
        self._reader = GrantReader()
        self._own_stream: int | None = None
        self._out: list[bytes] = []
        self._finished: list[Stream] = []
        """Streams that the engine is done with and, when last looked at, a reader was not."""
        self._look_again_at = LOOK_AGAIN

    def grant(self, stream_id: int, consumed: int, limit: int) -> None:
        """Have a grant sent with the next flush."""
        self._out.append(encode_grant(stream_id, consumed, limit))
        self._connection.touch()

    def write(self) -> None:
        """Hand the grants that wait to the engine; the first opens the credit stream."""
        connection = self._connection
        if not self._out or connection.closed is not None:
            return
        grants = b"".join(self._out)
        self._out.clear()
        if self._own_stream is None:
            self._own_stream = connection.engine.open(unidirectional=True)
            grants = bytes([CREDIT_KIND]) + grants
        connection.engine.send(self._own_stream, grants, fin=False)

    def receive(self, data: bytes, fin: bool) -> None:
        """Take bytes of the peer's credit stream. Its end, or nonsense on it, closes all."""
        connection = self._connection
        if fin:
            connection.close(codes.FLOW_CONTROL, "credit stream was finished")
            return
        for stream_id, consumed, limit in self._reader.receive(data):
            if limit < consumed:
                connection.close(codes.FLOW_CONTROL, "a limit below what was consumed")
                return
            stream = connection.streams.get(stream_id)
            if stream is not None:
                stream.on_grant(limit)

    def stream_finished(self, stream: Stream) -> None:
        """Keep a stream that is over and unread in sight of :meth:`relieve`, or newcomers pay."""
        if not stream.unread:
            return
        self._finished.append(stream)
        if len(self._finished) >= self._look_again_at:
            self._finished = [each for each in self._finished if each.unread]
            self._look_again_at = max(LOOK_AGAIN, 2 * len(self._finished))

    def relieve(self) -> None:
        """Reset the streams that went unread the longest until the guard holds again."""
        held = itertools.chain(self._connection.streams.values(), self._finished)
        waiting = sorted(
            (stream for stream in held if stream.unread), key=lambda stream: stream.read_at
        )
        for stream in waiting:
            if self.unread <= self._connection.limits.guard_bytes:
                return
            stream.cut_off(codes.READER_STALLED)
