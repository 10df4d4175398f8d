"""The trust roots of a fabric, one after the other: which is in use, and what may follow it.

Theory of operation
===================

The first root is *pinned*: an operator put it here, and its own keys meet its own threshold. From
then on version N+1 is taken when the root keys of N, as N states them, and those of N+1 both meet
their thresholds. Every version is kept, so that a node which slept can be led along. There is no
bound on the chain but its authors: nobody else can add to it.

===================================  =====================================================
a properly signed root of version    is
===================================  =====================================================
before the pinned one                superseded: nothing here can tell whether it was right
held, the same payload               known
held, another payload                a *rival*: ``root_conflict``, or superseded
N + 1                                taken, unless a rival blocks it
beyond                               ``root_not_consecutive``
===================================  =====================================================

**Rivals.** Two roots of one version, both properly signed, mean that holders of root keys signed
twice, and that other nodes may follow the other one. The held root stays in use and everything
else goes on, but no successor is taken: whoever signed twice would sign that too. The way out is a
successor that marks enough of those keys as compromised, so that under it the rival would not
count any more. For the same reason a rival whose signers the root in use already calls compromised
is merely superseded: old keys that leaked cannot stop a fabric that has got rid of them.
"""

from __future__ import annotations

from typing import Final

from attrs import field, frozen

from fabric.codes import Code
from fabric.core.codec.envelopes import pack_envelope
from fabric.core.codec.records import decode_record
from fabric.core.envelope import RECORD_TYPE, Envelope
from fabric.core.records import KeyId, Role, RootKey, TrustRoot
from fabric.core.signers import (
    ACTIVE,
    ACTIVE_OR_RETIRED,
    ANY_STATE,
    is_enough,
    is_rooted,
    signers_of,
)
from fabric.core.verdicts import Rejected
from fabric.errors import RecordError

MOST_ROOTS: Final = 16
MOST_ROOT_BYTES: Final = 256 << 10
"""Of one list, in bytes as packed: years of rotations, and a few milliseconds of verifying."""


@frozen
class HeldRoot:
    """A version that this node took, as it was signed."""

    root: TrustRoot
    envelope: Envelope
    packed: bytes = field(repr=False)

    @classmethod
    def of(cls, root: TrustRoot, envelope: Envelope) -> HeldRoot:
        return cls(root, envelope, pack_envelope(envelope))


class Roots:
    """The chain from the pinned root to the one in use."""

    def __init__(self, fabric_id: bytes, pinned: Envelope) -> None:
        """Begin with *pinned*; raises :exc:`RecordError` if that can be nobody's first root."""
        root = _pinned_root(fabric_id, pinned)
        self._first = root.version
        self._held = [HeldRoot.of(root, pinned)]
        self.rival: HeldRoot | None = None
        """A root that contends with a held one: the proof to show, and what blocks successors."""

    @property
    def current(self) -> TrustRoot:
        """The root in use."""
        return self._held[-1].root

    @property
    def chain(self) -> tuple[Envelope, ...]:
        """Every version held, in order."""
        return tuple(each.envelope for each in self._held)

    def held(self, version: int) -> HeldRoot | None:
        """Return the version *version*, if it is held."""
        at = version - self._first
        return self._held[at] if 0 <= at < len(self._held) else None

    def packed_after(self, version: int, *, room: int = MOST_ROOT_BYTES) -> tuple[bytes, ...]:
        """Return what leads on from *version*, packed: as many as fit into *room* bytes.

        Nothing where the chain begins later than that: a gap would only be refused.
        """
        found: list[bytes] = []
        while len(found) < MOST_ROOTS and (held := self.held(version + 1 + len(found))):
            room -= len(held.packed)
            if room < 0:
                break
            found.append(held.packed)
        return tuple(found)

    def objection(self, envelope: Envelope, root: TrustRoot) -> Rejected | None:
        """Return what speaks against *root*, which *envelope* says. None: it is known, or next.

        A rival is remembered as such.
        """
        if (held := self.held(root.version)) is not None:
            if held.envelope.digest == envelope.digest:
                return self._objection_to_copy(envelope, root)
            return self._objection_to_rival(HeldRoot.of(root, envelope))
        if root.version < self._first:
            return Rejected(Code.SUPERSEDED, f"version {root.version} is before the pinned one")
        if root.version != self.current.version + 1:
            step = f"version {root.version} after {self.current.version}"
            return Rejected(Code.ROOT_NOT_CONSECUTIVE, step)
        return self._objection_to_successor(envelope, root)

    def install(self, envelope: Envelope, root: TrustRoot) -> None:
        """Put the next *root* into use, to which there is no objection."""
        self._held.append(HeldRoot.of(root, envelope))
        self.rival = None

    def _objection_to_copy(self, envelope: Envelope, root: TrustRoot) -> Rejected | None:
        if is_rooted(_own_signers(envelope, root), root, ANY_STATE):
            return None
        return Rejected(Code.THRESHOLD_NOT_MET, f"of root keys of version {root.version}")

    def _objection_to_successor(self, envelope: Envelope, root: TrustRoot) -> Rejected | None:
        for required in (self.current, root):
            if not is_rooted(_own_signers(envelope, required), required, ACTIVE):
                lacking = f"of root keys of version {required.version}"
                return Rejected(Code.THRESHOLD_NOT_MET, lacking)
        if self.rival is not None and self._contends(self.rival, root):
            return Rejected(Code.ROOT_CONFLICT, f"two of version {self.rival.root.version}")
        return None

    def _objection_to_rival(self, other: HeldRoot) -> Rejected:
        if not self._contends(other, self.current):
            return Rejected(Code.SUPERSEDED, f"version {other.root.version}")
        self.rival = self.rival or other
        return Rejected(Code.ROOT_CONFLICT, f"two of version {other.root.version}")

    def _contends(self, other: HeldRoot, view: TrustRoot) -> bool:
        """Return whether *other* may be in use elsewhere, by keys that *view* does not disown."""
        if not is_rooted(_own_signers(other.envelope, other.root), other.root, ACTIVE):
            return False
        before = self.held(other.root.version - 1)
        required = before.root if before is not None else view
        trusted = {
            each
            for each in _own_signers(other.envelope, required)
            if each not in view.keys or view.keys[each].state in ACTIVE_OR_RETIRED
        }
        states = ACTIVE if before is not None else ACTIVE_OR_RETIRED
        return is_enough(trusted, required.roles[Role.ROOT], required, states)


def _own_signers(envelope: Envelope, root: TrustRoot) -> set[str]:
    """Return the ids of *root*'s own root keys that signed *envelope*."""
    keys = {each: root.keys[each] for each in root.roles[Role.ROOT].keys}
    return set(signers_of(envelope, lambda key_id: _key_in(keys, key_id)).good)


def _key_in(keys: dict[str, RootKey], key_id: KeyId) -> bytes | None:
    return keys[key_id].key if key_id in keys else None


def _pinned_root(fabric_id: bytes, pinned: Envelope) -> TrustRoot:
    if pinned.payload_type != RECORD_TYPE:
        raise RecordError(Code.RECORD_MALFORMED, "the payload is of another type")
    # the one payload that is parsed before anything is proved: it says what to prove it by
    root = decode_record(pinned.payload)
    if not isinstance(root, TrustRoot):
        raise RecordError(Code.RECORD_MALFORMED, f"{root.key} is no trust root")
    if root.fabric != fabric_id:
        raise RecordError(Code.RECORD_OF_ANOTHER_FABRIC, root.fabric.hex())
    if not is_rooted(_own_signers(pinned, root), root, ACTIVE):
        raise RecordError(Code.THRESHOLD_NOT_MET, "of its own root keys")
    return root
