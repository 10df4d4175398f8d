"""What is signed next at a key: its number, its dates, its end. Pure: no file, no clock, no key.

Theory of operation
===================

The record that the folder holds at a key is the key's whole memory, because of two rules:

* its **generation** is the highest that was ever drawn there, and the next is one more, also
  across a tombstone and across epochs;
* its **expiry** is the latest that was ever issued there: no successor expires before the record
  that it replaces. A tombstone therefore has only to outlive the one record that it ends.

Records live for their kind's life less a share that follows from key and generation, so that a
fleet added in one minute is not due for signing in one minute.
"""

from __future__ import annotations

import hashlib
from typing import Final, TypeVar

from attrs import evolve

from fabric.core.records import DAY, Authored, Key

OUTLIVES: Final = 7 * DAY
"""Seconds by which a tombstone outlives all that was issued at its key: longer than any partition
in which a late node could still bring the old record back."""

JITTER: Final = 10
"""One part in ten of a life: nine days of ninety, over which a whole fleet's dues spread."""

R = TypeVar("R", bound=Authored)


def issue(draft: R, held: Authored | None, *, epoch: int, now: int) -> R:
    """Return *draft* as it is to be signed at *now* (unix seconds), in place of *held*."""
    generation = held.generation + 1 if held else 1
    life = draft.LIFE - _jitter(draft.key, generation, draft.LIFE)
    return evolve(
        draft,
        epoch=epoch,
        generation=generation,
        issued_at=now,
        expires_at=max(now + life, held.expires_at if held else 0),
        revoked=False,
    )


def end(held: R, *, epoch: int, now: int) -> R:
    """Return the tombstone that ends *held*, or prolongs it where it is a tombstone already."""
    outlived = held.expires_at if held.revoked else max(held.expires_at, now) + OUTLIVES
    return evolve(
        held,
        epoch=epoch,
        generation=held.generation + 1,
        issued_at=now,
        expires_at=max(outlived, now + OUTLIVES),
        revoked=True,
    )


def again(held: R, *, epoch: int, now: int) -> R:
    """Return what *held* says, to be signed anew."""
    if held.revoked:
        return end(held, epoch=epoch, now=now)
    return issue(held, held, epoch=epoch, now=now)


def is_due(held: Authored, *, now: int) -> bool:
    """Whether half of its life is over. A tombstone is never due: it is meant to end."""
    return not held.revoked and 2 * (now - held.issued_at) >= held.expires_at - held.issued_at


def says_the_same(draft: Authored, held: Authored) -> bool:
    """Whether the two differ in nothing but number and dates."""
    if type(draft) is not type(held):
        return False
    dated = evolve(
        draft,
        epoch=held.epoch,
        generation=held.generation,
        issued_at=held.issued_at,
        expires_at=held.expires_at,
    )
    return dated == held


def _jitter(key: Key, generation: int, life: int) -> int:
    drawn = hashlib.blake2b(f"{key} {generation}".encode(), digest_size=8).digest()
    return int.from_bytes(drawn) % (life // JITTER)
