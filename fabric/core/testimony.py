"""What nodes sign about each other's lives, and how it is checked.

===========  ===================  ==============================================================
says         signed by            over
===========  ===================  ==============================================================
``alive``    the subject          fabric id, incarnation, subject
``left``     the subject          fabric id, incarnation, subject
``suspect``  the accuser          fabric id, incarnation, subject
===========  ===================  ==============================================================

Each begins with a context string of its own, so that none can be passed off as another or as any
other signature of the same key. Whoever passes one on cannot change it: nobody speaks for a
subject, and nobody invents a second accuser.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Final, TypeAlias

from attrs import field, frozen

from fabric.core.identity import FabricId, NodeId


class Context(bytes, enum.Enum):
    """What the signature is for; the first bytes of the statement."""

    ALIVE = b"fabric/1 alive\0"
    LEFT = b"fabric/1 left\0"
    SUSPECT = b"fabric/1 suspect\0"


Verify: TypeAlias = Callable[[NodeId, bytes, bytes], bool]
"""Whether that node, a member, has signed those bytes with that signature."""

_INCARNATION_BYTES: Final = 8  # a frame's numbers end at 2**64 - 1


def statement(context: Context, fabric_id: FabricId, subject: NodeId, incarnation: int) -> bytes:
    """Return the bytes to sign. All parts but the last have a fixed length."""
    number = incarnation.to_bytes(_INCARNATION_BYTES, "big")
    return context.value + fabric_id + number + subject.encode()


@frozen(kw_only=True)
class Notary:
    """Signs in this node's name and checks what others have signed, in one fabric."""

    me: NodeId
    fabric_id: FabricId
    sign: Callable[[bytes], bytes] = field(repr=False)
    """With this node's key; pure, as Ed25519 is."""
    verify: Verify = field(repr=False)

    def attest(self, context: Context, subject: NodeId, incarnation: int) -> bytes:
        """Return this node's signature."""
        return self.sign(statement(context, self.fabric_id, subject, incarnation))

    def holds(
        self, context: Context, by: NodeId, subject: NodeId, incarnation: int, signature: bytes
    ) -> bool:
        """Return whether *by* has signed that of *subject*."""
        return self.verify(by, statement(context, self.fabric_id, subject, incarnation), signature)
