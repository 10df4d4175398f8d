"""Everything that crosses the wire or lies in a file, as bytes and back: see :mod:`.frames`,
:mod:`.records` and :mod:`.envelopes`. Nothing else knows how a byte of it is spelled.
"""

from __future__ import annotations

from fabric.core.codec.envelopes import (
    envelope_from_json,
    envelope_to_json,
    pack_envelope,
    unpack_envelope,
)
from fabric.core.codec.frames import (
    MAX_FRAME,
    MAX_HELLO,
    MAX_OPEN,
    FrameReader,
    decode,
    encode,
)
from fabric.core.codec.records import decode_record, encode_record

__all__ = [
    "MAX_FRAME",
    "MAX_HELLO",
    "MAX_OPEN",
    "FrameReader",
    "decode",
    "decode_record",
    "encode",
    "encode_record",
    "envelope_from_json",
    "envelope_to_json",
    "pack_envelope",
    "unpack_envelope",
]
