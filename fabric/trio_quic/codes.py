"""The driver's own application error codes; numbers from 16 up are its user's."""

from __future__ import annotations

DONE = 0
INTERNAL_ERROR = 1
PIN_MISMATCH = 2
FLOW_CONTROL = 3
READER_STALLED = 4
STRANGER_BUDGET = 5
HANDSHAKE_TIMEOUT = 6
STREAM_REFUSED = 7
BUSY = 8
CANCELLED = 9
IDLE_TIMEOUT = 10
FORGOTTEN = 11

LABELS = {
    PIN_MISMATCH: "pin_mismatch",
    STRANGER_BUDGET: "stranger_budget",
    HANDSHAKE_TIMEOUT: "handshake_timeout",
    BUSY: "busy",
    IDLE_TIMEOUT: "idle_timeout",
    FORGOTTEN: "forgotten",
}
"""First word of a close reason: an application code sent during the handshake arrives as 0x0c."""


def by_label(reason: str, default: int) -> int:
    """Return the code whose label begins *reason*, else *default*."""
    first = reason.partition(" ")[0]
    return next((code for code, label in LABELS.items() if label == first), default)
