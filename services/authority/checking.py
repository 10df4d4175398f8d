"""Whether a signed file counts by given trust roots: checked before it is handed out.

It asks what any node asks of a record that it never saw before: the one spelling, this fabric,
enough active keys of the author's role, an open epoch, a date that has come and not gone. Whether
a node *holds* something newer only that node knows.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define, field, frozen

from fabric.codes import Code
from fabric.core.codec.records import decode_record
from fabric.core.envelope import RECORD_TYPE, Envelope
from fabric.core.records import (
    NODE,
    Authored,
    KeyState,
    NodeRecord,
    Opaque,
    Record,
    Role,
    TrustRoot,
)
from fabric.errors import RecordError
from services.authority import rotation
from services.authority.keys import shorts


@frozen
class Finding:
    """What is wrong with one file; :attr:`code` is None where nothing is."""

    record: Record | None
    code: Code | None = None
    detail: str = ""


@define
class Checker:
    """Trust roots, one after the other, and the node keys that records of theirs name."""

    roots: list[TrustRoot] = field(factory=list)
    node_keys: dict[str, bytes] = field(factory=dict)
    """By node id; what a node says about itself is checked with it."""
    _versions: dict[int, bytes] = field(factory=dict)

    def check(self, envelope: Envelope, *, now: int) -> Finding:
        """What *envelope* lacks at *now*. A good root is gone by from then on, as is a node's key.

        The first root of all is believed: it is what the others are measured by.
        """
        try:
            record = decode_record(envelope.payload)
        except RecordError as error:
            return Finding(None, error.code, error.detail)
        if envelope.payload_type != RECORD_TYPE:
            return Finding(None, Code.RECORD_MALFORMED, f"a payload of {envelope.payload_type}")
        problem = self._root_problem(record, envelope) or self._problem(record, envelope, now)
        if problem is None:
            self._learn(record, envelope)
            return Finding(record)
        return Finding(record, *problem)

    def _learn(self, record: Record, envelope: Envelope) -> None:
        match record:
            case TrustRoot() if record.version not in self._versions:
                self.roots.append(record)
                self._versions[record.version] = envelope.digest
            case NodeRecord() if not record.revoked:
                self.node_keys[record.subject] = record.key_bytes

    def _root_problem(self, record: Record, envelope: Envelope) -> tuple[Code, str] | None:
        if not isinstance(record, TrustRoot):
            if not self.roots:
                return Code.UNKNOWN_SIGNER, "no trust root to go by"
            return None
        if not self.roots:
            enough = rotation.is_signed(envelope, record, Role.ROOT)
            return None if enough else (Code.THRESHOLD_NOT_MET, "by its own root keys")
        if record.version in self._versions:
            same = self._versions[record.version] == envelope.digest
            return None if same else (Code.ROOT_CONFLICT, f"version {record.version}")
        before = self.roots[-1]
        if record.version != before.version + 1:
            return Code.ROOT_NOT_CONSECUTIVE, f"{record.version} after {before.version}"
        lacking = rotation.missing(before, record, envelope)
        return (Code.THRESHOLD_NOT_MET, " and ".join(map(str, lacking))) if lacking else None

    def _problem(self, record: Record, envelope: Envelope, now: int) -> tuple[Code, str] | None:
        if self.roots and record.fabric != self.roots[-1].fabric:
            return Code.RECORD_OF_ANOTHER_FABRIC, record.fabric.hex()
        if isinstance(record, Opaque):
            return Code.NEEDS_NEWER_RELEASE, f"kind {record.kind}, version {record.v}"
        if not isinstance(record, TrustRoot):
            unsigned = (
                self._own_word_problem(record, envelope)
                if NODE in record.authors
                else self._role_problem(record, envelope)
            )
            if unsigned:
                return unsigned
        if record.issued_at > now:
            return Code.NOT_YET_VALID, f"{record.issued_at - now} s"
        if record.expires_at <= now:
            return Code.RECORD_EXPIRED, f"{now - record.expires_at} s ago"
        return None

    def _own_word_problem(self, record: Record, envelope: Envelope) -> tuple[Code, str] | None:
        key = self.node_keys.get(record.subject)
        if key is None:
            return Code.UNKNOWN_SIGNER, f"no record of node {shorts([record.subject])} was given"
        if envelope.signed_by(key):
            return None
        if record.subject in {each.key_id for each in envelope.signatures}:
            return Code.FORGED, ""
        return Code.WRONG_AUTHOR, ""

    def _role_problem(self, record: Record, envelope: Envelope) -> tuple[Code, str] | None:
        root = self.roots[-1]
        if (
            isinstance(record, Authored)
            and not root.first_epoch <= record.epoch <= root.last_epoch
        ):
            return Code.EPOCH_NOT_ALLOWED, f"epoch {record.epoch}"
        signers = [each.key_id for each in envelope.signatures if each.key_id in root.keys]
        named = {each: root.keys[each] for each in signers}
        forged = [each for each, key in named.items() if not envelope.signed_by(key.key)]
        if forged:
            return Code.FORGED, shorts(forged)
        if any(
            role in root.roles and rotation.is_signed(envelope, root, role)
            for role in record.authors
        ):
            return None
        return _why_not_enough(record, {each: key.state for each, key in named.items()}, root)


def _why_not_enough(
    record: Record, signers: Mapping[str, KeyState], root: TrustRoot
) -> tuple[Code, str]:
    """The reason that helps most: what to do differs by the state of the keys that did sign."""
    entitled = {
        each for role in record.authors if role in root.roles for each in root.roles[role].keys
    }
    states = {state for each, state in signers.items() if each in entitled}
    if not signers:
        return Code.UNKNOWN_SIGNER, ""
    if not states:
        return Code.WRONG_AUTHOR, f"{shorts(sorted(signers))} sign no {record.KIND} records"
    if KeyState.ACTIVE in states:
        return Code.THRESHOLD_NOT_MET, f"of the role {' or '.join(record.authors)}"
    if KeyState.RETIRED in states:
        return Code.KEY_RETIRED, ""
    return Code.KEY_COMPROMISED, ""
