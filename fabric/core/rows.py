"""What of a directory belongs on disk, row by row.

A key of the directory has one row, of its own name, unless two payloads contend for its highest
number: then what is held there is two envelopes or three, and those beside the first have rows
under names that no record can have, for a kind has no slash in it. So a node that restarts still
holds the proof, and does not ask its peers for it.

Trust roots have no rows here. Every version of them is kept, each under its number
(:class:`~fabric.core.gossip_events.StoreRoot`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from attrs import define, field

from fabric.core.codec.envelopes import pack_envelope
from fabric.core.directory import Directory
from fabric.core.gossip_events import Drop, Store
from fabric.core.records import Key, TrustRoot

BESIDE: Final = "/beside"
"""Kind of the rows that are under no record's name."""


@define
class Rows:
    """Knows which rows the disk has beside those that bear a record's name."""

    _directory: Directory
    _beside: dict[Key, frozenset[Key]] = field(init=False, factory=dict)

    def all(self) -> Iterator[Store]:
        """Return everything that belongs on disk."""
        for key in sorted(self._directory.keys()):
            yield from self._at(key)

    def changed(self, key: Key) -> list[Store | Drop]:
        """Return what to do on disk, now that something else is held at *key*."""
        rows = self._at(key)
        names = {each.key for each in rows}
        before = self._beside.pop(key, frozenset()) | {key}
        if beside := names - {key}:
            self._beside[key] = frozenset(beside)
        return [*rows, *map(Drop, sorted(before - names))]

    def restored(self, found: Mapping[Key, bytes], keys: Iterable[Key]) -> list[Store | Drop]:
        """Return what to do on disk, after the rows *found* there were taken in.

        *keys* are those of the records that they turned out to be.
        """
        changes = [change for key in sorted({*found, *keys}) for change in self.changed(key)]
        stored = {each.key: each for each in changes if isinstance(each, Store)}
        dropped = {each.key for each in changes if isinstance(each, Drop)}
        fresh = [each for each in stored.values() if found.get(each.key) != each.packed]
        return [*fresh, *map(Drop, sorted(dropped - stored.keys()))]

    def _at(self, key: Key) -> list[Store]:
        holding = self._directory.holding(key)
        if holding is None:
            return []
        rows: list[Store] = []
        for each in holding.shown:
            row = Key(BESIDE, each.envelope.digest[:16].hex()) if rows else key
            if not isinstance(each.record, TrustRoot):
                rows.append(Store(row, pack_envelope(each.envelope), each.heard))
        return rows
