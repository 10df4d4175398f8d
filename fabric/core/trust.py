"""Whether a record counts: rightly signed by whoever may say it, and in its time.

Theory of operation
===================

An envelope is judged in three steps, and nothing is parsed before the first is passed.

1. **Who signed it**, by the keys that are known: those of the trust root in use, and those of the
   node records held. A key id is made of its key, and a node's key id is its node id, so the
   signatures alone tell where to look.
2. **Whether they may.** A kind has an author (see :mod:`.records`): a role of the trust root,
   whose threshold is met by distinct active keys, or the node that the record is about.
3. **Whether it is time**: see :mod:`.lifetimes`.

Two questions have to be kept apart: is this record good, and is the *peer that sent it* at fault?
An honest peer may hold an older or a newer root than this node, or other node records, and passes
on whatever is good by those, with any signatures that it cannot check. So a record that is
signed well enough counts whatever else is signed under it; and ``is_attack`` is said only of what
no honest node could have taken for good.

===========================================  ==========================  ======================
signatures, after the known ones were tried  a role's kind               a node's own word
===========================================  ==========================  ======================
enough of the author's                       accepted                    accepted
none good, one bad, none unknown             ``forged``, attack          ``forged``, attack
the subject's own is bad                                                 ``forged``, attack
some unknown                                 ``unknown_signer``          if it is the subject's
enough, with retired keys                    ``key_retired``
enough, with compromised keys                ``key_compromised``
some of the author's                         ``threshold_not_met``
only keys of other roles                     ``wrong_author``            ``wrong_author``
only nodes' keys                             ``self_authored``, attack   ``wrong_author``
===========================================  ==========================  ======================

``unknown_signer`` may become good: when a newer trust root or the subject's node record comes. A
caller may keep such an envelope for a while, or let anti-entropy bring it again.

**A key that goes.** What a *retired* key signed stays good where it is held, and in the node's own
cache (*held*), until it expires; nothing new is taken from it. Of a *compromised* key nothing
counts. Epochs outside of the root's range are like retired keys. After a root was adopted, the
directory asks :meth:`Trust.still_good` about everything that it holds.

**The cost.** Verifying takes 50 us and more than all the rest, so a verdict is remembered, by
payload and signatures, while the root stays the same. What is remembered says nothing of time,
and no record: a peer can mint large ones. An envelope of many signatures costs as many
verifications: whoever budgets a peer should count signatures.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final, TypeAlias

from attrs import frozen

from fabric.codes import Code
from fabric.core.clocks import Times
from fabric.core.codec.records import decode_record
from fabric.core.envelope import RECORD_TYPE, Digest, Envelope
from fabric.core.identity import NodeId
from fabric.core.lifetimes import judge_dates, standing_of
from fabric.core.records import NODE, Authored, KeyId, KeyState, Opaque, Record, TrustRoot
from fabric.core.roots import MOST_ROOT_BYTES, MOST_ROOTS, HeldRoot, Roots
from fabric.core.signers import (
    ACTIVE,
    ACTIVE_OR_RETIRED,
    ANY_STATE,
    Signers,
    is_enough,
    roles_of,
    signers_of,
)
from fabric.core.verdicts import Accepted, Rejected, Standing, Verdict
from fabric.errors import RecordError

__all__ = ["Accepted", "Adopted", "KeyOf", "Rejected", "Standing", "Trust", "Verdict"]

MOST_VERDICTS: Final = 16_384
"""Remembered at once: a fabric of 2,000 nodes whole, in 4 MiB."""

_SIGNATURE_ROOM: Final = 128
"""Bytes of a signature and its key id in a packed envelope, rounded up."""

KeyOf: TypeAlias = Callable[[NodeId], bytes | None]
"""The public key that a held, unrevoked node record gives to a node."""


@frozen
class Adopted:
    """A trust root that is in use from now on."""

    envelope: Envelope
    root: TrustRoot
    standing: Standing
    """An expired root stays in use, for want of a better one: health tells."""


class Trust:
    """The trust root in use, and the verdicts that follow from it. It never signs anything."""

    def __init__(self, fabric_id: bytes, root: Envelope) -> None:
        """Begin with the pinned *root*; raises :exc:`RecordError` if that can be nobody's."""
        self.fabric_id = fabric_id
        self._roots = Roots(fabric_id, root)
        self._verdicts = _Verdicts()

    # -- the root --
    @property
    def root(self) -> TrustRoot:
        """The trust root in use."""
        return self._roots.current

    @property
    def chain(self) -> tuple[Envelope, ...]:
        """Every version held, from the pinned one to the one in use."""
        return self._roots.chain

    @property
    def rival(self) -> HeldRoot | None:
        """Another root of a held version: it alarms, and keeps successors out until solved."""
        return self._roots.rival

    def roots_after(self, version: int, *, room: int = MOST_ROOT_BYTES) -> tuple[bytes, ...]:
        """Return packed roots that lead on from *version*: 16 at most, that fit *room* bytes."""
        return self._roots.packed_after(version, room=room)

    def adopt(self, envelopes: Iterable[Envelope], now: Times) -> list[Adopted | Rejected]:
        """Follow a list of consecutive trust roots, and say what was adopted or stood in the way.

        A list may begin too early: what is known is passed over, and so is what goes before. From
        there on it is followed up to the first root that is refused, and for at most 16 roots and
        256 KiB in all. Dates stop no root: see :mod:`.lifetimes`.
        """
        results: list[Adopted | Rejected] = []
        refused: Rejected | None = None
        has_begun = False
        for envelope in _bounded(envelopes):
            match self._adopt_one(envelope, now):
                case Rejected(is_alarming=True) as rejected:
                    return [*results, rejected]
                case Rejected() as rejected:
                    refused = refused or rejected
                    if has_begun:
                        break
                case step:
                    refused, has_begun = None, True
                    results += [step] if step is not None else []
        return [*results, refused] if refused is not None else results

    def _adopt_one(self, envelope: Envelope, now: Times) -> Adopted | Rejected | None:
        """Return what came of *envelope*; None if it is known."""
        if any(each.digest == envelope.digest for each in self.chain):
            return None
        match self.judge(envelope, now, key_of=_nobody):
            case Rejected() as rejected:
                return rejected
            case Accepted(record=TrustRoot() as root):
                self._roots.install(envelope, root)
                self._verdicts.clear()
                return Adopted(envelope, root, standing_of(root, now.now))
            case Accepted(record=Opaque() as later) if later.kind == TrustRoot.KIND:
                return Rejected(Code.NEEDS_NEWER_RELEASE, str(later.key))
            case Accepted(record=other):
                return Rejected(Code.RECORD_MALFORMED, f"{other.key} is no trust root")

    # -- records --
    def judge(
        self, envelope: Envelope, now: Times, *, key_of: KeyOf, held: bool = False
    ) -> Verdict:
        """Return whether *envelope* counts.

        *held* is for what this node took before and kept itself: retired keys are good enough.
        A trust root that is accepted is not in use before it is adopted.
        """
        if envelope.payload_type != RECORD_TYPE:
            return Rejected(Code.RECORD_MALFORMED, "the payload is of another type")
        if held:
            proved = self._examine(envelope, key_of, held=True)
        else:
            proved = self._prove(envelope, key_of)
        return proved if isinstance(proved, Rejected) else judge_dates(proved, now)

    def remembers(self, envelope: Envelope) -> bool:
        """Return whether a verdict about *envelope* takes no verifying, as things are."""
        return envelope.verdict_key in self._verdicts

    def still_good(self, envelope: Envelope, record: Record) -> bool:
        """Return whether *record*, which was accepted as *envelope* under an earlier root, stays.

        A node's own word depends on no root: it goes with the node record of its subject.
        """
        if isinstance(record, TrustRoot):
            held = self._roots.held(record.version)
            return held is not None and held.envelope.digest == envelope.digest
        if NODE in record.authors:
            return not self._is_compromised(record.subject)
        signers: Collection[str] = [each.key_id for each in envelope.signatures]
        if len(signers) > 1:  # a sole one was good, or the record would not be held
            signers = signers_of(envelope, self._key_of_root).good
        roles = roles_of(record.authors, self.root)
        return any(is_enough(signers, each, self.root, ACTIVE_OR_RETIRED) for each in roles)

    # -- step by step --
    def _prove(self, envelope: Envelope, key_of: KeyOf) -> Record | Rejected:
        """Return the record if its signatures suffice, from memory where that can be."""
        digest = envelope.verdict_key
        if digest not in self._verdicts:
            proved = self._examine(envelope, key_of, held=False)
            if _is_final(proved):
                self._verdicts.remember(digest, proved if isinstance(proved, Rejected) else None)
            return proved
        if (rejected := self._verdicts.recall(digest)) is not None:
            return rejected
        record = decode_record(envelope.payload)
        if NODE in record.authors and key_of(NodeId(record.subject)) is None:
            return _unknown([record.subject])
        return record

    def _examine(self, envelope: Envelope, key_of: KeyOf, *, held: bool) -> Record | Rejected:
        signers = signers_of(envelope, lambda key_id: self._known_key(key_id, key_of))
        if not signers.good:
            return _unknown(signers.unknown) if signers.unknown else _forged(signers.bad)
        try:
            record = decode_record(envelope.payload)
        except RecordError as error:
            return Rejected(error.code, error.detail)
        if record.fabric != self.fabric_id:
            return Rejected(Code.RECORD_OF_ANOTHER_FABRIC, record.fabric.hex())
        if NODE in record.authors:
            objection = self._objection_to_own_word(record, signers, key_of)
        else:
            objection = self._objection_to_authority(record, envelope, signers, held=held)
        return objection or record

    def _objection_to_own_word(
        self, record: Record, signers: Signers, key_of: KeyOf
    ) -> Rejected | None:
        subject = record.subject
        if not signers.names(subject):
            return Rejected(Code.WRONG_AUTHOR, f"{subject} signed by {_listed(signers.good)}")
        if subject in signers.bad:
            return _forged([subject])
        if self._is_compromised(subject):
            return Rejected(Code.KEY_COMPROMISED, subject)
        if key_of(NodeId(subject)) is None:
            return _unknown([subject])  # maybe a key of the root, which makes nobody a node
        return None

    def _objection_to_authority(
        self, record: Record, envelope: Envelope, signers: Signers, *, held: bool
    ) -> Rejected | None:
        if isinstance(record, TrustRoot):
            return self._objection_to_root(record, envelope, signers)
        good, states = signers.good, ACTIVE_OR_RETIRED if held else ACTIVE
        roles = roles_of(record.authors, self.root)
        if any(is_enough(good, each, self.root, states) for each in roles):
            return None if held else self._objection_to_epoch(record)
        return self._why(record, signers)

    def _objection_to_root(
        self, record: TrustRoot, envelope: Envelope, signers: Signers
    ) -> Rejected | None:
        if self._roots.held(record.version) is None:
            may = self._may_sign_some(record, signers.good)
        else:  # signed by keys of its own day, which need not act for the root any more
            may = any(each in self.root.keys for each in signers.good)
        return self._roots.objection(envelope, record) if may else self._why(record, signers)

    def _objection_to_epoch(self, record: Record) -> Rejected | None:
        # an opaque record ordered by a version has 0 for its epoch, and may be of any
        is_epoch = isinstance(record, Authored) or (isinstance(record, Opaque) and record.order[0])
        first, last = self.root.first_epoch, self.root.last_epoch
        if not is_epoch or first <= record.order[0] <= last:
            return None
        return Rejected(Code.EPOCH_NOT_ALLOWED, f"{record.order[0]} is not {first} to {last}")

    def _why(self, record: Record, signers: Signers) -> Rejected:
        """Return the reason that helps most: what to do differs by whose signatures are good."""
        root, good = self.root, signers.good
        if signers.unknown:
            return _unknown(signers.unknown)
        for states, code in (
            (ACTIVE_OR_RETIRED, Code.KEY_RETIRED),
            (ANY_STATE, Code.KEY_COMPROMISED),
        ):
            roles = roles_of(record.authors, root)
            if any(is_enough(good, each, root, states) for each in roles):
                return Rejected(code, _listed(good))
        if self._may_sign_some(record, good):
            return Rejected(Code.THRESHOLD_NOT_MET, f"{record.key} of {_listed(good)} alone")
        if any(each in root.keys for each in good):
            return Rejected(Code.WRONG_AUTHOR, f"{record.key} of {_listed(good)}")
        return Rejected(Code.SELF_AUTHORED, f"{record.key} of {_listed(good)}", is_attack=True)

    # -- keys --
    def _may_sign_some(self, record: Record, signers: Iterable[str]) -> bool:
        entitled = {key for role in roles_of(record.authors, self.root) for key in role.keys}
        return not entitled.isdisjoint(signers)

    def _known_key(self, key_id: KeyId, key_of: KeyOf) -> bytes | None:
        of_root = self.root.keys.get(key_id)
        return of_root.key if of_root is not None else key_of(NodeId(key_id))

    def _key_of_root(self, key_id: KeyId) -> bytes | None:
        return self._known_key(key_id, _nobody)

    def _is_compromised(self, key_id: str) -> bool:
        key = self.root.keys.get(key_id)
        return key is not None and key.state is KeyState.COMPROMISED


class _Verdicts:
    """What was found about signatures under the root in use: the last that were asked for."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Digest, Rejected | None] = OrderedDict()

    def __contains__(self, digest: Digest) -> bool:
        return digest in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    def recall(self, digest: Digest) -> Rejected | None:
        """Return why the signatures of *digest* do not count; None: they do."""
        self._kept.move_to_end(digest)
        return self._kept[digest]

    def remember(self, digest: Digest, rejected: Rejected | None) -> None:
        self._kept[digest] = rejected
        if len(self._kept) > MOST_VERDICTS:
            self._kept.popitem(last=False)

    def clear(self) -> None:
        self._kept.clear()


def _is_final(proved: Record | Rejected) -> bool:
    """Return whether nothing but another root could make it different."""
    if isinstance(proved, Rejected):
        return proved.code is not Code.UNKNOWN_SIGNER
    return not isinstance(proved, TrustRoot)  # a rival may turn up


def _bounded(envelopes: Iterable[Envelope]) -> Iterator[Envelope]:
    """Yield what one list may hold of roots."""
    room = MOST_ROOT_BYTES
    for number, envelope in enumerate(envelopes):
        room -= len(envelope.payload) + _SIGNATURE_ROOM * len(envelope.signatures)
        if number == MOST_ROOTS or room < 0:
            return
        yield envelope


def _nobody(_node: NodeId) -> None:
    return None


def _listed(key_ids: Iterable[str]) -> str:
    return ", ".join(sorted(key_ids))


def _unknown(key_ids: Iterable[str]) -> Rejected:
    return Rejected(Code.UNKNOWN_SIGNER, _listed(key_ids))


def _forged(key_ids: Iterable[str]) -> Rejected:
    return Rejected(Code.FORGED, _listed(key_ids), is_attack=True)
