"""What happens in a node, told to whoever listens; a slow listener loses events, never time.

Theory of operation
===================

Publishing appends to the bounded queue of each subscription and returns: no await, no clock
but one reading, nothing at all while nobody listens. A full queue drops its *oldest* event,
since an operator who looks wants to know how things stand now, and the subscription tells its
reader how many it lost by one ``events.dropped`` event in their place.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager

import trio
from attrs import Factory, define, field, frozen

from fabric.runtime.plain import to_json

QUEUE_EVENTS = 1024
"""Events held for one slow reader: about 300 KB at most, one second of a busy ingress."""


@frozen
class Event:
    """Something that happened: ``noun.past_participle`` with its facts."""

    name: str
    sequence: int
    """Counts the events of this node from 1; a gap is a loss."""

    at: float
    """Seconds since the epoch."""

    fields: Mapping[str, object]

    def to_json(self) -> str:
        """One line of JSON: ``event``, ``at`` and the facts; secrets cannot appear in it."""
        return to_json({"event": self.name, "at": round(self.at, 3), **self.fields})

    def to_sse(self) -> bytes:
        """One server-sent event, its id the sequence."""
        return f"id: {self.sequence}\nevent: {self.name}\ndata: {self.to_json()}\n\n".encode()


@define(eq=False)
class Subscription:
    """One reader's queue of events; iterate it. Only one task may read it at a time."""

    dropped: int = field(default=0, init=False)
    """Events this reader lost so far by being slow."""

    _queue: deque[Event]
    _clock: Callable[[], float]
    _untold: int = field(default=0, init=False)
    _arrived: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot, init=False)

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Event:
        """Wait for the next event, without end: the caller bounds it."""
        while not self._queue:
            await self._arrived.park()
        if self._untold:
            return self._confess()
        return self._queue.popleft()

    def _confess(self) -> Event:
        lost, self._untold = self._untold, 0
        first = self._queue[0].sequence
        return Event("events.dropped", first - 1, self._clock(), {"count": lost})

    def offer(self, event: Event) -> int:
        """Queue *event*; return how many older ones made room for it."""
        lost = len(self._queue) == self._queue.maxlen
        self._queue.append(event)
        self._arrived.unpark()
        self.dropped += lost
        self._untold += lost
        return int(lost)


@define(eq=False)
class EventBus:
    """Where the planes of one node tell what happened. Belongs to the node's trio thread."""

    dropped: int = field(default=0, init=False)
    """Events lost by all readers so far, slow ones' that have left included."""

    _clock: Callable[[], float] = time.time
    _sequence: int = field(default=0, init=False)
    _subscriptions: list[Subscription] = field(default=Factory(list), init=False)

    def publish(self, event: str, /, **fields: object) -> None:
        """Tell every subscription that *event* happened. Never blocks and never raises."""
        self._sequence += 1
        if not self._subscriptions:
            return
        told = Event(event, self._sequence, self._clock(), fields)
        for subscription in self._subscriptions:
            self.dropped += subscription.offer(told)

    @property
    def subscribers(self) -> int:
        """How many read along now."""
        return len(self._subscriptions)

    @asynccontextmanager
    async def open_subscription(
        self, *, queue_events: int = QUEUE_EVENTS
    ) -> AsyncGenerator[Subscription]:
        """Hear every event published from here to the end of the ``async with``."""
        subscription = Subscription(deque(maxlen=queue_events), self._clock)
        self._subscriptions.append(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.remove(subscription)
