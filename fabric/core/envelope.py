"""A record's bytes and the signatures over them: DSSE, so that nothing is parsed unproved.

What is signed is the *pre-authentication encoding* of a payload's type and bytes (DSSE v1,
https://github.com/secure-systems-lab/dsse): the length of each stands before it, so no two pairs
of type and payload encode alike, and no signature made for another purpose fits. The payload is
stored, passed on and hashed exactly as it was signed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final, TypeAlias

from attrs import field, frozen

from fabric.core.identity import SIGNATURE_BYTES, has_signed
from fabric.core.records import KeyId, key_id_of
from fabric.core.shapes import instance, octets, octets_up_to, sequence, text

RECORD_TYPE: Final = "application/vnd.trio-fabric.record+json"
"""The only payload type so far."""

MOST_SIGNATURES: Final = 16
MOST_PAYLOAD: Final = 64 << 10

Digest: TypeAlias = bytes
"""32 bytes of BLAKE2b."""


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the bytes that a signature is made over."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


@frozen
class Signature:
    """One signature and the key that is said to have made it."""

    key_id: KeyId = field(validator=text(most=64))
    value: bytes = field(validator=octets(SIGNATURE_BYTES), repr=False)


@frozen
class Envelope:
    """A payload as it was signed. Says nothing about whether the signatures are good."""

    payload: bytes = field(validator=octets_up_to(MOST_PAYLOAD, least=1))
    signatures: tuple[Signature, ...] = field(
        validator=sequence(instance(Signature), least=1, most=MOST_SIGNATURES)
    )
    payload_type: str = field(validator=text(most=128), default=RECORD_TYPE)
    digest: Digest = field(init=False, eq=False, repr=False)
    """Of the payload alone: the record's identity, whoever else signs it too."""

    @digest.default
    def _digest_of_payload(self) -> Digest:
        return hashlib.blake2b(self.payload, digest_size=32).digest()

    @property
    def verdict_key(self) -> Digest:
        """Of payload and signatures: what a verdict about this envelope is remembered by."""
        digest = hashlib.blake2b(self.digest, digest_size=32)
        for signature in self.signatures:
            digest.update(signature.key_id.encode() + b"\0" + signature.value)
        return digest.digest()

    def signed_by(self, public_key: bytes) -> bool:
        """Return whether one of the signatures that name *public_key* is good."""
        key_id = key_id_of(public_key)
        message = pae(self.payload_type, self.payload)
        return any(
            has_signed(public_key, message, each.value)
            for each in self.signatures
            if each.key_id == key_id
        )

    def with_signature(self, public_key: bytes, sign: Callable[[bytes], bytes]) -> Envelope:
        """Return this envelope with one more signature, in place of an older one of that key."""
        made = sign_payload(self.payload, public_key, sign, self.payload_type).signatures[0]
        others = tuple(each for each in self.signatures if each.key_id != made.key_id)
        return Envelope(self.payload, (*others, made), self.payload_type)


def sign_payload(
    payload: bytes,
    public_key: bytes,
    sign: Callable[[bytes], bytes],
    payload_type: str = RECORD_TYPE,
) -> Envelope:
    """Return *payload* with the signature that *sign* makes for *public_key*."""
    value = sign(pae(payload_type, payload))
    signature = Signature(key_id_of(public_key), value)
    return Envelope(payload, (signature,), payload_type)
