"""What is to be written next: for each key its newest state, and never more than fits.

A key that changes a hundred times between two writes costs one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from attrs import define, field

from fabric.store.kept import Item, StoredRecord, StoredRoot
from fabric.store.tables import RowKey, Table

MOST_CHANGES: Final = 1 << 16
"""Six directories of 10,000 records."""

MOST_BYTES: Final = 64 << 20
"""Of packed envelopes, which the directory holds too: this bounds what nobody else does."""

Batch: TypeAlias = Mapping[tuple[Table, RowKey], Item | None]
"""By where it belongs: what to put there, or None to remove what is there."""


@define(eq=False)
class Pending:
    """Changes that the disk does not have yet."""

    most_changes: int = MOST_CHANGES
    most_bytes: int = MOST_BYTES
    _changes: dict[tuple[Table, RowKey], Item | None] = field(init=False, factory=dict)
    _bytes: int = field(init=False, default=0)

    def __len__(self) -> int:
        return len(self._changes)

    @property
    def is_over_full(self) -> bool:
        """Whether this is more than may be held."""
        return len(self._changes) > self.most_changes or self._bytes > self.most_bytes

    def put(self, table: Table, item: Item) -> None:
        """Have *item* written, in place of whatever was to become of its key."""
        self._set((table, table.key(item)), item)

    def remove(self, table: Table, key: RowKey) -> None:
        """Have what is at *key* removed."""
        self._set((table, key), None)

    def take(self) -> Batch:
        """Return all changes, and hold none any more."""
        taken, self._changes, self._bytes = self._changes, {}, 0
        return taken

    def put_back(self, batch: Batch) -> None:
        """Hold *batch* again, which could not be written, except where something newer came."""
        for place, item in batch.items():
            if place not in self._changes:
                self._set(place, item)

    def _set(self, place: tuple[Table, RowKey], item: Item | None) -> None:
        self._bytes += _size(item) - _size(self._changes.get(place))
        self._changes[place] = item


def _size(item: Item | None) -> int:
    return len(item.packed) if isinstance(item, StoredRecord | StoredRoot) else 0
