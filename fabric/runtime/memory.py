"""What a node remembers over restarts, beside records: whom it met where, and who was there.

Also the cache's :class:`~fabric.store.peer_cache.Holder`: when the file has to be written anew,
after a disk that was away or was put aside, this says all that belongs into it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attrs import define, evolve, field

from fabric.config import HostPort
from fabric.core import gossip_events as told
from fabric.core.codec.envelopes import pack_envelope
from fabric.core.identity import NodeId
from fabric.core.roster import Address
from fabric.runtime.gossip import FLOOR
from fabric.runtime.knowledge import Knowledge
from fabric.store.kept import (
    Fact,
    KnownCandidate,
    KnownPeer,
    Seed,
    Snapshot,
    StoredRecord,
    StoredRoot,
)

MOST_PEERS = 4096
"""Remembered at once, in some 500 KiB; of more, who was seen longest ago goes."""

OBSERVED = "observed"
"""Provenance of a candidate: the peer came from there."""


@define(eq=False)
class Memory:
    """Belongs to the node's trio thread. Nothing in it blocks."""

    knowledge: Knowledge
    receive: Callable[[told.Event], None]
    """Where what turns up late on the disk goes."""
    _peers: dict[NodeId, KnownPeer] = field(init=False)
    _candidates: dict[tuple[NodeId, str], KnownCandidate] = field(init=False)
    _seeds: dict[str, Seed] = field(init=False)

    def __attrs_post_init__(self) -> None:
        remembered = self.knowledge.remembered
        self._peers = {each.peer: each for each in remembered.peers}
        self._candidates = _by_place(remembered)
        self._seeds = {each.address: each for each in remembered.seeds}
        self.knowledge.cache.held_by(self)

    # -- what is seen --
    def met(self, node: NodeId, address: Address, rtt: float | None) -> None:
        """Remember that *node* proved its key at *address*."""
        self._note(evolve(self._seen(node), address=str(HostPort(*address)), rtt=rtt))

    def sighted(self, node: NodeId, address: Address) -> None:
        """Remember that *node* came from *address*: a candidate for a dial."""
        now = self.knowledge.unix_now()
        seen = KnownCandidate(
            node, str(HostPort(*address)), provenance=OBSERVED, worked_at=now, at=now
        )
        self._candidates[seen.peer, seen.address] = seen
        self.knowledge.cache.note_candidate(seen)

    def lost(self, node: NodeId, address: Address) -> None:
        """Remember *address* no more: *node* is elsewhere."""
        if seen := self._candidates.pop((node, str(HostPort(*address))), None):
            self.knowledge.cache.drop_candidate(seen)

    def turned(self, node: NodeId, state: str, incarnation: int) -> None:
        """Remember what liveness last said of *node*."""
        self._note(evolve(self._seen(node), state=state, incarnation=incarnation))

    def seeds(self, addresses: Iterable[Address]) -> None:
        """Remember the seeds that the operator named; they are never forgotten."""
        named, now = [str(HostPort(*address)) for address in addresses], self.knowledge.unix_now()
        self._seeds |= {address: Seed(address, now) for address in named}
        self.knowledge.cache.note_seeds(named, now)

    def forget(self, node: NodeId) -> None:
        """Keep nothing of *node*: it is a member no more."""
        self._peers.pop(node, None)
        for place in [each for each in self._candidates if each[0] == node]:
            self.knowledge.cache.drop_candidate(self._candidates.pop(place))

    def _seen(self, node: NodeId) -> KnownPeer:
        return self._peers.get(node) or KnownPeer(node)

    def _note(self, seen: KnownPeer) -> None:
        seen = evolve(seen, at=self.knowledge.unix_now())
        self._peers.pop(seen.peer, None)
        self._peers[seen.peer] = seen  # behind all others
        if len(self._peers) > MOST_PEERS:
            del self._peers[next(iter(self._peers))]
        self.knowledge.cache.note_peer(seen)

    # -- the holder --
    def everything(self) -> Snapshot:
        knowledge = self.knowledge
        chain = knowledge.trust.chain
        first = knowledge.trust.root.version - len(chain) + 1
        return Snapshot(
            records=tuple(map(_stored, knowledge.gossip.kept())),
            roots=tuple(
                StoredRoot(first + n, pack_envelope(each)) for n, each in enumerate(chain)
            ),
            peers=tuple(sorted(self._peers.values(), key=lambda each: each.peer)),
            candidates=tuple(each for _, each in sorted(self._candidates.items())),
            seeds=tuple(sorted(self._seeds.values(), key=lambda each: each.address)),
            facts=(Fact(FLOOR, str(knowledge.floor.at).encode()),),
        )

    def take(self, found: Snapshot) -> None:
        if found.roots:
            self.receive(told.HeardRoots(tuple(each.packed for each in found.roots)))
        self.receive(told.Loaded(found.records))
        self._peers = {each.peer: each for each in found.peers} | self._peers
        self._candidates = _by_place(found) | self._candidates
        self._seeds = {each.address: each for each in found.seeds} | self._seeds


def _by_place(kept: Snapshot) -> dict[tuple[NodeId, str], KnownCandidate]:
    return {(each.peer, each.address): each for each in kept.candidates}


def _stored(row: told.Store) -> StoredRecord:
    heard = row.heard
    return StoredRecord(
        kind=row.key.kind,
        subject=row.key.subject,
        packed=row.packed,
        from_peer=heard.from_peer,
        hops=heard.hops,
        age=heard.age,
        wave_id=heard.wave_id,
        at=heard.at,
    )
