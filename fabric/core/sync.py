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
``writing``                            the round is over when all our frames are given away
===================  ================  ==========================================================

A ``Want`` that holds less than it could is the last one, an empty one too; so is a ``Page`` with
``is_last``. Nobody pages who was not asked. Everything else ends in ``broken``, for good.

The state tells what the *other* end says next. What this end says follows from it, in the same
order, and may be behind: but the other cannot go on to the next round before it has all of this
one. What is held may change in the midst of a round; each frame says what is held when it is made.

**Bounds.** An end holds of a round what it wants and what it was asked for: the digests of
:data:`MOST_WANTED` records at most, each. It reads no more entries than a directory holds, and
takes no more pages than it asked for. Listings and wants ascend, so that nothing is said twice.
Frames are made when they can be written: the shell says :class:`Written` when all that it was
given is out, and is then given more. So both ends can read while they write, and neither holds a
directory in its outbox. A round that is silent for :data:`PATIENCE` is broken.

Where more is lacking than may be wanted, the next round goes on behind the last that was wanted,
and the one after it begins anew: what comes to no avail does not keep out what is behind it.

Pages are in an order in which records can be verified as they come: trust roots, then nodes, then
all else. Within that each end begins somewhere else: a newcomer that asks ten peers at once for
everything is not told the same ten times.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from attrs import define, field

from fabric.codes import Code
from fabric.core.digests import differing, salt_of
from fabric.core.frames import (
    KEY_DIGEST_BYTES,
    MOST_RECORDS,
    Buckets,
    Frame,
    Listing,
    Page,
    Root,
    Want,
)
from fabric.core.sync_events import (
    ENTRY_BYTES,
    Begin,
    Broken,
    Done,
    Effect,
    Event,
    Send,
    Shelf,
    State,
    Take,
    Ticked,
    Written,
    size_of,
)

__all__ = [
    "Begin",
    "Broken",
    "Done",
    "Effect",
    "Event",
    "Send",
    "Session",
    "Shelf",
    "State",
    "Take",
    "Ticked",
    "Written",
]

LISTING_ENTRIES: Final = 1536
"""Of one ``Listing``: 48 KiB."""

PAGE_BYTES: Final = 63 << 10
"""Of the envelopes in one ``Page``; a larger envelope is a page of its own. What msgpack adds to
256 of them is below 1 KiB."""

MOST_PAGE_BYTES: Final = 64 << 10
"""Of several envelopes in one page that a peer sends: what is verified at one go."""

MOST_LISTED: Final = 1 << 16
"""Entries that one end lists in a round: as many as a directory holds keys."""

MOST_WANTED: Final = 1 << 14
"""Records that one end asks for in a round, in 3 MiB. The rest is for the next round."""

MOST_PER_KEY: Final = 4
"""Envelopes at one key: two that contend, and two more where the number below is contended too."""

MOST_BESIDES: Final = 32
"""Envelopes that may come beside those that were asked for: the trust roots before the last."""

WRITE_BYTES: Final = 256 << 10
"""Given to the shell at once, about: some round trips' worth on a fast path."""

PATIENCE: Final = 60.0
"""Seconds of silence in a round after which it is given up. A peer may be at rest for half of
that (:data:`.exchange.MOST_REST`), or verify first what it was sent before."""


@define
class _Round:
    """What is known of the round that is under way."""

    ours: bytes = b""
    theirs: bytes = b""
    our_buckets: bytes = b""
    differing: tuple[int, ...] = ()
    """Buckets that the peer has not yet listed to its end."""
    last_entry: bytes = b""
    """The key that was listed to us last."""
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
        self._made: Frame | None = None
        """The next frame, made and not yet given away."""
        self._wants_after = b""
        """The key behind which this round's wants begin."""
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
        if (fault := self._fault_in_listing(frame, entries)) is not None:
            return self._break(fault)
        lacking = [each for each in entries if self._shelf.weigh(*each)]
        due = (each for each in lacking if each[0] > self._wants_after)
        current.wanted += itertools.islice(due, MOST_WANTED - len(current.wanted))
        if entries:
            current.last_entry = entries[-1][0]
        if frame.is_last:
            current.differing = current.differing[1:]
        return [] if current.differing else self._want()

    def _fault_in_listing(
        self, frame: Listing, entries: Sequence[tuple[bytes, bytes]]
    ) -> str | None:
        current = self._round
        if frame.bucket != current.differing[0]:
            return f"a listing of bucket {frame.bucket}, not of {current.differing[0]}"
        if len(frame.entries) % ENTRY_BYTES or not (entries or frame.is_last):
            return "a listing that is cut off"
        if current.listed_to_us > MOST_LISTED:
            return f"more than {MOST_LISTED} entries"
        keys = [key_digest for key_digest, _ in entries]
        if any(key_digest[0] != frame.bucket for key_digest in keys):
            return "a listing of other buckets"
        return None if _ascend(current.last_entry, keys) else "a listing that is not sorted"

    def _want(self) -> list[Effect]:
        wanted = tuple(key_digest for key_digest, _ in self._round.wanted)
        self._frames.append(_wants(wanted))
        self.state = State.SERVING
        return []

    def read_want(self, frame: Want) -> list[Effect]:
        current = self._round
        last = current.asked[-1] if current.asked else b""
        if not _ascend(last, frame.keys):
            return self._break("wants that are not sorted")
        current.asked += frame.keys
        if len(current.asked) > min(current.listed_by_us, MOST_WANTED):
            return self._break("more is wanted than may be")
        if len(frame.keys) < MOST_RECORDS:
            if current.asked:
                self._frames.append(self._pages(current.asked))
            self.state = State.TAKING if current.wanted else State.WRITING
        return []

    def take_page(self, frame: Page) -> list[Effect]:
        self._round.taken += len(frame.envelopes)
        if (fault := self._fault_in_page(frame)) is not None:
            return self._break(fault)
        if frame.is_last:
            self.state = State.WRITING
        return [Take(frame.envelopes)] if frame.envelopes else []

    def _fault_in_page(self, frame: Page) -> str | None:
        current = self._round
        if current.taken > MOST_PER_KEY * len(current.wanted) + MOST_BESIDES:
            return "more is paged than was wanted"
        if not (frame.envelopes or frame.is_last):
            return "an empty page"
        if len(frame.envelopes) > 1 and sum(map(len, frame.envelopes)) > MOST_PAGE_BYTES:
            return f"a page of more than {MOST_PAGE_BYTES} bytes"
        return None

    # -- frames, made as they can be written --
    def _queue(self, frame: Frame) -> None:
        self._frames.append(iter((frame,)))

    def _listings(self, buckets: Iterable[int]) -> Iterator[Frame]:
        for bucket in buckets:
            # one that grows while it is listed must not become longer than a peer reads
            listing = self._shelf.listing(bucket)[: MOST_LISTED - self._round.listed_by_us]
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
        while (frame := self._next_frame()) is not None and room > 0:
            effects.append(Send(frame))
            room -= size_of(frame)
            self._made, self._is_writing = None, True
        if self.state is State.WRITING and self._made is None:
            effects.append(self._end())
        return effects

    def _next_frame(self) -> Frame | None:
        """Return the frame to be written next. None: the last one was given away."""
        while self._made is None and self._frames:
            self._made = next(self._frames[0], None)
            if self._made is None:
                del self._frames[0]
        return self._made

    def _end(self) -> Done:
        over, self._round = self._round, _Round()
        self._wants_after = over.wanted[-1][0] if len(over.wanted) == MOST_WANTED else b""
        self.state = State.IDLE
        return Done(over.ours, over.theirs, tuple(over.wanted))

    # -- faults --
    def _watch(self, now: float) -> list[Effect]:
        if self.state is State.IDLE or now - self._heard_at < PATIENCE:
            return []
        return self._break(f"nothing for {PATIENCE:.0f} s while {self.state}", Code.SYNC_STALLED)

    def _break(self, detail: str, code: Code = Code.UNEXPECTED_FRAME) -> list[Effect]:
        self.state = State.BROKEN
        self._frames.clear()
        self._made = None
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
"""What is not here breaks the round. The next frame of a round is the only one that may come."""


def _entries(listed: bytes) -> Iterator[tuple[bytes, bytes]]:
    for start in range(0, len(listed) - ENTRY_BYTES + 1, ENTRY_BYTES):
        middle = start + KEY_DIGEST_BYTES
        yield listed[start:middle], listed[middle : start + ENTRY_BYTES]


def _ascend(last: bytes, keys: Sequence[bytes]) -> bool:
    """Return whether *keys* are sorted, none twice, and all behind *last*."""
    return all(one < other for one, other in itertools.pairwise((last, *keys)))


def _wants(wanted: tuple[bytes, ...]) -> Iterator[Frame]:
    for start in range(0, len(wanted) + 1, MOST_RECORDS):
        yield Want(keys=wanted[start : start + MOST_RECORDS])
