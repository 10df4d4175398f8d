"""Retry delays with full jitter, and how soon a lost peer is dialled again."""

from __future__ import annotations

import random

from attrs import define, field


@define
class Backoff:
    """Delays that grow to *ceiling* and start over after :meth:`reset`."""

    rng: random.Random
    floor: float = 0.5
    """First upper bound, seconds."""

    ceiling: float = 60.0
    """Largest upper bound, seconds."""

    _bound: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget past failures."""
        self._bound = self.floor

    def next_delay(self) -> float:
        """Count one more failure and return how long to wait, in seconds."""
        delay = self.rng.uniform(0, self._bound)
        # Doubled and capped here: floor * 2**failures overflows a float overnight.
        self._bound = min(self.ceiling, self._bound * 2)
        return delay


@define
class Redial:
    """When to dial a peer again, and how long each attempt may take.

    A peer that was just lost is most likely restarting, so the first *eager_for* seconds are
    spent on short attempts close together: an attempt that began before the peer's socket was
    back would otherwise wait out its own retransmission timer (1, 3, 7 s) while a fresh one
    gets through at once. After that the peer is away, and patience costs less than packets.
    """

    rng: random.Random
    eager_for: float = 30.0
    """Seconds after a loss (and after the start) in which attempts are short and close."""

    eager_bound: float = 0.3
    """Upper bound of an eager delay, seconds. A restarted peer is met within one attempt
    and one delay: below 2 s."""

    eager_timeout: float = 1.0
    """Seconds for one eager attempt: a handshake and a Hello at 300 ms of round trip."""

    timeout: float = 5.0
    """Seconds for a patient attempt."""

    ceiling: float = 5.0
    """Largest upper bound of a patient delay, seconds. Raising it saves about 1 ms of CPU per
    attempt saved and lets a peer that only we can dial wait as much longer."""

    _lost_at: float = field(init=False, default=0.0)
    _patient: Backoff = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._patient = Backoff(self.rng, floor=1.0, ceiling=self.ceiling)

    def lost(self, now: float) -> None:
        """Note that the peer was there until *now*."""
        self._lost_at = now
        self._patient.reset()

    def attempt_timeout(self, now: float) -> float:
        """Return the seconds that an attempt begun at *now* may take."""
        return self.eager_timeout if self._is_eager(now) else self.timeout

    def next_delay(self, now: float, *, refused: bool = False) -> float:
        """Return the seconds to wait after an attempt that failed at *now*.

        A peer that answered, and *refused*, is there already: what it needs is its operator.
        """
        if self._is_eager(now) and not refused:
            return self.rng.uniform(self.eager_bound / 3, self.eager_bound)
        return self._patient.next_delay()

    def _is_eager(self, now: float) -> bool:
        return now - self._lost_at < self.eager_for
