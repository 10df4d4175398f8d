"""Frames to bytes and back.

A frame is a 4-byte big-endian length and a msgpack array ``[type, flags, map]`` of that many
bytes. Flag 1 marks a frame that whoever does not know its type may ignore; every other unknown
type ends the conversation. Unknown fields of a known frame are ignored, so that two releases can
talk during a rollout; known ones must have exactly the type and size that :mod:`.frames` says.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, Final

import attrs
import msgpack

from fabric.codes import Code
from fabric.core.frames import KNOWN, Frame
from fabric.errors import RemoteProtocolError

MAX_FRAME: Final = 1 << 20
"""Bytes of the longest frame on any stream."""

MAX_HELLO: Final = 13 << 10
"""Bytes of the longest frame from a dialler before admission: a Hello with the largest record and
all the roots that it may bring, and below the 16 KiB that a stranger may send in all."""

MAX_ANSWER: Final = 56 << 10
"""Bytes of the longest answer to a Hello: with all the roots and a record, and below the 64 KiB
that fit a fresh stream, for it is sent without a wait."""

MAX_OPEN: Final = 4 << 10
"""Bytes of the longest first frame of a channel."""

OPTIONAL: Final = 1

_LENGTH = struct.Struct(">I")
# One packer for all frames: each new one would allocate its own buffer, and packing never awaits.
_packer = msgpack.Packer(buf_size=4096)
_FIELDS: Mapping[type[Frame], tuple[tuple[str, object], ...]] = {
    kind: tuple((each.name, each.default) for each in attrs.fields(kind))
    for kind in KNOWN.values()
}
"""Names and defaults. What has its default is left out: absence says the same in fewer bytes."""


def encode(frame: Frame) -> bytes:
    """Return *frame* as it goes on the wire, length included."""
    kind = type(frame)
    fields = {
        name: value
        for name, default in _FIELDS[kind]
        if (value := getattr(frame, name)) != default
    }
    flags = OPTIONAL if kind.OPTIONAL else 0
    body: bytes = _packer.pack((kind.TYPE, flags, fields))
    return _LENGTH.pack(len(body)) + body


def decode(body: bytes) -> Frame | None:
    """Return the frame that *body* (without its length) holds; ``None`` if it may be ignored.

    Raises :exc:`~fabric.errors.RemoteProtocolError`, and nothing else whatever the bytes.
    """
    number, flags, fields = _unpack(body)
    kind = KNOWN.get(number)
    if kind is None:
        if flags & OPTIONAL:
            return None
        raise RemoteProtocolError(Code.UNEXPECTED_FRAME, f"frame type {number} is not known here")
    known = {name: fields[name] for name, _default in _FIELDS[kind] if name in fields}
    try:
        return kind(**known)
    except (ValueError, TypeError) as error:  # TypeError: a field without default is absent
        raise _malformed(f"{kind.__name__}: {error}") from error


def _unpack(body: bytes) -> tuple[int, int, dict[str, Any]]:
    try:
        plain = msgpack.unpackb(body, use_list=False, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError, msgpack.UnpackException) as error:
        raise _malformed(f"not msgpack: {error}") from error
    match plain:
        case (int(number), int(flags), dict(fields)) if bool not in {type(number), type(flags)}:
            return number, flags, fields
    raise _malformed("not [type, flags, map]")


def _without_duplicates(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a key stands twice in one map")
    return fields


def _malformed(detail: str) -> RemoteProtocolError:
    return RemoteProtocolError(Code.MALFORMED_FRAME, detail[:200])


class FrameReader:
    """Cuts a byte stream into frames, however it was sliced on the way.

    Holds at most one frame's bytes beyond what :meth:`feed` was given at once. After the last
    frame that concerns the reader, :meth:`rest` gives back the bytes behind it.
    """

    __slots__ = ("_buffer", "_limit")

    def __init__(self, *, limit: int = MAX_FRAME) -> None:
        """*limit*: bytes of the longest frame that is read at all."""
        self._buffer = bytearray()
        self._limit = limit

    def widen(self, limit: int) -> None:
        """Read frames of up to *limit* bytes from now on: the sender is known."""
        self._limit = limit

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next_frame(self) -> Frame | None:
        """Return the next whole frame, or ``None`` when more bytes are needed.

        Raises :exc:`~fabric.errors.RemoteProtocolError`; the stream is of no use after that.
        """
        while (body := self._next_body()) is not None:
            frame = decode(body)
            if frame is not None:
                return frame
        return None

    def _next_body(self) -> bytes | None:
        if len(self._buffer) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._buffer)
        if length > self._limit:
            raise _malformed(f"a frame of {length} bytes; {self._limit} are allowed here")
        end = _LENGTH.size + length
        if len(self._buffer) < end:
            return None
        body = bytes(self._buffer[_LENGTH.size : end])
        del self._buffer[:end]
        return body

    @property
    def is_between_frames(self) -> bool:
        """Whether the stream may end here without cutting a frame in two."""
        return not self._buffer

    def rest(self) -> bytes:
        """Take the bytes that no frame was made of yet."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest
