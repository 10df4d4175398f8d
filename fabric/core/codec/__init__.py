"""Everything that crosses the wire or lies in a file, as bytes and back: see :mod:`.frames`,
:mod:`.records` and :mod:`.envelopes`. Nothing else knows how a byte of it is spelled.

Only frames are at hand here: whoever reads or writes records names their module, and only then is
cattrs imported.
"""

from __future__ import annotations

from fabric.core.codec.frames import (
    MAX_ANSWER,
    MAX_FRAME,
    MAX_HELLO,
    MAX_OPEN,
    FrameReader,
    decode,
    encode,
)

__all__ = [
    "MAX_ANSWER",
    "MAX_FRAME",
    "MAX_HELLO",
    "MAX_OPEN",
    "FrameReader",
    "decode",
    "encode",
]
