"""What an authority has signed so far, and the signing of one record more.

Whoever opens a ledger *to change* it holds the folder's lock until it is closed, so that what was
read is what is: no number is drawn twice. To the others it is as it was when they looked.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

from fabric.codes import Code
from fabric.core.codec.envelopes import pack_envelope
from fabric.core.codec.records import encode_record
from fabric.core.envelope import Envelope, sign_payload
from fabric.core.frames import MOST_HELLO_RECORD
from fabric.core.records import Authored, NodeRecord, Record, Role, TrustRoot
from fabric.net.tls import NodeKey
from services.authority import rotation, signing
from services.authority.folder import Folder, Held, read_envelope, write_envelope
from services.authority.keys import KeyRing, needed
from services.authority.refusals import AuthorityError

R = TypeVar("R", bound=Authored)


class Ledger:
    """The open folder. Raises :exc:`AuthorityError` where it does not sign."""

    def __init__(self, folder: Folder, *, lock: int | None) -> None:
        """*lock*: what :meth:`Folder.lock` gave; None where nothing is to be changed."""
        self.folder = folder
        self.name = folder.name()
        self.keys = KeyRing.load(folder.keys)
        self.roots = folder.roots()
        self.held = {held.record.key: held for held in folder.records()}
        self._lock = lock
        if lock is not None:
            self._mend_root_file()

    @classmethod
    def open(cls, path: Path, *, to_change: bool) -> Ledger:
        folder = Folder(path)
        folder.name()  # or a lock would be left in a folder of something else
        lock = folder.lock() if to_change else None
        try:
            return cls(folder, lock=lock)
        except BaseException:
            if lock is not None:
                os.close(lock)
            raise

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def require_lock(self) -> None:
        """A change without the lock is a bug of the caller's."""
        if self._lock is None:
            raise RuntimeError("this authority was opened to look at it, or is closed")

    @property
    def root(self) -> TrustRoot:
        """The newest trust root that is in force."""
        return self.roots[-1][1]

    def standing(self, now: int) -> list[Held]:
        """What is still in use: all that is not revoked, and tombstones until they expire."""
        return [
            held
            for _, held in sorted(self.held.items())
            if not held.record.revoked or held.record.expires_at > now
        ]

    def say(self, draft: R, now: int) -> Envelope:
        """Sign *draft* as the next at its key, unless what stands there says just that."""
        held = self.held.get(draft.key)
        if held and self._stands(held, now) and signing.says_the_same(draft, held.record):
            return held.envelope
        before = held.record if held else None
        return self._put(signing.issue(draft, before, epoch=self._epoch(self.root), now=now))

    def end(self, record: Authored, now: int) -> Envelope:
        """Sign the tombstone of *record*."""
        return self._put(signing.end(record, epoch=self._epoch(self.root), now=now))

    def again(self, held: Held, now: int, *, under: TrustRoot | None = None) -> Envelope:
        """Sign *held* anew, so that it counts by the trust root *under*, the present one unless
        given; and by the present one too, if its keys are here."""
        if encode_record(held.record) != held.envelope.payload:
            raise AuthorityError.of(
                Code.NEEDS_NEWER_RELEASE,
                f"{held.record.key} has fields that this release does not know, and would drop.",
                "Sign with the release that wrote it, or a newer one.",
            )
        root = under or self.root
        return self._put(signing.again(held.record, epoch=self._epoch(root), now=now), root)

    def take_root(self, root: TrustRoot, envelope: Envelope) -> Path:
        """Have *root* in force from now on; return its file."""
        self.require_lock()
        path = self.folder.root_version(root.version)
        write_envelope(path, envelope)
        write_envelope(self.folder.root_file, envelope)
        self.roots.append((envelope, root))
        return path

    def _mend_root_file(self) -> None:
        """Make ``root.json`` the newest root: a crash may have come between the two writes."""
        newest, _ = self.roots[-1]
        path = self.folder.root_file
        if not path.exists() or read_envelope(path) != newest:
            write_envelope(path, newest)

    def _put(self, record: Authored, root: TrustRoot | None = None) -> Envelope:
        self.require_lock()
        keys = needed(root or self.root, Role.DIRECTORY, self.keys)
        if root is not None and root != self.root:
            keys = [*keys, *self._keys_of_today(excluding=keys)]
        envelope = signed(record, keys)
        if isinstance(record, NodeRecord) and len(pack_envelope(envelope)) > MOST_HELLO_RECORD:
            raise AuthorityError.of(
                Code.RECORD_TOO_LARGE,
                f"The record of {record.name} is larger than a node can present.",
                f"Give it fewer labels: {MOST_HELLO_RECORD} bytes in all.",
            )
        write_envelope(self.folder.record(record.key), envelope)
        self.held[record.key] = Held(record, envelope)
        return envelope

    def _keys_of_today(self, *, excluding: list[NodeKey]) -> list[NodeKey]:
        try:
            keys = needed(self.root, Role.DIRECTORY, self.keys)
        except AuthorityError:
            return []
        return [key for key in keys if key not in excluding]

    def _stands(self, held: Held, now: int) -> bool:
        """Whether *held* needs no successor to be believed for a while."""
        return (
            not held.record.revoked
            and not signing.is_due(held.record, now=now)
            and fits(held, self.root)
        )

    def _epoch(self, root: TrustRoot) -> int:
        """The epoch to sign in: today's, if *root* leaves it open."""
        return max(self.root.last_epoch, root.first_epoch)


def signed(record: Record, keys: list[NodeKey]) -> Envelope:
    """*record* with the signature of each of *keys*, which are one at least."""
    first, *others = keys
    envelope = sign_payload(encode_record(record), first.public, first.sign)
    for key in others:
        envelope = envelope.with_signature(key.public, key.sign)
    return envelope


def fits(held: Held, root: TrustRoot) -> bool:
    """Whether *held* counts by *root*: enough good signatures, and an open epoch."""
    return root.first_epoch <= held.record.epoch <= root.last_epoch and rotation.is_signed(
        held.envelope, root, Role.DIRECTORY
    )
