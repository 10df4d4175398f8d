"""Envelopes whose signer is not known yet: kept for a while, in case it becomes known.

A node's word may arrive before the node's record, and a record before the trust root that names
its signer. Both usually follow at once. What waits here is unproved: anybody may have made it. So
each peer fills a part only, and when all is full, the oldest of whoever has put in most goes.
Anti-entropy brings again what is lost.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable
from typing import Final, Generic, TypeVar

from attrs import define, field, frozen

from fabric.core.envelope import Digest, Envelope
from fabric.core.identity import NodeId

MOST_WAITING: Final = 256
"""Envelopes, of 10 KiB at most with their signatures: 2.5 MiB."""

MOST_OF_ONE: Final = 64
"""Envelopes that one peer has sent."""

LARGEST: Final = 8 << 10
"""Bytes of a payload that is kept: a node's own word has no more."""

T = TypeVar("T")


@frozen
class _Kept(Generic[T]):
    envelope: Envelope
    from_peer: NodeId | None
    arrival: T


@define
class Waiting(Generic[T]):
    """What waits, as the caller wants it back."""

    _kept: OrderedDict[Digest, _Kept[T]] = field(init=False, factory=OrderedDict)

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, envelope: Envelope, from_peer: NodeId | None, arrival: T) -> None:
        """Keep *arrival*, which is *envelope*, unless it is here or too large to be worth it."""
        digest = envelope.verdict_key
        if len(envelope.payload) > LARGEST or digest in self._kept:
            return
        self._kept[digest] = _Kept(envelope, from_peer, arrival)
        counts = Counter(each.from_peer for each in self._kept.values())
        if counts[from_peer] > MOST_OF_ONE:
            self._drop_oldest_of(from_peer)
        elif len(self._kept) > MOST_WAITING:
            self._drop_oldest_of(counts.most_common(1)[0][0])

    def take(self, signer: str) -> list[T]:
        """Return what names *signer* among its signers, oldest first, and keep it no longer."""
        return self._taken(
            digest
            for digest, each in self._kept.items()
            if any(signature.key_id == signer for signature in each.envelope.signatures)
        )

    def take_all(self) -> list[T]:
        """Return everything, oldest first, and keep nothing."""
        return self._taken(self._kept)

    def drop_of(self, peer: NodeId) -> None:
        """Keep nothing more that *peer* has sent: it is not to be believed."""
        self._taken(digest for digest, each in self._kept.items() if each.from_peer == peer)

    def _taken(self, digests: Iterable[Digest]) -> list[T]:
        return [self._kept.pop(digest).arrival for digest in tuple(digests)]

    def _drop_oldest_of(self, peer: NodeId | None) -> None:
        del self._kept[next(key for key, each in self._kept.items() if each.from_peer == peer)]
