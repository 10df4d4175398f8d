"""How connections and streams end, in the driver's words and in the fabric's."""

from __future__ import annotations

from typing import Final

from fabric.codes import Code
from fabric.trio_quic import Connection, ConnectionClosed, QuicError, StreamReset

TELLING: Final = frozenset(
    {
        Code.DUPLICATE,
        Code.FORGOTTEN,
        Code.IDLE_TIMEOUT,
        Code.PEER_SILENT,
        Code.REPLACED,
        Code.SHUTTING_DOWN,
    }
)
"""Ends of a connection that tell a channel's user what became of the peer: its channels break
with the same code. All others are ``peer_lost`` to a channel."""


def code_of_close(closed: ConnectionClosed) -> Code:
    """Return why the connection ended.

    The first word of the reason goes before the number: both ends write the label there.
    Transport codes are the engine's; of those only the label, if any, is a code of ours.
    """
    label = closed.reason.partition(" ")[0]
    number = Code.INTERNAL_ERROR if closed.is_transport else closed.code
    return Code.from_wire(number, label)


def code_of(error: QuicError) -> Code:
    """Return why a channel broke whose stream raised *error*.

    ``DONE`` only of a reader who wants no more. A reset is never that, whatever code it bears: a
    truncated transfer must not look complete.
    """
    if not isinstance(error, ConnectionClosed):
        code = Code.from_wire(error.code)
        is_reset = isinstance(error, StreamReset)
        return Code.INTERNAL_ERROR if is_reset and code is Code.DONE else code
    code = code_of_close(error)
    return code if code in TELLING else Code.PEER_LOST


def reason_for(code: Code, detail: str = "") -> str:
    """Return the reason to close with: the label, then what it does not say."""
    return f"{code.label} {detail}".rstrip()


def close(connection: Connection, code: Code, detail: str = "") -> None:
    """Close *connection* at once; what is unsent is lost. Nothing if it is closed already."""
    connection.close(code, reason_for(code, detail))


async def aclose(connection: Connection, code: Code, detail: str = "") -> None:
    """Close *connection* once what was sent has arrived, or after a second, or when cancelled."""
    try:
        await connection.aclose(code, reason_for(code, detail), flush_within=1.0)
    finally:
        close(connection, code, detail)
