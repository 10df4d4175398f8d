"""How long a record is good for what: dates ahead, expiry, survival grace, oblivion.

======================  ============================================  ==========================
from                    a node record                                 every other
======================  ============================================  ==========================
a day before issue      live (whose clock is how far off, who knows)  live
``expires_at``          admits the known node: *grace*                held; an own word is tried
30 days after           held, and said to be the reason               forgotten at the day's end
60 days after           forgotten at the day's end                    nothing
======================  ============================================  ==========================

What is forgotten is refused from then on, by all as one UTC day ends. A node record is held for
as long beyond its grace as others are beyond their end: whoever is let in no more is told that
its record has expired, and not that nobody knows it.

What has expired is still taken in until it is forgotten, for nodes compare all that they hold: one
that refused what others keep would differ from them for a month. What it is *good for* is its
:class:`~fabric.core.verdicts.Standing`, which is asked for whenever it is used.

A life may be twice as long as the kind's usual one and no longer, so that a key that leaked cannot
sign for ever. Trust roots are outside of all this: they are ordered and thresholded, and a wrong
clock must not keep a node from hearing that a key is compromised.
"""

from __future__ import annotations

from typing import Final

from fabric.codes import Code
from fabric.core.clocks import MOST_AHEAD, Times
from fabric.core.kinds import KINDS
from fabric.core.records import (
    DAY,
    NODE,
    NodeRecord,
    Opaque,
    Record,
    Role,
    TrustRoot,
)
from fabric.core.verdicts import Accepted, Rejected, Standing, Verdict

SURVIVAL_GRACE: Final = 30 * DAY
"""Seconds for which a fleet without its control plane goes on after its records have expired. The
price: a node that hears of nobody trusts a revoked peer for as long."""

FORGOTTEN_AFTER: Final = 30 * DAY
"""Seconds after it was last good for anything until a key is deleted: no partition that heals
brings it back after."""

TOMBSTONE_EXTRA: Final = 8 * DAY
"""A tombstone outlives what it ends by seven days; one more for a signer whose clock is behind."""

MOST_SEQUENCE_AHEAD: Final = 2**32
"""By which a node's sequence may be ahead of the time, whose seconds it counts: a clock in 2099 is
within, and its owner goes on from there. The bound moves on with time, so that a thief of the
key cannot put the owner's last word at the end of all numbers."""


def standing_of(record: Record, now: float) -> Standing:
    """Return what *record*, which was taken in, is good for at *now*: see :attr:`Times.now`."""
    if now < record.expires_at:
        return Standing.LIVE
    is_node = isinstance(record, NodeRecord) and not record.revoked
    if is_node and now < record.expires_at + SURVIVAL_GRACE:
        return Standing.GRACE
    return Standing.EXPIRED


def forgotten_at(record: Record) -> int:
    """Return when *record*'s key is deleted everywhere, unless something newer is held."""
    # a tombstone and a record of a later release too, or the keys of one would differ by its end
    grace = SURVIVAL_GRACE if record.key.kind == NodeRecord.KIND else 0
    return -(-(record.expires_at + grace + FORGOTTEN_AFTER) // DAY) * DAY


def longest_life(record: Record) -> int:
    """Return the most seconds from issue to expiry that a record like this may have."""
    extra = TOMBSTONE_EXTRA if record.revoked else 0
    return 2 * _usual_life(record) + extra


def _usual_life(record: Record) -> int:
    if not isinstance(record, Opaque):
        return record.LIFE
    if known := KINDS.get(record.kind):
        return known.LIFE
    # of a kind to come, all that is known is that none lives longer than these two
    return Record.LIFE if record.own_word else TrustRoot.LIFE


def dated_by_the_fabric(record: Record) -> int | None:
    """Return when *record* was signed, if by the root or the directory."""
    return record.issued_at if record.authors[0] in (Role.ROOT, Role.DIRECTORY) else None


def judge_dates(record: Record, times: Times) -> Verdict:
    """Return the verdict about a *record* that is rightly signed."""
    dated = dated_by_the_fabric(record)
    now = times.now
    if isinstance(record, TrustRoot):
        return Accepted(record, standing_of(record, now), dated)
    if record.issued_at > now + MOST_AHEAD:
        ahead = f"{record.issued_at - now:.0f} s ahead"
        return Rejected(Code.NOT_YET_VALID, ahead, dated=dated)
    if record.expires_at - record.issued_at > longest_life(record):
        return Rejected(Code.LIFE_TOO_LONG, f"more than {longest_life(record)} s")
    if NODE in record.authors and record.order[1] > now + MOST_SEQUENCE_AHEAD:
        return Rejected(Code.GENERATION_LEAP, f"sequence {record.order[1]}")
    if now >= forgotten_at(record):
        return Rejected(Code.RECORD_TOO_OLD, f"expired {now - record.expires_at:.0f} s ago")
    return Accepted(record, standing_of(record, now), dated)
