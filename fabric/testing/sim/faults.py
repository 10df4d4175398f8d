"""Members that do not keep to what is right: forgers, and one that never stops changing its word.

Each is a node like the others, whose process says more besides. It says it to every peer that it
is linked to, in frames of :data:`IN_A_FRAME` records, as fast as is asked.
"""

from __future__ import annotations

import abc
from typing import ClassVar, Final

from attrs import define, field
from nacl.signing import SigningKey

from fabric.core.codec.envelopes import pack_envelope
from fabric.core.codec.records import encode_record
from fabric.core.envelope import Envelope, Signature, sign_payload
from fabric.core.frames import Records
from fabric.core.identity import NodeId
from fabric.core.records import KeyId, OffersRecord
from fabric.testing.records import a_key_of, public, signed
from fabric.testing.sim.fleet import Fleet
from fabric.testing.sim.node import SimNode

IN_A_FRAME: Final = 10
"""Records. An honest node puts one wave in a frame, or a few."""


@define(eq=False)
class Fault(abc.ABC):
    """A node that says, besides, *rate* records a second to each of its peers."""

    fleet: Fleet
    node: SimNode
    rate: float
    said: int = field(init=False, default=0)
    """Records made."""
    until: float = field(init=False, default=0.0)

    def begin(self, seconds: float) -> None:
        """Do so for some *seconds* from now on."""
        self.until = self.fleet.now + seconds
        self._say_some()

    def _say_some(self) -> None:
        if self.node.is_stopped or self.fleet.now >= self.until:
            return
        items = tuple((self.a_record(), 8, self._wave_id(), 0) for _ in range(IN_A_FRAME))
        for peer in sorted(self.node.links):
            self.fleet.net.send(self.node, peer, Records(items=items))
        self.fleet.clock.after(IN_A_FRAME / self.rate, self._say_some)

    def _wave_id(self) -> bytes:
        return self.said.to_bytes(8, "big")

    def a_record(self) -> bytes:
        """Return the next record, packed."""
        self.said += 1
        return pack_envelope(self._make(self.said))

    @abc.abstractmethod
    def _make(self, number: int) -> Envelope:
        """Return the record of that number, signed by whoever the fault has sign it."""

    def _word(self, subject: NodeId, number: int) -> OffersRecord:
        """Return an offer of *subject* that nobody has heard before."""
        now = int(self.node.unix_now())
        return OffersRecord(
            fabric=self.fleet.papers.fabric.id,
            subject=subject,
            issued_at=now,
            expires_at=now + OffersRecord.LIFE,
            sequence=now + number,
            services=(f"s{number}",),
        )


@define(eq=False)
class Forger(Fault):
    """Says in the name of another what that one never signed."""

    victim: NodeId = field(kw_only=True)

    def _make(self, number: int) -> Envelope:
        forged = number.to_bytes(64, "big")
        payload = encode_record(self._word(self.victim, number))
        return Envelope(payload, (Signature(KeyId(self.victim), forged),))


@define(eq=False)
class Stranger(Fault):
    """Passes on what a key has signed that nobody knows: it could be good, some day."""

    KEY: ClassVar[SigningKey] = a_key_of("stranger")

    def _make(self, number: int) -> Envelope:
        return signed(self.fleet.papers.fabric.node("stranger", generation=number), self.KEY)


@define(eq=False)
class Minter(Fault):
    """Says something else of itself, rightly signed, again and again."""

    def _make(self, number: int) -> Envelope:
        payload = encode_record(self._word(self.node.id, number))
        return sign_payload(
            payload, public(self.node.key), lambda message: self.node.key.sign(message).signature
        )
