"""What time alone changes: a record that expires is held as before, and is good for less.

Nobody says so, and no link that stands asks again whether its peer is still a member. So who goes
by node and service records is told when one of them turns, within :data:`LOOK_EVERY`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from attrs import define, field

from fabric.core.directory import Directory
from fabric.core.lifetimes import standing_of
from fabric.core.records import Key, NodeRecord, ServiceRecord
from fabric.core.verdicts import Standing

LOOK_EVERY: Final = 60.0
"""Seconds between two looks: nothing against lives of months, and 5 ms for 10,000 records."""

KINDS: Final = (NodeRecord.KIND, ServiceRecord.KIND)
"""Kinds that others act on at once when they are good for less. All else is asked when used."""


@define
class Ages:
    """What each record was good for when it was looked at last."""

    _standings: Mapping[Key, Standing] = field(init=False, factory=dict)
    _next_at: float = field(init=False, default=float("-inf"))

    def turned(self, directory: Directory, now: float, steady: float) -> list[Key]:
        """Return whose standing is another at *now* than it was at the last look.

        What came since counts as live then. *steady* is monotonic, and paces the looks.
        """
        if steady < self._next_at:
            return []
        self._next_at = steady + LOOK_EVERY
        before, self._standings = self._standings, dict(_standings(directory, now))
        return [
            key
            for key, standing in self._standings.items()
            if standing is not before.get(key, Standing.LIVE)
        ]


def _standings(directory: Directory, now: float) -> Iterator[tuple[Key, Standing]]:
    for kind in KINDS:
        for subject, held in directory.of_kind(kind).items():
            yield Key(kind, subject), standing_of(held.record, now)
