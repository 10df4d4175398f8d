"""The cache's tables: one for each kind of item, a column for each of its fields.

Columns have no types. SQLite would not hold to them, and the items check themselves.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any, Final, TypeAlias

import attrs
from attrs import field, frozen

from fabric.store.kept import (
    Fact,
    Item,
    KnownCandidate,
    KnownPeer,
    Seed,
    Snapshot,
    StoredRecord,
    StoredRoot,
)

FORMAT: Final = 1
"""Raised when an older release could no longer read the file."""

MOST_PEERS: Final = 4096
"""Of which anything is remembered: four times the largest fleet that is simulated."""

MOST_CANDIDATES: Final = 8
"""Of one peer, as in what it says of itself: or it could push out everybody else's."""

RowKey: TypeAlias = tuple[Any, ...]


@frozen(eq=False)
class Table:
    """Where items of one kind are kept. Its name is that of the items in a Snapshot."""

    name: str
    item: type[Item]
    keys: int = 1
    """So many fields, from the first, tell one item from another."""
    most: int | None = None
    """Items, of which those with the lowest ``at`` go; None where no peer can fill it."""
    most_of_one: int | None = None
    """As ``most``, of those that share the first field."""
    is_pruned: bool = True
    """Whether writing everything anew also removes what is not named any more."""
    columns: tuple[str, ...] = field(init=False)

    @columns.default
    def _fields_of_the_item(self) -> tuple[str, ...]:
        return tuple(each.name for each in attrs.fields(self.item))

    def row(self, item: Item) -> tuple[Any, ...]:
        """Return what is written for *item*."""
        row: tuple[Any, ...] = attrgetter(*self.columns)(item)
        return row

    def key(self, item: Item) -> RowKey:
        """Return what tells *item* from others of its kind."""
        return self.row(item)[: self.keys]

    def items(self, snapshot: Snapshot) -> tuple[Item, ...]:
        """Return those of this table."""
        items: tuple[Item, ...] = getattr(snapshot, self.name)
        return items

    # -- in SQL --
    @property
    def create(self) -> str:
        columns, key = ", ".join(self.columns), ", ".join(self.columns[: self.keys])
        return f"CREATE TABLE {self.name} ({columns}, PRIMARY KEY ({key}))"

    @property
    def put(self) -> str:
        return f"INSERT OR REPLACE INTO {self.name} VALUES ({', '.join('?' * len(self.columns))})"

    @property
    def remove(self) -> str:
        key = " AND ".join(f"{column} = ?" for column in self.columns[: self.keys])
        return f"DELETE FROM {self.name} WHERE {key}"

    @property
    def clear(self) -> str:
        return f"DELETE FROM {self.name}"

    @property
    def select(self) -> str:
        key = ", ".join(self.columns[: self.keys])
        return f"SELECT {', '.join(self.columns)} FROM {self.name} ORDER BY {key}"

    @property
    def count(self) -> str:
        return f"SELECT count(*) FROM {self.name}"

    @property
    def shorten(self) -> str:
        """Takes the number that may stay."""
        oldest = f"SELECT rowid FROM {self.name} ORDER BY at DESC LIMIT -1 OFFSET ?"
        return f"DELETE FROM {self.name} WHERE rowid IN ({oldest})"

    @property
    def shorten_one(self) -> str:
        """Takes the value of the first field, and the number that may stay of its items."""
        own = f"SELECT rowid FROM {self.name} WHERE {self.columns[0]} = ?"
        return f"DELETE FROM {self.name} WHERE rowid IN ({own} ORDER BY at DESC LIMIT -1 OFFSET ?)"


RECORDS: Final = Table("records", StoredRecord, keys=2)
ROOTS: Final = Table("roots", StoredRoot, is_pruned=False)
PEERS: Final = Table("peers", KnownPeer, most=MOST_PEERS)
CANDIDATES: Final = Table(
    "candidates",
    KnownCandidate,
    keys=2,
    most=MOST_PEERS * MOST_CANDIDATES,
    most_of_one=MOST_CANDIDATES,
)
SEEDS: Final = Table("seeds", Seed, is_pruned=False)
FACTS: Final = Table("facts", Fact, is_pruned=False)

TABLES: Final = (RECORDS, ROOTS, PEERS, CANDIDATES, SEEDS, FACTS)
