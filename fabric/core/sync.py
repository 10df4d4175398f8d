"""Anti-entropy: two nodes find out what they hold differently, and give each other what they lack.

Theory of operation
===================

Both ends do the same, on one stream, in rounds. Either may begin a round, both at once too. In
each of its frames' kinds an end says all that it has to say before it goes on to the next kind::

    one end                                       the other
    Root  -------------------------------------->          nothing more, if it is the same
          <--------------------------------------  Root, Buckets
    Buckets, Listing... ------------------------>
          <--------------------------------------  Listing..., Want...
    Want..., Page... --------------------------->
          <--------------------------------------  Page...

The buckets to list are those in which the two ``Buckets`` frames differ, in ascending order: both
know them. What an end wants are the entries of the other's listing that it does not hold with the
same record digest. It learns by that what it lacks and the other what it is lacked for; of two
records at one key each gets the other's, and keeps the newer. So tombstones travel as all else.

===================  ================  ==========================================================
state                what may come     and then
===================  ================  ==========================================================
``idle``             ``Root``          ours is sent too, and compared
``comparing_roots``  ``Root``          the same: the round is over. Else ``Buckets`` are sent
``comparing``        ``Buckets``       a ``Listing`` of each bucket that differs
``listing``          ``Listing``       after the last one: what is wanted of them, ``Want``
``serving``          ``Want``          after the last one: the ``Page`` frames that answer them
``taking``           ``Page``          each is taken in; after the last one the round is over
===================  ================  ==========================================================

A ``Want`` that holds less than it could is the last one, an empty one too; so is a ``Page`` with
``is_last``. Nobody pages who was not asked. Everything else ends in ``broken``, for good.

**Bounds.** An end holds of a round what it wants and what it was asked for: the digests of
:data:`MOST_WANTED` records at most, and of as many keys as it listed. It takes no more pages than
it asked for. Frames are made when they can be written: the shell says :class:`Written` when all
that it was given is out, and is then given more. So both ends can read while they write, and
neither holds a directory in its outbox. A round that is silent for :data:`PATIENCE` is broken.

Pages are in an order in which records can be verified as they come: trust roots, then nodes, then
all else. Within that each end begins somewhere else: a newcomer that asks ten peers at once for
everything is not told the same ten times.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final, Protocol, TypeAlias

from attrs import define, field, frozen

from fabric.codes import Code
from fabric.core.digests import differing, salt_of
from fabric.core.frames import (
    KEY_DIGEST_BYTES,
    MOST_RECORDS,
    RECORD_DIGEST_BYTES,
    Buckets,
    Frame,
    Listing,
    Page,
    Root,
    Want,
)

ENTRY_BYTES: Final = KEY_DIGEST_BYTES + RECORD_DIGEST_BYTES

LISTING_ENTRIES: Final = 1536
"""Of one ``Listing``: 48 KiB."""

PAGE_BYTES: Final = 63 << 10
"""Of the envelopes in one ``Page``; a larger envelope is a page of its own."""

MOST_LISTED: Final = 1 << 16
"""Entries of one round that are read of a peer: as many as a directory holds keys."""

MOST_WANTED: Final = 1 << 14
"""Records of one round that are asked for, in 3 MiB. The rest is for the next round."""

MOST_PER_KEY: Final = 3
"""Envelopes at one key: two that contend, and the last good generation below them."""

MOST_BESIDES: Final = 32
"""Envelopes that may come beside those that were asked for: the trust roots before the last."""

WRITE_BYTES: Final = 256 << 10
"""Given to the shell at once, about: some round trips' worth on a fast path."""

PATIENCE: Final = 30.0
"""Seconds of silence in a round after which the peer has forgotten it. A peer whose stream is not
read for a while, because it sends more than is verified, is silent for a second or two."""


class Shelf(Protocol):
    """What an end holds, as :mod:`.digests` and the directory know it."""

    def root(self) -> bytes: ...

    def buckets(self, salt: bytes) -> bytes: ...

    def listing(self, bucket: int) -> list[tuple[bytes, bytes]]:
        """Return key digests and record digests, sorted."""

    def lacks(self, key_digest: bytes, record_digest: bytes) -> bool:
        """Return whether that record is not held and may be worth asking for."""

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
    served: int = 0
    """Keys that the other end asked for."""


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


@define
class _Round:
    """What is known of the round that is under way."""

    ours: bytes = b""
    theirs: bytes = b""
    our_buckets: bytes = b""
    differing: tuple[int, ...] = ()
    """Buckets that the peer has not yet listed to its end."""
    last_entry: bytes = b""
    """Of the listing of the first of them, so far."""
    listed_to_us: int = 0
    listed_by_us: int = 0
    wanted: list[tuple[bytes, bytes]] = field(factory=list)
    asked: list[bytes] = field(factory=list)
    taken: int = 0


class Session:
    """One end of the sync stream with one peer."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._round = _Round()
        self._frames: list[Iterator[Frame]] = []
        self._is_writing = False
        self._heard_at = 0.0
        self.state = State.IDLE

    @property
    def is_idle(self) -> bool:
        """Whether no round is under way."""
        return self.state is State.IDLE

    def receive(self, event: Event, now: float) -> list[Effect]:
        """Take the step that the table names, and return what follows from it."""
        if self.state is State.BROKEN:
            return []
        if isinstance(event, Ticked):
            return self._watch(now)
        self._heard_at = now
        effects = self._step(event)
        return effects + self._write()

    def _step(self, event: Event) -> list[Effect]:
        match event:
            case Begin():
                if self.is_idle:
                    self._begin()
            case Written():
                self._is_writing = False
            case _:
                step = STEPS.get((self.state, type(event)))
                if step is None:
                    return self._break(f"{type(event).__name__} while {self.state}")
                return step(self, event)
        return []

    # -- steps --
    def _begin(self) -> None:
        self._round = _Round(ours=self._shelf.root())
        self._queue(Root(root=self._round.ours))
        self.state = State.COMPARING_ROOTS

    def answer_root(self, frame: Root) -> list[Effect]:
        self._begin()
        return self.compare_roots(frame)

    def compare_roots(self, frame: Root) -> list[Effect]:
        current = self._round
        current.theirs = frame.root
        if frame.root == current.ours:
            self.state = State.WRITING
            return []
        current.our_buckets = self._shelf.buckets(salt_of(current.ours, frame.root))
        self._queue(Buckets(digests=current.our_buckets))
        self.state = State.COMPARING
        return []

    def compare_buckets(self, frame: Buckets) -> list[Effect]:
        current = self._round
        current.differing = differing(current.our_buckets, frame.digests)
        self._frames.append(self._listings(current.differing))
        self.state = State.LISTING
        return [] if current.differing else self._want()

    def read_listing(self, frame: Listing) -> list[Effect]:
        current = self._round
        entries = list(_entries(frame.entries))
        current.listed_to_us += len(entries)
        if (fault := self._fault_in(frame, entries)) is not None:
            return self._break(fault)
        lacking = (each for each in entries if self._shelf.lacks(*each))
        current.wanted += itertools.islice(lacking, MOST_WANTED - len(current.wanted))
        current.last_entry = entries[-1][0] if entries else b""
        if frame.is_last:
            current.differing, current.last_entry = current.differing[1:], b""
        return [] if current.differing else self._want()

    def _fault_in(self, frame: Listing, entries: list[tuple[bytes, bytes]]) -> str | None:
        current = self._round
        if frame.bucket != current.differing[0]:
            return f"a listing of bucket {frame.bucket}, not of {current.differing[0]}"
        if len(frame.entries) % ENTRY_BYTES or not (entries or frame.is_last):
            return "a listing that is cut off"
        if current.listed_to_us > MOST_LISTED:
            return f"more than {MOST_LISTED} entries"
        before = current.last_entry
        for key_digest, _ in entries:
            if key_digest[0] != frame.bucket or key_digest <= before:
                return "a listing that is not sorted"
            before = key_digest
        return None

    def _want(self) -> list[Effect]:
        wanted = tuple(key_digest for key_digest, _ in self._round.wanted)
        self._frames.append(_wants(wanted))
        self.state = State.SERVING
        return []

    def read_want(self, frame: Want) -> list[Effect]:
        current = self._round
        current.asked += frame.keys
        if len(current.asked) > current.listed_by_us:
            return self._break("more is wanted than was listed")
        if len(frame.keys) < MOST_RECORDS:
            if current.asked:
                self._frames.append(self._pages(current.asked))
            self.state = State.TAKING if current.wanted else State.WRITING
        return []

    def take_page(self, frame: Page) -> list[Effect]:
        current = self._round
        current.taken += len(frame.envelopes)
        if current.taken > MOST_PER_KEY * len(current.wanted) + MOST_BESIDES:
            return self._break("more is paged than was wanted")
        if not (frame.envelopes or frame.is_last):
            return self._break("an empty page")
        if frame.is_last:
            self.state = State.WRITING
        return [Take(frame.envelopes)] if frame.envelopes else []

    # -- frames, made as they can be written --
    def _queue(self, frame: Frame) -> None:
        self._frames.append(iter((frame,)))

    def _listings(self, buckets: Iterable[int]) -> Iterator[Frame]:
        for bucket in buckets:
            listing = self._shelf.listing(bucket)
            self._round.listed_by_us += len(listing)
            for start in range(0, len(listing) or 1, LISTING_ENTRIES):
                part = listing[start : start + LISTING_ENTRIES]
                entries = b"".join(key + record for key, record in part)
                is_last = start + LISTING_ENTRIES >= len(listing)
                yield Listing(bucket=bucket, entries=entries, is_last=is_last)

    def _pages(self, asked: Iterable[bytes]) -> Iterator[Frame]:
        page: list[bytes] = []
        size = 0
        for key_digest in sorted(asked, key=self._shelf.rank):
            for packed in self._shelf.packed(key_digest):
                if page and (size + len(packed) > PAGE_BYTES or len(page) == MOST_RECORDS):
                    yield Page(envelopes=tuple(page), is_last=False)
                    page, size = [], 0
                page.append(packed)
                size += len(packed)
        yield Page(envelopes=tuple(page))

    def _write(self) -> list[Effect]:
        """Return as many frames as may be written now, and whether that ends the round."""
        effects: list[Effect] = []
        room = 0 if self._is_writing else WRITE_BYTES
        while self._frames and room > 0:
            if (frame := next(self._frames[0], None)) is None:
                del self._frames[0]
                continue
            effects.append(Send(frame))
            room -= _size_of(frame)
            self._is_writing = True
        if self.state is State.WRITING and not self._frames:
            self.state = State.IDLE
            over = self._round
            effects.append(Done(over.ours, over.theirs, tuple(over.wanted), len(over.asked)))
            self._round = _Round()
        return effects

    # -- faults --
    def _watch(self, now: float) -> list[Effect]:
        if self.state is State.IDLE or now - self._heard_at < PATIENCE:
            return []
        return self._break(f"nothing for {PATIENCE:.0f} s while {self.state}", Code.DEADLINE)

    def _break(self, detail: str, code: Code = Code.UNEXPECTED_FRAME) -> list[Effect]:
        self.state = State.BROKEN
        self._frames.clear()
        self._round = _Round()
        return [Broken(code, detail)]


STEPS: Final[Mapping[tuple[State, type], Callable[..., list[Effect]]]] = MappingProxyType(
    {
        (State.IDLE, Root): Session.answer_root,
        (State.COMPARING_ROOTS, Root): Session.compare_roots,
        (State.COMPARING, Buckets): Session.compare_buckets,
        (State.LISTING, Listing): Session.read_listing,
        (State.SERVING, Want): Session.read_want,
        (State.TAKING, Page): Session.take_page,
    }
)


def _entries(listed: bytes) -> Iterator[tuple[bytes, bytes]]:
    for start in range(0, len(listed) - ENTRY_BYTES + 1, ENTRY_BYTES):
        middle = start + KEY_DIGEST_BYTES
        yield listed[start:middle], listed[middle : start + ENTRY_BYTES]


def _wants(wanted: tuple[bytes, ...]) -> Iterator[Frame]:
    for start in range(0, len(wanted) + 1, MOST_RECORDS):
        yield Want(keys=wanted[start : start + MOST_RECORDS])


def _size_of(frame: Frame) -> int:
    """Return about how many bytes *frame* takes."""
    match frame:
        case Page():
            return 64 + sum(map(len, frame.envelopes))
        case Listing():
            return 64 + len(frame.entries)
        case Want():
            return 64 + KEY_DIGEST_BYTES * len(frame.keys)
    return 2048
