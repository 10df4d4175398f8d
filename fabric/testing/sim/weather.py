"""The weather between simulated nodes: delay, loss, twins; who is cut off from whom."""

from __future__ import annotations

import random
from typing import Final

from attrs import define, field, frozen

from fabric.core.identity import NodeId

LATEST_AGAIN: Final = 1.0
"""Seconds after which a lost datagram is sent again at the latest: a probe a second goes behind
it, and the acknowledgement of that one tells of the loss."""

HANDSHAKE_AGAIN: Final = 1.0
"""The same while a connection is made and no round trip is known yet (RFC 9002, 6.2.2)."""


@frozen(kw_only=True)
class Weather:
    """What happens to datagrams, on every path alike."""

    loss: float = 0.0
    """Of datagrams, each way, each on its own."""
    delay: tuple[float, float] = (0.02, 0.08)
    """Seconds one way, drawn for each datagram: they overtake each other."""
    twins: float = 0.0
    """Share of the frames of control streams that come twice, as over two connections at once.
    (A datagram that comes twice is nothing: QUIC drops the second.)"""

    @property
    def again_after(self) -> float:
        """Seconds until a lost datagram is sent again the first time; twice as long each time.

        Three mean round trips: a probe timeout (RFC 9002, 6.2.1) is one, four times its variation
        and 25 ms more, some two here.
        """
        return 3 * sum(self.delay)

    def trip(self, rng: random.Random) -> float:
        """Draw how long one datagram is on the way."""
        return rng.uniform(*self.delay)

    def lateness(self, rng: random.Random, datagrams: int) -> tuple[float, int]:
        """Draw for how many seconds *datagrams* are late for losses, and how many went again."""
        late, again, lost, resent = 0.0, self.again_after, datagrams, 0
        while lost := sum(rng.random() < self.loss for _ in range(lost)):
            late, again = late + again, min(2 * again, LATEST_AGAIN)
            resent += lost
        return late, resent

    def handshake_trip(self, rng: random.Random) -> float:
        """Draw the same for one flight of a handshake, with its losses."""
        late, again = 0.0, HANDSHAKE_AGAIN
        while rng.random() < self.loss:
            late, again = late + again, 2 * again
        return late + self.trip(rng)


@define
class Sky:
    """Between whom nothing passes at all, at the moment."""

    _side: dict[NodeId, int] = field(init=False, factory=dict)

    def part(self, *sides: tuple[NodeId, ...]) -> None:
        """Let nothing pass between *sides*. Who is in none of them hears everybody."""
        self._side = {node: number for number, side in enumerate(sides) for node in side}

    def clear(self) -> None:
        self._side.clear()

    def is_cut(self, one: NodeId, other: NodeId) -> bool:
        if not self._side:
            return False
        here, there = self._side.get(one), self._side.get(other)
        return here is not None and there is not None and here != there
