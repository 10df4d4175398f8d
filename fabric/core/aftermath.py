"""What follows once something else is held at a key: on disk, for readers, for peers, for people.

The directory decides what is held. Here is told what that means: rows to write or to delete, whom
the record goes to next, whether somebody has to look at it, and whether this node has to say
something anew because the fabric holds a word of it that it did not say.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from fabric.codes import Code
from fabric.core.alarms import Alarms
from fabric.core.arrival import Arrival
from fabric.core.codec.envelopes import pack_envelope
from fabric.core.directory import Applied, Directory
from fabric.core.envelope import Envelope
from fabric.core.gossip_events import Changed, Effect, Moment, Refused, Reissue
from fabric.core.holding import Outcome
from fabric.core.identity import NodeId
from fabric.core.records import FABRIC, NODE, Key, NodeRecord, Policy, Record
from fabric.core.rows import Rows
from fabric.core.wave import Carried, Passing, Wave

POLICY_KEY: Final = Key(Policy.KIND, FABRIC)


class Aftermath:
    """Turns what the directory holds now into effects."""

    def __init__(self, me: NodeId, directory: Directory, wave: Wave, alarms: Alarms) -> None:
        self._me = me
        self._directory = directory
        self._wave = wave
        self._alarms = alarms
        self.rows = Rows(directory)

    def of(self, record: Record, applied: Applied, arrival: Arrival, now: Moment) -> list[Effect]:
        """Return what follows from *record*, which came as *arrival*, having been applied."""
        if (code := applied.outcome.code) is not None:
            return self._of_refusal(code, record, arrival, now)
        if not applied.outcome.is_kept:
            return []
        return [
            *self.of_change(record.key, counts=applied.is_changed),
            *(effect for key in applied.dropped for effect in self.of_change(key)),
            *self._complaints(record, applied, arrival, now),
            *self._passed_on(record, applied, arrival, now),
        ]

    def of_change(self, key: Key, *, counts: bool = True) -> list[Effect]:
        """Return what follows, now that something else is held at *key*.

        *counts* is whether something else counts there too.
        """
        return [*self.rows.changed(key), *(self.of_reading(key) if counts else ())]

    def of_reading(self, key: Key) -> list[Effect]:
        """Return what follows, now that something else counts at *key*."""
        held = self._directory.get(key)
        record = held.record if held is not None and not held.record.revoked else None
        if isinstance(record, NodeRecord):
            self._wave.peer_moved(record.node_id, record.area)
        elif isinstance(record, Policy):
            self._wave.fanout, self._wave.hops = record.fanout, record.hops
        elif key == POLICY_KEY:
            self._wave.fanout, self._wave.hops = Wave.FANOUT, Wave.HOPS
        return [Changed(key)]

    def spread(
        self,
        key: Key,
        envelopes: Iterable[Envelope],
        arrival: Arrival,
        now: Moment,
        *,
        author: NodeId | None = None,
    ) -> list[Effect]:
        """Pass *envelopes* on, which *arrival* brought, or the half of which it brought.

        *author* is the node whose own word it is: only authority's is paced.
        """
        heard = arrival.heard
        if heard.wave_id:
            self._wave.note(Passing(key, heard))
        carried = Carried(
            key=key,
            packed=tuple(map(pack_envelope, envelopes)),
            hops_left=arrival.hops_left,
            wave_id=heard.wave_id,
            age=heard.age,
            at=arrival.at,
            without=(arrival.from_peer, author),
        )
        return [*self._wave.spread(carried, now.steady, paced=author is None)]

    # -- one by one --
    def _of_refusal(
        self, code: Code, record: Record, arrival: Arrival, now: Moment
    ) -> list[Effect]:
        detail = _spelled(record)
        refused = Refused(code, detail, arrival.from_peer, record.key)
        is_full = code is Code.OVER_BUDGET and NODE not in record.authors
        if not is_full and code is not Code.GENERATION_LEAP:
            return [refused]
        return [refused, *self._alarms.say(code, detail, arrival.from_peer, now.steady)]

    def _complaints(
        self, record: Record, applied: Applied, arrival: Arrival, now: Moment
    ) -> list[Effect]:
        """Return what is to be said of a record although it is held from now on."""
        effects: list[Effect] = []
        peer = arrival.from_peer
        if applied.outcome is Outcome.EQUIVOCATED:
            effects += self._alarms.say(Code.EQUIVOCATED, _spelled(record), peer, now.steady)
        if NODE in record.authors and record.subject == self._me and peer is not None:
            effects.append(Reissue(record.key, record.order[1]))
        return effects

    def _passed_on(
        self, record: Record, applied: Applied, arrival: Arrival, now: Moment
    ) -> list[Effect]:
        envelopes: Iterable[Envelope] = (arrival.envelope,)
        holding = self._directory.holding(record.key)
        if applied.outcome is Outcome.EQUIVOCATED and holding is not None:
            envelopes = tuple(each.envelope for each in holding.top.held)
        author = NodeId(record.subject) if NODE in record.authors else None
        return self.spread(record.key, envelopes, arrival, now, author=author)


def _spelled(record: Record) -> str:
    epoch, number = record.order
    return f"{record.key} {epoch}/{number}"
