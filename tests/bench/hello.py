"""Admission as a node does it, for two processes that speak nothing else: the same in each driver.

The acceptor's Challenge travels on a one-way stream in its first flight, the dialler answers by a
signed Hello on a stream of its own and has HelloOk back. All three are the product's frames.
"""

from __future__ import annotations

import os

from fabric.core.codec import FrameReader, encode
from fabric.core.frames import Challenge, Frame, Hello, HelloOk
from fabric.core.identity import FABRIC_ID_BYTES, INSTANCE_BYTES, NONCE_BYTES, FabricId
from fabric.core.proof import hello_statement, proves
from fabric.net.tls import NodeKey

FABRIC = FabricId(bytes(FABRIC_ID_BYTES))
INSTANCE = os.urandom(INSTANCE_BYTES)
BOOT_SEQ = 1


class Reply(FrameReader):
    """Reads one frame out of the pieces of one stream."""

    def after(self, piece: bytes) -> Frame | None:
        """The frame, once `piece` completes it. Raises ConnectionError where the stream ends."""
        if not piece:
            raise ConnectionError("the stream ended within admission")
        self.feed(piece)
        return self.next_frame()


def challenge() -> tuple[bytes, bytes]:
    """A fresh nonce, and the bytes of the Challenge that carries it."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce, encode(Challenge(nonce=nonce))


def answer(key: NodeKey, frame: Frame, acceptor_key: bytes) -> bytes:
    """The bytes of the dialler's Hello to a Challenge."""
    if not isinstance(frame, Challenge):
        raise ConnectionError("no Challenge")
    nonce = os.urandom(NONCE_BYTES)
    statement = hello_statement(
        fabric_id=FABRIC,
        dialler_key=key.public,
        acceptor_key=acceptor_key,
        acceptor_nonce=frame.nonce,
        dialler_nonce=nonce,
    )
    hello = Hello(
        versions=(1, 1),
        fabric_id=FABRIC,
        key=key.public,
        nonce=nonce,
        instance=INSTANCE,
        boot_seq=BOOT_SEQ,
        signature=key.sign(statement),
    )
    return encode(hello)


def verdict(frame: Frame, acceptor_key: bytes, nonce: bytes) -> bytes:
    """The bytes of HelloOk. Raises ConnectionError where the proof does not hold."""
    if not isinstance(frame, Hello) or not proves(
        frame, acceptor_key=acceptor_key, acceptor_nonce=nonce
    ):
        raise ConnectionError("the dialler's proof does not hold")
    return encode(HelloOk(version=1, instance=INSTANCE, boot_seq=BOOT_SEQ))
