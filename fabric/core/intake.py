"""What becomes of a record that came, whoever brought it: judged, held, kept on disk, passed on.

Theory of operation
===================

All that a node hears takes one way, and every step of it may be the last::

    known? --no--> judged --good--> its author's window --open--> applied --kept--> passed on
      |              |                  |                            |
    counted      unknown signer:     closed: the newest          refused: counted
    as a copy    waits; else         waits for its end
                 counted

==============================  ==================================================================
what comes                      what happens
==============================  ==================================================================
held already                    nothing is verified; the wave notes a copy
an unknown signer               it waits (:mod:`.waiting`) for the node record or the trust root
a bad signature of a known key  the peer that sent it is barred for :data:`BARRED_FOR`: honest
                                nodes pass on only what verified
authority signed by a node      refused and alarmed
a leap of numbers               refused and alarmed
a rival of a trust root         refused and alarmed; the two are shown to others, once
a trust root that follows       in use from now on: all that is held and all that waits is judged
                                again
a node's own word, too soon     the newest waits for the end of the window (:mod:`.budgets`);
                                what it says in unknown kinds has one window in all
a word of *this* node's that    held like any other, or nodes would differ; and the node is asked
it did not say                  to say it anew, above
==============================  ==================================================================

What the root or the directory dated raises the time floor, whatever it says.

From the disk comes what was judged before. It is judged again, and goes the same way, but for
three things: retired keys are good enough, it is passed on to nobody, and it counts as unconfirmed
until a peer sends it too.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from attrs import evolve

from fabric.codes import Code
from fabric.core.aftermath import Aftermath
from fabric.core.ages import Ages
from fabric.core.alarms import Alarms
from fabric.core.arrival import Arrival, in_turn
from fabric.core.budgets import Windows
from fabric.core.clocks import Floor, Rose
from fabric.core.codec.envelopes import pack_envelope, unpack_envelope
from fabric.core.directory import MOST_UNKNOWN_WORDS, Directory
from fabric.core.envelope import Digest, Envelope
from fabric.core.gossip_events import (
    Bar,
    Cached,
    Changed,
    Effect,
    Moment,
    Refused,
    RootChanged,
    StoreFloor,
    StoreRoot,
)
from fabric.core.holding import Heard, Holding, rank_of
from fabric.core.identity import NodeId
from fabric.core.kinds import KINDS
from fabric.core.records import FABRIC, NODE, Key, NodeRecord, Opaque, Record, TrustRoot
from fabric.core.trust import Adopted, Trust
from fabric.core.verdicts import Accepted, Rejected, Verdict
from fabric.core.waiting import Waiting
from fabric.core.wave import Wave
from fabric.errors import RecordError

BARRED_FOR: Final = 600.0
"""Seconds for which a forger is kept out: all that its flood costs here is one signature in that
time, and an honest node that was taken over is back soon enough once it is mended."""

MOST_BARRED: Final = 1024
"""Peers that are barred at once. Only members can be: of more, somebody has their keys."""

KNOWN_COST: Final = 0.1
"""What a record costs that is held already, in signatures: 7 us of decoding and hashing."""

ROOT_KEY: Final = Key(TrustRoot.KIND, FABRIC)


class Intake:
    """Takes records in, one after the other. Knows no connection, and sends nothing itself."""

    def __init__(
        self, me: NodeId, directory: Directory, trust: Trust, floor: Floor, wave: Wave
    ) -> None:
        self._directory = directory
        self._trust = trust
        self._floor = floor
        self._wave = wave
        self._alarms = Alarms()
        self._aftermath = Aftermath(me, directory, wave, self._alarms)
        self.rows = self._aftermath.rows
        self._windows: Windows[Arrival] = Windows()
        self._unknown: Windows[Arrival] = Windows(MOST_UNKNOWN_WORDS)
        """Of kinds that this release does not know, all those of one author together: of new
        kinds there is no end, and each would be new to everybody."""
        self._waiting: Waiting[Arrival] = Waiting()
        self._ages = Ages()
        self._again: deque[Arrival] = deque()
        """What waited, and may be good now."""
        self._barred: OrderedDict[NodeId, float] = OrderedDict()
        self._shown_rival: Digest | None = None
        # whatever its date: what is in use is held, for others have to hear of it
        directory.apply(trust.root, trust.chain[-1], Heard(), 0.0)

    # -- asked before anything is taken --
    def cost(self, envelope: Envelope | None) -> float:
        """Return how many signatures it takes to judge *envelope*, at most; None was none."""
        if envelope is None:
            return KNOWN_COST
        is_known = self._directory.key_holding(envelope.digest) is not None
        if is_known or self._trust.remembers(envelope):
            return KNOWN_COST
        return len(envelope.signatures)

    def is_barred(self, peer: NodeId, now: Moment) -> bool:
        until = self._barred.get(peer)
        return until is not None and now.steady < until

    # -- what comes --
    def take(self, arrival: Arrival, now: Moment) -> list[Effect]:
        """Take *arrival* in, and what has waited for it."""
        return self._take(arrival, now) + self._take_again(now)

    def follow(self, envelopes: Sequence[Envelope], heard: Heard, now: Moment) -> list[Effect]:
        """Follow the trust roots that somebody offers, and take in what has waited for them."""
        came = Arrival(
            envelope=envelopes[-1], heard=heard, at=now.steady, hops_left=self._wave.hops
        )
        return self._follow(envelopes, came, now) + self._take_again(now)

    def restore(self, cached: Iterable[Cached], now: Moment) -> list[Effect]:
        """Take in what the disk gives back, and let it keep what is still held of it."""
        found: dict[Key, bytes] = {}
        effects: list[Effect] = []
        keys: set[Key] = set()
        for each in in_turn(cached):
            found[each.key] = each.packed
            effects += self._restore(each, keys, now)
        effects += self._take_again(now)
        return [*effects, *self.rows.restored(found, keys)]

    def due(self, now: Moment) -> list[Effect]:
        """Take in what was held back and has had its time."""
        due = self._windows.due(now.steady) + self._unknown.due(now.steady)
        return [effect for arrival in due for effect in self.take(arrival, now)]

    def sweep(self, now: Moment) -> list[Effect]:
        """Forget what has had its last day, and tell of what is good for less than before."""
        today = self._floor.times(now.clock).now
        forgotten = self._directory.forget(today)
        effects = [effect for key in forgotten for effect in self._aftermath.of_change(key)]
        turned = self._ages.turned(self._directory, today, now.steady)
        return effects + [effect for key in turned for effect in self._aftermath.of_reading(key)]

    def refuse(self, rejected: Rejected, peer: NodeId | None, now: Moment) -> list[Effect]:
        """Return what to say of something that *peer* sent and that does not count."""
        code, detail = rejected.code, rejected.detail
        effects: list[Effect] = [Refused(code, detail, peer)]
        if rejected.is_alarming or code is Code.GENERATION_LEAP:
            effects += self._alarms.say(code, detail, peer, now.steady)
        if rejected.is_attack and code is Code.FORGED and peer is not None:
            effects += self._bar(peer, now)
        return effects

    # -- step by step --
    def _take(self, arrival: Arrival, now: Moment) -> list[Effect]:
        if (key := self._directory.key_holding(arrival.envelope.digest)) is not None:
            return self._note_copy(key, arrival)
        verdict = self._judge(arrival.envelope, now)
        effects = self._date(verdict.dated, now)
        match verdict:
            case Rejected():
                return effects + self._reject(verdict, arrival, now)
            case Accepted(record=TrustRoot()):
                return effects + self._follow([arrival.envelope], arrival, now)
            case Accepted(record=record):
                return effects + self._admit(record, arrival, now)

    def _take_again(self, now: Moment) -> list[Effect]:
        """Take in what has become good, and what becomes good by that."""
        effects: list[Effect] = []
        while self._again:
            effects += self._take(self._again.popleft(), now)
        return effects

    def _judge(self, envelope: Envelope, now: Moment, *, held: bool = False) -> Verdict:
        times = self._floor.times(now.clock)
        return self._trust.judge(envelope, times, key_of=self._directory.key_of, held=held)

    def _note_copy(self, key: Key, arrival: Arrival) -> list[Effect]:
        if (peer := arrival.from_peer) is not None:
            self._directory.unconfirmed.discard(key)
            self._wave.heard_again(arrival.heard.wave_id, key, peer)
        return []

    def _reject(self, rejected: Rejected, arrival: Arrival, now: Moment) -> list[Effect]:
        peer = arrival.from_peer
        if arrival.described and peer not in self._directory.members():
            peer = None  # a stranger: it is not admitted, and that is all
        if rejected.code is Code.UNKNOWN_SIGNER:
            self._waiting.put(arrival.envelope, peer, arrival)
        return self.refuse(rejected, peer, now) + self._show_rival(arrival, now)

    def _admit(self, record: Record, arrival: Arrival, now: Moment) -> list[Effect]:
        peer, key = arrival.from_peer, record.key
        if arrival.described and not _is_node_of(record, arrival.described):
            return [Refused(Code.UNKNOWN_KEY, f"{key} came with a Hello or its answer", peer, key)]
        if self._is_too_soon(record, arrival, now):
            return [Refused(Code.OVER_BUDGET, f"{key} changes too often", peer, key)]
        times = self._floor.times(now.clock)
        applied = self._directory.apply(record, arrival.envelope, arrival.heard, times.now)
        if applied.outcome.is_kept and isinstance(record, NodeRecord):
            self._again += self._waiting.take(record.subject)
        effects = self._aftermath.of(record, applied, arrival, now)
        if isinstance(record, Opaque) and key == ROOT_KEY and applied.is_changed:
            effects += self._alarms.say(
                Code.NEEDS_NEWER_RELEASE, str(key), arrival.from_peer, now.steady
            )
        return effects

    def _is_too_soon(self, record: Record, arrival: Arrival, now: Moment) -> bool:
        """Return whether *arrival* has to wait for its author's window; then it does."""
        if arrival.from_peer is None or arrival.is_due or NODE not in record.authors:
            return False
        held = self._directory.holding(record.key)
        if held is not None and rank_of(record) < held.top.rank:
            return False  # superseded, and nothing to anybody
        waiting = evolve(arrival, is_due=True)
        windows, window = self._windows, record.key
        if record.key.kind not in KINDS:
            windows, window = self._unknown, Key("", record.subject)
        return not windows.take(window, record.order[1], waiting, now.steady)

    # -- trust roots --
    def _follow(
        self, envelopes: Sequence[Envelope], arrival: Arrival, now: Moment
    ) -> list[Effect]:
        results = self._trust.adopt(envelopes, self._floor.times(now.clock))
        adopted = [each for each in results if isinstance(each, Adopted)]
        effects = self._succeed(adopted, arrival, now) if adopted else []
        for each in results:
            if isinstance(each, Rejected):
                effects += self.refuse(each, arrival.from_peer, now)
        return effects + self._show_rival(arrival, now)

    def _succeed(self, adopted: Sequence[Adopted], arrival: Arrival, now: Moment) -> list[Effect]:
        """Put the last of *adopted* into use: what is held and what waits is judged again."""
        effects: list[Effect] = []
        for each in adopted:
            effects += self._date(each.root.issued_at, now)
            effects.append(StoreRoot(each.root.version, pack_envelope(each.envelope)))
            times = self._floor.times(now.clock)
            self._directory.apply(each.root, each.envelope, arrival.heard, times.now)
        effects += [Changed(ROOT_KEY), RootChanged(adopted[-1].root.version)]
        held = {key: self._directory.holding(key) for key in tuple(self._directory.keys())}
        changed = self._directory.recheck(self._trust.still_good)
        for key in changed:
            effects += self._aftermath.of_change(key)
        self._again += self._waiting.take_all()
        self._again += (each for key in changed for each in self._words_gone(held[key], now))
        envelopes = (each.envelope for each in adopted)
        return effects + self._aftermath.spread(ROOT_KEY, envelopes, arrival, now)

    def _words_gone(self, held: Holding | None, now: Moment) -> Iterator[Arrival]:
        """Return the words that were *held* at a key where nothing is any more.

        They went with their node's record, which may be signed anew; who has dropped them all over
        the fabric would not say them again for days.
        """
        if held is None or self._directory.holding(held.top.held[0].record.key) is not None:
            return
        for each in held.top.held:
            if NODE in each.record.authors:
                yield Arrival(envelope=each.envelope, heard=each.heard, at=now.steady, is_due=True)

    def _show_rival(self, arrival: Arrival, now: Moment) -> list[Effect]:
        """Pass on the proof that two roots of one version were signed, once."""
        rival = self._trust.rival
        if rival is None or rival.envelope.digest == self._shown_rival:
            return []
        self._shown_rival = rival.envelope.digest
        held = self._trust.roots_after(rival.root.version - 1)[:1]
        pair = (*map(unpack_envelope, held), rival.envelope)
        return self._aftermath.spread(ROOT_KEY, pair, arrival, now)

    # -- from the disk --
    def _restore(self, cached: Cached, keys: set[Key], now: Moment) -> list[Effect]:
        """Take in one row, and add the key of the record that it is to *keys*."""
        try:
            envelope = unpack_envelope(cached.packed)
        except RecordError as error:
            return self.refuse(Rejected(error.code, error.detail), None, now)
        if (known := self._directory.key_holding(envelope.digest)) is not None:
            keys.add(known)
            return []
        verdict = self._judge(envelope, now, held=True)
        effects = self._date(verdict.dated, now)
        if isinstance(verdict, Rejected):
            return effects + self.refuse(verdict, None, now)
        record = verdict.record
        heard = Heard(cached.from_peer, cached.hops, cached.age, cached.wave_id, cached.at)
        if isinstance(record, TrustRoot):
            came = Arrival(envelope=envelope, heard=heard, at=now.steady)
            return effects + self._follow([envelope], came, now)
        applied = self._directory.apply(record, envelope, heard, self._floor.times(now.clock).now)
        keys.update((record.key, *applied.dropped))
        if applied.outcome.is_kept:
            self._directory.unconfirmed.add(record.key)
        if isinstance(record, NodeRecord):
            self._again += self._waiting.take(record.subject)
        changed = (*([record.key] if applied.is_changed else ()), *applied.dropped)
        return effects + [each for key in changed for each in self._aftermath.of_reading(key)]

    # -- besides --
    def _date(self, dated: int | None, now: Moment) -> list[Effect]:
        """Let the time floor rise to what the root or the directory dated."""
        effects: list[Effect] = []
        for each in self._floor.raise_to(dated, now.clock) if dated is not None else ():
            if isinstance(each, Rose):
                effects.append(StoreFloor(each.at))
            else:
                effects += self._alarms.say(each.code, each.detail, None, now.steady)
        return effects

    def _bar(self, peer: NodeId, now: Moment) -> list[Effect]:
        if self.is_barred(peer, now):
            return []
        self._waiting.drop_of(peer)
        self._barred[peer] = until = now.steady + BARRED_FOR
        self._barred.move_to_end(peer)
        if len(self._barred) > MOST_BARRED:
            self._barred.popitem(last=False)
        return [Bar(peer, Code.FORGED, until)]


def _is_node_of(record: Record, public_key: bytes) -> bool:
    return isinstance(record, NodeRecord) and record.key_bytes == public_key
