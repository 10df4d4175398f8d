"""What one end of a sync stream is told, what it answers, and what it has to know of its node."""

from __future__ import annotations

import enum
from typing import Final, Protocol, TypeAlias

from attrs import frozen

from fabric.codes import Code
from fabric.core.frames import KEY_DIGEST_BYTES, RECORD_DIGEST_BYTES, Frame, Listing, Page, Want

ENTRY_BYTES: Final = KEY_DIGEST_BYTES + RECORD_DIGEST_BYTES
"""Of a key and a record in a ``Listing``."""


class Shelf(Protocol):
    """What an end holds, as :mod:`.digests` and the directory know it."""

    def root(self) -> bytes: ...

    def buckets(self, salt: bytes) -> bytes: ...

    def listing(self, bucket: int) -> list[tuple[bytes, bytes]]:
        """Return key digests and record digests, sorted."""

    def weigh(self, key_digest: bytes, record_digest: bytes) -> bool:
        """Note that the peer holds that record; return whether it is worth asking for."""

    def rank(self, key_digest: bytes) -> tuple[int, int]:
        """Return where a key comes in the order of pages."""

    def packed(self, key_digest: bytes) -> tuple[bytes, ...]:
        """Return the envelopes at a key; nothing, if it is not held any more."""


# -- events --
@frozen
class Begin:
    """Compare with the peer now; nothing, if that is being done."""


@frozen
class Written:
    """All frames that this session gave to the shell are written."""


@frozen
class Ticked:
    """A second has passed, or so."""


Event: TypeAlias = Frame | Begin | Written | Ticked


# -- effects --
@frozen
class Send:
    """Write *frame* to the sync stream, after those before it."""

    frame: Frame


@frozen
class Take:
    """These came from the peer, packed, in their order."""

    envelopes: tuple[bytes, ...]


@frozen
class Done:
    """The round is over, and this end could begin another."""

    ours: bytes
    theirs: bytes
    """The roots with which it began."""
    wanted: tuple[tuple[bytes, bytes], ...] = ()
    """Key and record digests of what this end asked for, whether or not it came."""


@frozen
class Broken:
    """The peer does not keep to the protocol. The stream is of no use any more."""

    code: Code
    detail: str


Effect: TypeAlias = Send | Take | Done | Broken


class State(enum.StrEnum):
    """What an end waits for."""

    IDLE = "idle"
    COMPARING_ROOTS = "comparing_roots"
    COMPARING = "comparing"
    LISTING = "listing"
    SERVING = "serving"
    TAKING = "taking"
    WRITING = "writing"
    """Nothing more: only our own frames are still to be written."""
    BROKEN = "broken"


def size_of(frame: Frame) -> int:
    """Return about how many bytes *frame* takes; never less."""
    match frame:
        case Page():
            return 64 + sum(len(each) + 5 for each in frame.envelopes)
        case Listing():
            return 64 + len(frame.entries)
        case Want():
            return 64 + (KEY_DIGEST_BYTES + 2) * len(frame.keys)
    return 2112  # Buckets, the largest of the others
