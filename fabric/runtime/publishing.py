"""A signed record that an operator hands over: taken, held already, or refused with the reason."""

from __future__ import annotations

from typing import Final

from fabric.codes import Code
from fabric.core import gossip_events as told
from fabric.core.codec.envelopes import envelope_from_json
from fabric.core.codec.records import decode_record
from fabric.core.envelope import Envelope
from fabric.core.records import Record
from fabric.errors import RecordError, RefusedError
from fabric.runtime.gossip import GossipPlane
from fabric.runtime.knowledge import Knowledge
from fabric.runtime.snapshot import Row

TAKEN: Final = "taken"
HELD: Final = "held"


def envelope_in(body: bytes) -> Envelope:
    """Return the envelope that *body* is, as DSSE's JSON. Raises :exc:`RefusedError`."""
    try:
        return envelope_from_json(body.decode())
    except UnicodeDecodeError as error:
        raise RefusedError(Code.RECORD_MALFORMED, f"The body is no text: {error}.") from error
    except RecordError as error:
        raise RefusedError(error.code, _spelled(error.code, error.detail)) from error


def publish(envelope: Envelope, knowledge: Knowledge, gossip: GossipPlane) -> Row:
    """Let *envelope* begin its way here, and return what became of it.

    Raises :exc:`RefusedError` with the record's own code where it does not count here.
    """
    record = _record_in(envelope)
    if _is_held(envelope, knowledge):
        return _row(envelope, record, HELD)
    refused = gossip.objection(told.Published(envelope))
    if _is_held(envelope, knowledge):  # whatever waited for it may have been refused
        return _row(envelope, record, TAKEN)
    if refused is None:  # a third that contends for one number proves nothing more
        raise RefusedError(Code.EQUIVOCATED, _spelled(Code.EQUIVOCATED, str(record.key)))
    raise RefusedError(refused.code, _spelled(refused.code, refused.detail))


def _record_in(envelope: Envelope) -> Record:
    try:
        return decode_record(envelope.payload)
    except RecordError as error:
        raise RefusedError(error.code, _spelled(error.code, error.detail)) from error


def _is_held(envelope: Envelope, knowledge: Knowledge) -> bool:
    roots = (each.digest for each in knowledge.trust.chain)
    held = knowledge.directory.key_holding(envelope.digest)
    return held is not None or envelope.digest in roots


def _row(envelope: Envelope, record: Record, outcome: str) -> Row:
    return {
        "outcome": outcome,
        "key": str(record.key),
        "order": list(record.order),
        "digest": envelope.digest.hex(),
    }


def _spelled(code: Code, detail: str) -> str:
    return f"{code.sentence} ({detail})" if detail else code.sentence
