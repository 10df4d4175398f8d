"""Who a node is: its key, the id that follows from the key, its name and its fabric.

A node's identity is one Ed25519 key. Everything else (name, area, roles) is said *about* that
key by somebody entitled to, and changes without changing who the node is.
"""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from typing import Final, NewType

from nacl.bindings import crypto_core_ed25519_is_valid_point, crypto_sign_BYTES, crypto_sign_open
from nacl.exceptions import BadSignatureError

NodeId = NewType("NodeId", str)
"""Lower-case base32 of a hashed public key: the same wherever the node is."""

NodeName = NewType("NodeName", str)
"""What people call a node; unique within a fabric."""

FabricId = NewType("FabricId", bytes)
"""16 random bytes, drawn once when a fabric is made."""

Instance = NewType("Instance", bytes)
"""16 random bytes, drawn once per process."""

KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = crypto_sign_BYTES
FABRIC_ID_BYTES: Final = 16
INSTANCE_BYTES: Final = 16
NONCE_BYTES: Final = 32

INGRESS: Final = "ingress"
"""The role whose word about a client's address is believed."""

_ID_BYTES = 20  # 160 bits: no second key for an id, and still short enough to read aloud


def node_id_of(public_key: bytes) -> NodeId:
    """Return the id of the node that holds *public_key* (32 raw bytes)."""
    digest = hashlib.blake2b(public_key, digest_size=64).digest()[:_ID_BYTES]
    return NodeId(base64.b32encode(digest).decode("ascii").rstrip("=").lower())


@lru_cache(maxsize=4096)  # 40 us each time, and a fabric's keys are few: asked at every signature
def is_valid_key(public_key: bytes) -> bool:
    """Return whether *public_key* is a point that no honest key generator would avoid.

    Small-order points make signatures that verify under anything; they are refused wherever
    a key enters, not when it is used.
    """
    return len(public_key) == KEY_BYTES and crypto_core_ed25519_is_valid_point(public_key)


def has_signed(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Return whether *signature* over *message* was made with *public_key*'s secret half."""
    if len(signature) != SIGNATURE_BYTES or not is_valid_key(public_key):
        return False
    try:
        crypto_sign_open(signature + message, public_key)
    except BadSignatureError:
        return False
    return True
