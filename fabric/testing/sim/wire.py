"""A connection between two simulated nodes: two streams each way, in order, over lossy datagrams.

The model
=========

- What is written at one moment on one stream shares a datagram while there is room. Each datagram
  takes a delay of its own, so those of different streams, and of different peers, overtake each
  other. Within a stream nothing does: what is behind a gap waits for it.
- A lost datagram comes later (:meth:`.weather.Weather.lateness`); nothing that was written is lost
  while the connection stands. A frame that finds no room is: of records and rolls as much waits
  as the outbox and the first credit of a stream hold, and of all else as much as its own lane.
- A frame that nobody reads, because the process sleeps or has paused the stream, waits and takes
  up that room.
- A connection passes :data:`RATE` bytes a second each way, small frames before records.
- Bytes are those of UDP payload: encoded frames, what QUIC adds to a datagram, retransmissions,
  and acknowledgements, alone or beside what is sent back in the same moment.

Not modelled: congestion control, and bytes of a handshake but for :data:`HANDSHAKE`.
"""

from __future__ import annotations

import random
from collections import deque
from typing import Final

from attrs import define, field

from fabric.core.codec import encode
from fabric.core.frames import Frame, Records, RollCall
from fabric.core.identity import NodeId
from fabric.runtime.outbox import MOST_BYTES, MOST_PROMPT_BYTES
from fabric.testing.sim.weather import Weather

CREDIT: Final = 64 << 10
"""Bytes that a stream takes before anything of it is read."""

RATE: Final = float(1 << 20)
"""Bytes a second: an uplink of some 8 Mbit/s."""

DATAGRAM: Final = 1200
"""Bytes of stream data in one datagram, about."""

AROUND: Final = 35
"""Bytes that QUIC puts around them: flags, connection id, number, frame header, tag."""

ACKNOWLEDGEMENT: Final = 35
"""Bytes of a datagram that only acknowledges."""

BESIDE: Final = 5
"""Bytes of an acknowledgement beside other frames."""

HANDSHAKE: Final = (2400, 2800)
"""Bytes of dialler and acceptor until Hello is answered: padded Initials, a certificate, Hello."""


@define(eq=False)
class Item:
    """One frame on its way."""

    frame: Frame
    size: int
    is_patient: bool
    leaves_at: float
    comes_at: float
    """When its last datagram arrives."""
    reads_at: float
    """When it can be read, if nobody holds it up."""
    datagrams: int
    """That are its own; 0 where it shares another frame's."""


@define(eq=False)
class Way:
    """One direction of one stream."""

    sender: NodeId
    receiver: NodeId
    is_sync: bool = False
    items: deque[Item] = field(init=False, factory=deque)
    dropped: int = field(init=False, default=0)
    """Frames that found no room."""
    wrote_at: float = field(init=False, default=-1.0)
    paused_until: float = field(init=False, default=-1.0)
    """Until when the receiver reads nothing of it."""
    held_until: float = field(init=False, default=-1.0)
    """Until when somebody is to look at it again."""
    awaits_written: bool = field(init=False, default=False)
    free_at: float = field(init=False, default=0.0)
    """When all that was put on it has left."""
    resent: int = field(init=False, default=0)
    """Datagrams of the last frame that were lost, and sent again."""
    _prompt_free_at: float = field(init=False, default=0.0)
    _clear_at: float = field(init=False, default=0.0)
    _unread: int = field(init=False, default=0)
    _prompt_unread: int = field(init=False, default=0)
    _room: int = field(init=False, default=0)
    """Bytes left in the datagram that was begun last."""
    _last_came_at: float = field(init=False, default=0.0)

    @property
    def unread(self) -> int:
        """Bytes of records, rolls and sync that are on the way or wait to be read."""
        return self._unread

    def put(self, frame: Frame, now: float, weather: Weather, rng: random.Random) -> Item | None:
        """Send *frame*; return it on its way, or None if there is no room for it."""
        size = len(encode(frame))
        is_patient = self.is_sync or isinstance(frame, Records | RollCall)
        if not self._takes(size, is_patient):
            self.dropped += 1
            return None
        item = self._begin(frame, size, is_patient, now, weather, rng)
        self.items.append(item)
        return item

    def _takes(self, size: int, is_patient: bool) -> bool:
        if self.is_sync:
            return True  # a core gives no more before it hears that all of it is written
        if is_patient:
            return not self._unread or self._unread + size <= MOST_BYTES + CREDIT
        return not self._prompt_unread or self._prompt_unread + size <= MOST_PROMPT_BYTES + CREDIT

    def _begin(
        self,
        frame: Frame,
        size: int,
        is_patient: bool,
        now: float,
        weather: Weather,
        rng: random.Random,
    ) -> Item:
        leaves_at = max(now, self.free_at if is_patient else self._prompt_free_at)
        done_at = leaves_at + size / RATE
        self.free_at = max(self.free_at, now) + size / RATE
        if is_patient:
            self._unread += size
        else:
            self._prompt_unread += size
            self._prompt_free_at = done_at
        if self.wrote_at == now and size <= self._room:  # it travels with the one before
            datagrams, comes_at, self.resent = 0, max(self._last_came_at, done_at), 0
            self._room -= size
        else:
            datagrams = -(-size // DATAGRAM)
            late, resent = weather.lateness(rng, datagrams)
            comes_at = done_at + late + weather.trip(rng)
            self.resent = resent
            self._room = datagrams * DATAGRAM - size
        self.wrote_at, self._last_came_at = now, comes_at
        self._clear_at = max(self._clear_at, comes_at)
        return Item(frame, size, is_patient, leaves_at, comes_at, self._clear_at, datagrams)

    def not_before(self, moment: float) -> None:
        """Let nothing be read before *moment*: Hello's answer goes before."""
        self._clear_at = max(self._clear_at, moment)

    def take(self) -> Item:
        """Let the receiver read the next frame."""
        item = self.items.popleft()
        if item.is_patient:
            self._unread -= item.size
        else:
            self._prompt_unread -= item.size
        return item


@define(eq=False)
class Connection:
    """An admitted connection, and which of its ends hold it still."""

    dialler: NodeId
    acceptor: NodeId
    boots: dict[NodeId, int]
    """Which process of either end."""
    is_up: dict[NodeId, bool] = field(init=False)
    heard_at: dict[NodeId, float] = field(init=False)
    began_at: dict[NodeId, float] = field(init=False, factory=dict)
    stopped_at: dict[NodeId, float] = field(init=False, factory=dict)
    """When the process at an end was no more: what was to leave later never does."""
    is_sync_known: bool = field(init=False, default=False)
    """Whether the acceptor has heard of the sync stream."""
    control: dict[NodeId, Way] = field(init=False)
    """By sender."""
    sync: dict[NodeId, Way] = field(init=False, factory=dict)
    """By sender; nothing between two streams."""

    def __attrs_post_init__(self) -> None:
        ends = (self.dialler, self.acceptor)
        self.is_up = dict.fromkeys(ends, False)
        self.heard_at = dict.fromkeys(ends, 0.0)
        self.control = self._ways(is_sync=False)

    def other(self, end: NodeId) -> NodeId:
        return self.acceptor if end == self.dialler else self.dialler

    def open_sync(self) -> None:
        """Begin a sync stream, in place of the one before."""
        self.sync, self.is_sync_known = self._ways(is_sync=True), False

    def carries(self, way: Way) -> bool:
        """Return whether *way* is one of its streams still."""
        return (self.sync if way.is_sync else self.control).get(way.sender) is way

    def _ways(self, *, is_sync: bool) -> dict[NodeId, Way]:
        return {end: Way(end, self.other(end), is_sync) for end in (self.dialler, self.acceptor)}
