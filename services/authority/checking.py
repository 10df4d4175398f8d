"""Whether a signed file counts by given trust roots: checked before it is handed out.

It is judged as any node judges what it never saw before, by :class:`fabric.core.trust.Trust`, and
more strictly in what a node lets pass and an author can still mend: a bad signature beside enough
good ones, a date that has not come or is gone, a kind that this release cannot read. Whether a
node *holds* something newer only that node knows.
"""

from __future__ import annotations

from attrs import define, field, frozen

from fabric.codes import Code
from fabric.core.clocks import Times
from fabric.core.codec.records import decode_record
from fabric.core.envelope import Envelope
from fabric.core.identity import NodeId
from fabric.core.records import NODE, KeyId, NodeRecord, Opaque, Record, TrustRoot
from fabric.core.signers import signers_of
from fabric.core.trust import Accepted, Rejected, Trust
from fabric.errors import RecordError
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

    trust: Trust | None = field(init=False, default=None)
    """What everything is measured by; None before the first root, which is believed."""
    node_keys: dict[NodeId, bytes] = field(init=False, factory=dict)
    """By node id; what a node says about itself is checked with it."""

    def check(self, envelope: Envelope, *, now: int) -> Finding:
        """What *envelope* lacks at *now*. A good root, or node's key, counts from then on."""
        try:
            record = decode_record(envelope.payload)
        except RecordError as error:
            return Finding(None, error.code, error.detail)
        if isinstance(record, TrustRoot):
            return self._check_root(record, envelope, now)
        if self.trust is None:
            return Finding(record, Code.UNKNOWN_SIGNER, "no trust root to go by")
        return self._check(record, envelope, self.trust, now)

    def _check_root(self, root: TrustRoot, envelope: Envelope, now: int) -> Finding:
        if self.trust is None:
            try:
                self.trust = Trust(root.fabric, envelope)
            except RecordError as error:
                return Finding(root, error.code, error.detail)
        for result in self.trust.adopt([envelope], Times(now)):
            if isinstance(result, Rejected):
                return Finding(root, result.code, result.detail)
        return _in_time(root, now)

    def _check(self, record: Record, envelope: Envelope, trust: Trust, now: int) -> Finding:
        signed_by = {each.key_id for each in envelope.signatures}
        if NODE in record.authors and record.subject not in signed_by:
            return Finding(record, Code.WRONG_AUTHOR, shorts(sorted(signed_by)))
        match trust.judge(envelope, Times(now), key_of=self.node_keys.get):
            case Rejected(code, detail):
                return Finding(record, code, detail)
            case Accepted(record=Opaque() as later):
                what = f"kind {later.kind}, version {later.v}"
                return Finding(record, Code.NEEDS_NEWER_RELEASE, what)
        if bad := signers_of(envelope, lambda key_id: self._key_of(key_id, trust)).bad:
            return Finding(record, Code.FORGED, shorts(sorted(bad)))
        if isinstance(record, NodeRecord) and not record.revoked:
            self.node_keys[record.node_id] = record.key_bytes
        return _in_time(record, now)

    def _key_of(self, key_id: KeyId, trust: Trust) -> bytes | None:
        named = trust.root.keys.get(key_id)
        return named.key if named is not None else self.node_keys.get(NodeId(key_id))


def _in_time(record: Record, now: int) -> Finding:
    """What some clocks refuse is not handed out: a node's tolerance is for its own clock."""
    if record.issued_at > now:
        return Finding(record, Code.NOT_YET_VALID, f"{record.issued_at - now} s")
    if record.expires_at <= now:
        return Finding(record, Code.RECORD_EXPIRED, f"{now - record.expires_at} s ago")
    return Finding(record)
