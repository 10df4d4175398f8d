"""One number for everything that is held, and the way from there to what differs.

Theory of operation
===================

Each key has a *key digest* and each record a *record digest*, 16 bytes each. The first byte of
the key digest tells the key's *bucket*. A bucket's sum is the sum of one 32-byte hash per entry,
modulo 2**256: it does not depend on the order of what came, and a change costs one addition and
one subtraction. The *root* is a hash of all sums.

Two nodes with different roots compare buckets, then the entries of those that differ. What they
exchange of a sum is 8 bytes, hashed together with both roots: somebody who signs records in order
to make two different buckets look alike would have to know the roots beforehand. Sums are as wide
as they are because such a person may search for records whose hashes cancel each other out, which
gets cheaper the more of them there are.
"""

from __future__ import annotations

import hashlib
from typing import Final

from fabric.core.frames import BUCKET_BYTES, BUCKETS, KEY_DIGEST_BYTES, ROOT_BYTES
from fabric.core.records import Key

SUM_BYTES: Final = 32
_MODULUS: Final = 1 << (8 * SUM_BYTES)


def digest_of_key(key: Key) -> bytes:
    """Return the 16 bytes that stand for *key* in a listing."""
    spelled = f"{key.kind}\0{key.subject}".encode()
    return hashlib.blake2b(spelled, digest_size=KEY_DIGEST_BYTES).digest()


class Digests:
    """The digests of what one node holds, kept up to date entry by entry."""

    def __init__(self) -> None:
        self._buckets: list[dict[bytes, bytes]] = [{} for _ in range(BUCKETS)]
        self._sums = [0] * BUCKETS
        self._keys: dict[bytes, Key] = {}
        self._digests: dict[Key, bytes] = {}
        self._root: bytes | None = None

    def __len__(self) -> int:
        return len(self._keys)

    def put(self, key: Key, record_digest: bytes) -> None:
        """Let *key* be held with *record_digest*, instead of what it was held with."""
        digest = self._digests.get(key)
        if digest is None:
            digest = self._digests[key] = digest_of_key(key)
            self._keys[digest] = key
        bucket = self._buckets[digest[0]]
        change = _term(digest, record_digest)
        if (before := bucket.get(digest)) is not None:
            change -= _term(digest, before)
        bucket[digest] = record_digest
        self._add(digest[0], change)

    def drop(self, key: Key) -> None:
        """Let *key* not be held any more, if it was."""
        if (digest := self._digests.pop(key, None)) is not None:
            del self._keys[digest]
            self._add(digest[0], -_term(digest, self._buckets[digest[0]].pop(digest)))

    def _add(self, bucket: int, change: int) -> None:
        self._sums[bucket] = (self._sums[bucket] + change) % _MODULUS
        self._root = None

    # -- what nodes compare --
    def root(self) -> bytes:
        """Return the 16 bytes that stand for everything held."""
        if self._root is None:
            sums = b"".join(each.to_bytes(SUM_BYTES, "big") for each in self._sums)
            self._root = hashlib.blake2b(sums, digest_size=ROOT_BYTES).digest()
        return self._root

    def buckets(self, salt: bytes) -> bytes:
        """Return 8 bytes for each bucket, comparable with those made with the same *salt*."""
        return b"".join(
            hashlib.blake2b(
                each.to_bytes(SUM_BYTES, "big"), key=salt, digest_size=BUCKET_BYTES
            ).digest()
            for each in self._sums
        )

    def listing(self, bucket: int) -> list[tuple[bytes, bytes]]:
        """Return the key digest and record digest of all entries of *bucket*, sorted."""
        return sorted(self._buckets[bucket].items())

    def entries(self, bucket: int) -> dict[bytes, bytes]:
        """Return record digests by key digest. Not to be changed, nor kept."""
        return self._buckets[bucket]

    def key(self, digest: bytes) -> Key | None:
        """Return the key that *digest* stands for, if it is held."""
        return self._keys.get(digest)


def salt_of(one: bytes, other: bytes) -> bytes:
    """Return what two nodes with these roots hash their sums with, the same at both."""
    return min(one, other) + max(one, other)


def differing(ours: bytes, theirs: bytes) -> tuple[int, ...]:
    """Return the buckets that differ, by two strings that :meth:`Digests.buckets` made."""
    starts = range(0, BUCKETS * BUCKET_BYTES, BUCKET_BYTES)
    ends = [slice(start, start + BUCKET_BYTES) for start in starts]
    return tuple(bucket for bucket, at in enumerate(ends) if ours[at] != theirs[at])


def _term(key_digest: bytes, record_digest: bytes) -> int:
    return int.from_bytes(
        hashlib.blake2b(key_digest + record_digest, digest_size=SUM_BYTES).digest(), "big"
    )
