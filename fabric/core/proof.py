"""The dialler's proof: what a Hello signs, and how the acceptor checks it.

The acceptor proves its key in TLS; the dialler signs a statement over the acceptor's Challenge.
The statement names both keys and both nonces and begins with a context string of its own:

- another acceptor cannot forward its challenge to borrow the proof (the acceptor's key is in it),
- a recorded proof is of no use on another connection (the acceptor's nonce is in it),
- no other signature of the same key can be passed off as one (the context string).
"""

from __future__ import annotations

from typing import Final

from fabric.core.frames import Hello
from fabric.core.identity import FabricId, has_signed

CONTEXT: Final = b"fabric/1 hello\0"


def hello_statement(
    *,
    fabric_id: FabricId,
    dialler_key: bytes,
    acceptor_key: bytes,
    acceptor_nonce: bytes,
    dialler_nonce: bytes,
) -> bytes:
    """Return the bytes that a dialler signs. Every part has a fixed length but the context."""
    return CONTEXT + fabric_id + dialler_key + acceptor_key + acceptor_nonce + dialler_nonce


def proves(hello: Hello, *, acceptor_key: bytes, acceptor_nonce: bytes) -> bool:
    """Return whether *hello* was signed by its key for this acceptor and this challenge."""
    statement = hello_statement(
        fabric_id=FabricId(hello.fabric_id),
        dialler_key=hello.key,
        acceptor_key=acceptor_key,
        acceptor_nonce=acceptor_nonce,
        dialler_nonce=hello.nonce,
    )
    return has_signed(hello.key, statement, hello.signature)
