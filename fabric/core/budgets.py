"""How much of something may be had per second, and what becomes of what is over it.

An :class:`Allowance` is a token bucket: it fills at a steady rate up to its burst. Either one asks
first and goes without (:meth:`Allowance.take`), or one pays afterwards and may get into debt
(:meth:`Allowance.charge`): then nothing more is read from whoever caused it until that is paid.

:class:`Windows` are what a node lets through of the words of others. Somebody may change a record
a thousand times a second, each change validly signed; taking each would change the digests of the
whole fabric as often. So of each author and kind three changes are taken at once and then one each
five seconds. The newest of what came meanwhile is kept and taken when the window ends: nothing
that was last said is lost.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Generic, TypeVar

from attrs import define, field

from fabric.core.records import Key

WINDOW: Final = 5.0
"""Seconds in which one more change of one author's kind is taken."""

WINDOW_BURST: Final = 3
"""Changes taken at once: a start makes one or two (the first word, and one above an echo)."""

MOST_WINDOWS: Final = 16_384
"""Remembered at once: four kinds of 4,000 nodes, in some 5 MiB. Who is forgotten has its burst
again; what is held back of it is left to anti-entropy."""

_ROUNDING: Final = 1e-6
"""Who comes when :meth:`Allowance.ready_at` said must not be sent away for the last bit: a clock
that shows a million seconds has no finer steps than 1e-10, and there may be thousands a second."""

T = TypeVar("T")


@define
class Allowance:
    """So many of something per second, and so many at once."""

    rate: float
    burst: float
    _left: float = field(init=False)
    _at: float = field(init=False, default=float("-inf"))

    @_left.default
    def _full(self) -> float:
        return self.burst

    def take(self, now: float, amount: float = 1.0) -> bool:
        """Take *amount* if there is as much, and return whether there was."""
        self._fill(now)
        if self._left < amount - _ROUNDING:
            return False
        self._left -= amount
        return True

    def charge(self, now: float, amount: float) -> float:
        """Take *amount* whether or not there is as much; return when the debt is paid."""
        self._fill(now)
        self._left -= amount
        return self.ready_at(now, 0.0)

    def ready_at(self, now: float, amount: float = 1.0) -> float:
        """Return when there will be *amount*, if nothing more is taken."""
        self._fill(now)
        return now + max(0.0, (amount - self._left) / self.rate)

    def _fill(self, now: float) -> None:
        if now > self._at:
            self._left = min(self.burst, self._left + self.rate * (now - self._at))
            self._at = now


@define
class _HeldBack(Generic[T]):
    number: int
    items: list[T]


@define
class Windows(Generic[T]):
    """What is taken at once and what is held back, by author (the key's subject) and kind."""

    burst: int = WINDOW_BURST
    _allowances: OrderedDict[Key, Allowance] = field(init=False, factory=OrderedDict)
    _held_back: dict[Key, _HeldBack[T]] = field(init=False, factory=dict)

    def __len__(self) -> int:
        return len(self._allowances)

    def take(self, key: Key, number: int, item: T, now: float) -> bool:
        """Return whether *item*, under sequence *number*, may be taken now.

        If not, it is kept, unless something newer is: :meth:`due` returns it in its time.
        """
        waiting = self._held_back.get(key)
        if waiting is None and self._allowance(key).take(now):
            return True
        if waiting is None or number > waiting.number:
            self._held_back[key] = _HeldBack(number, [item])
        elif number == waiting.number and len(waiting.items) < 2:
            waiting.items.append(item)  # maybe the other half of an equivocation
        return False

    def due(self, now: float) -> list[T]:
        """Return what was held back and may be taken now."""
        found: list[T] = []
        for key, waiting in list(self._held_back.items()):
            if self._allowance(key).take(now):
                found += waiting.items
                del self._held_back[key]
        return found

    def wake_at(self, now: float) -> float | None:
        """Return when :meth:`due` will have something, if ever."""
        ready = (self._allowances[key].ready_at(now) for key in self._held_back)
        return min(ready, default=None)

    def _allowance(self, key: Key) -> Allowance:
        allowance = self._allowances.get(key)
        if allowance is None:
            allowance = self._allowances[key] = Allowance(1 / WINDOW, self.burst)
            if len(self._allowances) > MOST_WINDOWS:
                forgotten, _ = self._allowances.popitem(last=False)
                self._held_back.pop(forgotten, None)
        self._allowances.move_to_end(key)
        return allowance
