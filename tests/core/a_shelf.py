"""A shelf of numbered things, and two ends of one sync stream with lists between them."""

import hashlib
import itertools
from collections import deque

from fabric.core.digests import Digests, digest_of_key
from fabric.core.frames import BUCKET_BYTES, BUCKETS, Buckets, Listing
from fabric.core.records import Key
from fabric.core.sync import Broken, Done, Send, Session, Take, Written

KIND = "thing"

_numbers = itertools.count()
_named = [[] for _ in range(BUCKETS)]


def key_of(subject):
    return Key(KIND, subject)


def key_digest(subject):
    return digest_of_key(key_of(subject))


def packed(subject, number, size=0):
    return f"{subject}={number}".encode().ljust(size, b".")


def record_digest(envelope):
    return hashlib.blake2b(envelope, digest_size=16).digest()


def names_in(bucket, number):
    """Return the first *number* subjects whose keys are all in *bucket*."""
    while len(_named[bucket]) < number:
        subject = f"s{next(_numbers)}"
        _named[key_digest(subject)[0]].append(subject)
    return _named[bucket][:number]


class AShelf:
    """Of each subject the highest number counts, as in a directory; of *refuses* none does."""

    def __init__(self, held=(), *, refuses=(), size=0):
        self.size = size
        self.digests = Digests()
        self.held = {}
        self.refuses = frozenset(refuses)
        self.weighed = []
        for subject, number in dict(held).items():
            self.put(subject, number)

    def put(self, subject, number):
        """Return whether that is anything new."""
        if subject in self.refuses or self.held.get(subject, 0) >= number:
            return False
        self.held[subject] = number
        envelope = packed(subject, number, self.size)
        self.digests.put(key_of(subject), record_digest(envelope))
        return True

    def drop(self, subject):
        if self.held.pop(subject, None) is not None:
            self.digests.drop(key_of(subject))

    def take(self, envelopes):
        taken = [each.decode().rstrip(".").split("=") for each in envelopes]
        return [subject for subject, number in taken if self.put(subject, int(number))]

    # -- as a session asks --
    def root(self):
        return self.digests.root()

    def buckets(self, salt):
        return self.digests.buckets(salt)

    def listing(self, bucket):
        return self.digests.listing(bucket)

    def weigh(self, key_digest, record_digest):
        self.weighed.append(key_digest)
        return self.digests.entries(key_digest[0]).get(key_digest) != record_digest

    def rank(self, key_digest):
        return 0, int.from_bytes(key_digest, "big")

    def packed(self, key_digest):
        key = self.digests.key(key_digest)
        return () if key is None else (packed(key.subject, self.held[key.subject], self.size),)


class End:
    """One end: a session over a shelf, and what it has given away and not yet written."""

    def __init__(self, shelf, session=None):
        self.shelf = shelf
        self.session = session or Session(shelf)
        self.inbox = deque()
        self.other = None
        self.is_writing = False
        self.effects = []
        self.sent = []

    def tell(self, event, now=0.0):
        effects = self.session.receive(event, now)
        self.effects += effects
        for effect in effects:
            match effect:
                case Send(frame):
                    self.is_writing = True
                    self.sent.append(frame)
                    self.other.inbox.append(frame)
                case Take(envelopes):
                    self.shelf.take(envelopes)
        return effects

    def read(self):
        return self.tell(self.inbox.popleft())

    def written(self):
        self.is_writing = False
        return self.tell(Written())

    def of(self, kind):
        """Return every effect of *kind* so far."""
        return [each for each in self.effects if isinstance(each, kind)]

    def frames(self, kind):
        """Return every frame of *kind* that was sent so far."""
        return [each for each in self.sent if isinstance(each, kind)]


def two_ends(one, other):
    ends = End(one), End(other)
    ends[0].other, ends[1].other = ends[1], ends[0]
    return ends


def run(*ends):
    """Let both ends read and write until nothing is left to do, and return whether none broke."""
    while busy := [each for each in ends if each.inbox or each.is_writing]:
        for end in busy:
            if end.inbox:
                end.read()
            if end.is_writing:
                end.written()
    return not any(each.of(Broken) for each in ends)


def rounds(end):
    return end.of(Done)


# -- what a peer might say --
THEIRS = b"t" * 16
"""A root that nothing has."""
HERE, THERE = names_in(7, 2)


def entry(subject, number=1):
    return key_digest(subject) + record_digest(packed(subject, number))


def listing(*subjects, bucket=7, is_last=True, number=1):
    entries = b"".join(sorted(entry(each, number) for each in subjects))
    return Listing(bucket=bucket, entries=entries, is_last=is_last)


def differ_in(session_shelf, *buckets, theirs=THEIRS):
    """Return the ``Buckets`` of somebody who differs from *session_shelf* in *buckets*."""
    ours = session_shelf.root()
    digests = bytearray(session_shelf.buckets(min(ours, theirs) + max(ours, theirs)))
    for bucket in buckets:
        digests[bucket * BUCKET_BYTES] ^= 1
    return Buckets(digests=bytes(digests))


def sent(effects):
    return [each.frame for each in effects if isinstance(each, Send)]
