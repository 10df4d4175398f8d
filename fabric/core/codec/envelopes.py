"""Envelopes to bytes and back: packed between nodes and in a cache, DSSE's JSON in files.

Packed is a msgpack array ``[payload, [[key id, signature]…]]``, with the payload's type as a third
item where it is not the usual one. As JSON it is what DSSE v1 says, so that others can check it.
"""

from __future__ import annotations

import base64
import json
from typing import Any, Final

import msgpack

from fabric.codes import Code
from fabric.core.envelope import MOST_PAYLOAD, RECORD_TYPE, Envelope, Signature
from fabric.core.frames import MOST_ENVELOPE
from fabric.core.records import KeyId
from fabric.errors import RecordError

MOST_JSON: Final = 128 << 10
"""Characters of an envelope as JSON: base64 takes a third more, and editors indent."""

_packer = msgpack.Packer(buf_size=4096)


def pack_envelope(envelope: Envelope) -> bytes:
    """Return *envelope* as nodes send and store it."""
    signatures = [(each.key_id, each.value) for each in envelope.signatures]
    usual = envelope.payload_type == RECORD_TYPE
    kind = () if usual else (envelope.payload_type,)
    packed: bytes = _packer.pack((envelope.payload, signatures, *kind))
    return packed


def unpack_envelope(raw: bytes) -> Envelope:
    """Return the envelope that *raw* packs; whether it is rightly signed is another question.

    Raises :exc:`~fabric.errors.RecordError`, and nothing else whatever the bytes.
    """
    if len(raw) > MOST_ENVELOPE:
        raise RecordError(Code.RECORD_TOO_LARGE, f"an envelope of {len(raw)} bytes")
    try:
        match msgpack.unpackb(raw, use_list=False):
            case (payload, tuple(signatures)):
                return _envelope(payload, signatures, RECORD_TYPE)
            case (payload, tuple(signatures), str(kind)) if kind != RECORD_TYPE:
                return _envelope(payload, signatures, kind)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise _malformed(str(error)) from error
    raise _malformed("not [payload, signatures]")


def envelope_to_json(envelope: Envelope) -> str:
    """Return *envelope* as a file of its own, to look at and to carry about."""
    plain = {
        "payloadType": envelope.payload_type,
        "payload": _base64(envelope.payload),
        "signatures": [
            {"keyid": each.key_id, "sig": _base64(each.value)} for each in envelope.signatures
        ],
    }
    return json.dumps(plain, indent=2) + "\n"


def envelope_from_json(text: str) -> Envelope:
    """Return the envelope that *text* holds. Raises only :exc:`~fabric.errors.RecordError`."""
    if len(text) > MOST_JSON:
        raise RecordError(Code.RECORD_TOO_LARGE, f"an envelope of {len(text)} characters")
    try:
        match json.loads(text, object_pairs_hook=_without_duplicates):
            case {"payloadType": kind, "payload": payload, "signatures": list(signatures)}:
                pairs = [(each["keyid"], _octets(each["sig"])) for each in signatures]
                return _envelope(_octets(payload), pairs, kind)
    except KeyError as error:
        raise _malformed(f"{error.args[0]!r} is missing") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise _malformed(str(error)) from error
    raise _malformed("not an object with payloadType, payload and signatures")


def _envelope(payload: Any, signatures: Any, kind: str) -> Envelope:  # noqa: ANN401 -- unproved
    if type(payload) is bytes and len(payload) > MOST_PAYLOAD:
        raise RecordError(Code.RECORD_TOO_LARGE, f"a payload of {len(payload)} bytes")
    made = tuple([Signature(KeyId(key_id), value) for key_id, value in signatures])
    return Envelope(payload, made, kind)


def _base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")


def _octets(text: Any) -> bytes:  # noqa: ANN401 -- unproved
    if type(text) is not str:
        raise ValueError("bytes are not base64 text")
    # DSSE lets a writer choose between the two alphabets and has a reader take both.
    return base64.b64decode(text.translate({ord("-"): "+", ord("_"): "/"}), validate=True)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return fields


def _malformed(detail: str) -> RecordError:
    return RecordError(Code.RECORD_MALFORMED, f"no envelope: {detail}")
