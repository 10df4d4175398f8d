"""Who an end is: an Ed25519 key, in the certificate that TLS wants around it."""

from __future__ import annotations

from attrs import frozen

SPKI_PREFIX = bytes.fromhex("302a300506032b6570032100")
"""DER of an Ed25519 SubjectPublicKeyInfo up to its 32 key bytes (RFC 8410, section 4)."""


@frozen(repr=False)
class Identity:
    """A self-signed Ed25519 certificate and its key, both PEM. Only the key is ever pinned."""

    certificate_pem: bytes
    key_pem: bytes


def raw_key(spki: bytes) -> bytes | None:
    """Return the 32 bytes of an Ed25519 SubjectPublicKeyInfo, or ``None`` for any other key."""
    if len(spki) == len(SPKI_PREFIX) + 32 and spki.startswith(SPKI_PREFIX):
        return spki[len(SPKI_PREFIX) :]
    return None
