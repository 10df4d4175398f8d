"""What a node holds of the directory, row by row: which records, from whom, and by which wave.

In JSON's own types, as the :mod:`.snapshot` is. A member is called by its name where a record of
it is held, else by its id. Times are unix seconds; what ends in ``_s`` is a length of time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from attrs import frozen

from fabric.codes import Code
from fabric.core.holding import Heard, Held, Holding
from fabric.core.identity import NodeId, NodeName
from fabric.core.kinds import KINDS
from fabric.core.records import NODE, Key, NodeRecord, Record
from fabric.core.wave import Passing
from fabric.errors import RefusedError
from fabric.runtime.knowledge import Knowledge
from fabric.runtime.snapshot import Row


@frozen
class DirectoryRows:
    """Makes rows of what is held at the moment of asking; keeps none."""

    _knowledge: Knowledge

    def records(self, kind: str = "") -> Iterator[Row]:
        """Return what is held, of *kind* or of all, by key; what goes meanwhile is left out.

        Raises :exc:`RefusedError` for a kind that neither this release nor this node knows.
        """
        keys = list(self._knowledge.directory.keys())
        if kind:
            kinds = {key.kind for key in keys} | KINDS.keys()
            if kind not in kinds:
                told = f"There is no kind {kind!r}; there are {', '.join(sorted(kinds))}."
                raise RefusedError(Code.BAD_REQUEST, told)
            keys = [key for key in keys if key.kind == kind]
        return self._rows(sorted(keys))

    def trace(self, key: Key) -> Row | None:
        """Return all that this node can say of *key*; None where nothing is held.

        The subject may be the name of a member in place of its id.
        """
        gossip = self._knowledge.gossip
        found = gossip.trace(key) or gossip.trace(Key(key.kind, self._id_of(key.subject)))
        if found is None:
            return None
        shown = found.used or found.holding.top.held[0]
        return {
            **self._row(found.key, found.holding),
            "says": _says(shown),
            "held": [self._held(each, found.used) for each in found.holding.shown],
            "waves": [self._wave(each) for each in reversed(found.waves)],
        }

    def waves(self) -> list[Row]:
        """Return the last waves that came by, the latest first."""
        return [self._wave(each) for each in reversed(self._knowledge.gossip.recent_waves())]

    # -- one row --
    def _rows(self, keys: Iterable[Key]) -> Iterator[Row]:
        for key in keys:
            if (holding := self._knowledge.directory.holding(key)) is not None:
                yield self._row(key, holding)

    def _row(self, key: Key, holding: Holding) -> Row:
        sworn = self._knowledge.readings.read(key)
        used = self._knowledge.directory.get(key)
        shown = used or holding.top.held[0]
        record = shown.record
        return {
            "key": str(key),
            "kind": key.kind,
            "subject": key.subject,
            "name": self._name_in(record),
            "order": list(record.order),
            "author": " or ".join(record.authors),
            "standing": sworn.standing.value if sworn is not None else None,
            "counts": used is not None,
            "disputed": holding.top.is_disputed,
            "revoked": record.revoked,
            "issued_at": record.issued_at,
            "expires_at": record.expires_at,
            "confirmed": key not in self._knowledge.directory.unconfirmed,
            **self._came(shown.heard),
        }

    def _held(self, held: Held, used: Held | None) -> Row:
        """Return one of the envelopes that are held at a key: of a dispute there are several."""
        return {
            "order": list(held.record.order),
            "digest": held.envelope.digest.hex(),
            "signed_by": [each.key_id for each in held.envelope.signatures],
            "counts": held is used,
            "says": _says(held),
            **self._came(held.heard),
        }

    def _wave(self, passing: Passing) -> Row:
        return {
            "key": str(passing.key),
            "name": self._name_of(passing.key),
            **self._came(passing.heard),
            "reach": passing.reach,
            "duplicates": passing.duplicates,
        }

    def _came(self, heard: Heard) -> Row:
        """Return how it came here: hops and age are what the peer says of them."""
        peer = heard.from_peer
        return {
            "from_peer": None if peer is None else self._called(peer),
            "by": "here" if peer is None else "wave" if heard.wave_id else "repair",
            "hops": heard.hops,
            "age_s": round(heard.age, 3),
            "wave_id": heard.wave_id.hex() or None,
            "heard_at": round(heard.at, 3) or None,
            "heard_s": round(max(0.0, self._knowledge.unix_now() - heard.at), 3)
            if heard.at
            else None,
        }

    # -- names --
    def _called(self, node: NodeId) -> str:
        sworn = self._knowledge.readings.node(node)
        return sworn.record.name if sworn is not None else node

    def _id_of(self, name: str) -> str:
        """Return the id of the node called *name*: a member's, or else that of one revoked."""
        sworn = self._knowledge.readings.member_named(NodeName(name))
        if sworn is not None:
            return sworn.record.node_id
        keys = self._knowledge.directory.keys()
        nodes = (key for key in keys if key.kind == NodeRecord.KIND)
        return next((key.subject for key in nodes if self._name_of(key) == name), name)

    def _name_in(self, record: Record) -> str | None:
        """Return whom *record* is about, if about a node, and if that has a name here."""
        if isinstance(record, NodeRecord):
            return record.name
        if NODE not in record.authors:
            return None
        sworn = self._knowledge.readings.node(NodeId(record.subject))
        return sworn.record.name if sworn is not None else None

    def _name_of(self, key: Key) -> str | None:
        holding = self._knowledge.directory.holding(key)
        return self._name_in(holding.top.held[0].record) if holding is not None else None


def _says(held: Held) -> Any:  # noqa: ANN401 -- JSON, of whatever kind
    return json.loads(held.envelope.payload)
