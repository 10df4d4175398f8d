"""Valid objects with every field filled, so that a test names only what it is about."""

from __future__ import annotations

from typing import Any, cast

from attrs import evolve
from nacl.signing import SigningKey

from fabric.core.access import Subject
from fabric.core.frames import (
    BUCKET_BYTES,
    BUCKETS,
    Accepted,
    Alive,
    Buckets,
    Bye,
    Challenge,
    Clock,
    Dead,
    Draining,
    Frame,
    Hello,
    HelloOk,
    IndirectAck,
    IndirectProbe,
    Left,
    Listing,
    Observed,
    Open,
    Page,
    Probe,
    ProbeAck,
    Records,
    Refused,
    RollCall,
    Root,
    Suspect,
    Want,
)
from fabric.core.identity import NodeName

FABRIC_ID = bytes(range(16))

_NODE = "x3mpp7pwcwru7yjqps72ac73lzhugctu"
_ANOTHER = "y2chlvgeru2uy6aaznufcsng7b3khnei"

_FRAMES: tuple[Frame, ...] = (
    Challenge(nonce=b"c" * 32, root_version=3),
    Hello(
        versions=(1, 2),
        fabric_id=FABRIC_ID,
        key=b"k" * 32,
        nonce=b"n" * 32,
        instance=b"i" * 16,
        boot_seq=1_800_000_000,
        signature=b"s" * 64,
    ),
    HelloOk(version=1, instance=b"j" * 16, boot_seq=1_800_000_001),
    Refused(code=42, reason="not for you", hop="home-1", channel_id=b"h" * 16),
    Draining(until=30_000),
    Bye(code=24),
    Open(channel_id=b"h" * 16, service="demo", deadline=5_000, client="192.0.2.7:50123"),
    Accepted(offset=1_000_000, load=17),
    Records(items=((b"envelope 1", 7, b"w" * 8, 40), (b"envelope 2", 0, b"v" * 8, 0))),
    Probe(seq=4_000_000_000, root=b"r" * 16),
    Probe(seq=1),
    ProbeAck(seq=4_000_000_000, root=b"R" * 16),
    ProbeAck(seq=1),
    IndirectProbe(seq=8, target=_NODE),
    IndirectAck(seq=8, target=_NODE, reached=True),
    Suspect(
        subject=_NODE,
        incarnation=3,
        alive=b"a" * 64,
        accuser=_ANOTHER,
        signature=b"s" * 64,
        silent=2_500,
    ),
    Alive(subject=_NODE, incarnation=4, signature=b"s" * 64),
    Dead(
        subject=_NODE,
        incarnation=3,
        alive=b"a" * 64,
        accusers=(_ANOTHER, _NODE),
        signatures=(b"s" * 64, b"t" * 64),
    ),
    Left(subject=_NODE, incarnation=4, signature=b"s" * 64),
    RollCall(digest=b"d" * 8, entries=b"e" * 17),
    Observed(address="198.51.100.7:4433"),
    Clock(unix=1_800_000_000_000),
    Root(root=b"r" * 16),
    Buckets(digests=bytes(range(BUCKETS)) * BUCKET_BYTES),
    Listing(bucket=255, entries=b"k" * 16 + b"d" * 16, is_last=True),
    Want(keys=(b"k" * 16, b"l" * 16)),
    Page(envelopes=(b"envelope 1", b"envelope 2"), is_last=False),
)
_FROM_STRANGERS: tuple[Frame, ...] = (
    evolve(
        cast(Hello, _FRAMES[1]),
        record=b"my record",
        roots=(b"root 2", b"root 3"),
        root_version=3,
        wants_record=True,
    ),
    evolve(cast(HelloOk, _FRAMES[2]), record=b"my record", roots=(b"root 4",)),
    evolve(cast(Refused, _FRAMES[3]), roots=(b"root 4",)),
    Refused(code=117, hop="home-1", record=b"your tombstone"),
)
"""Of types that are above already: with the fields that nodes which know each other leave out."""


def some_frames() -> tuple[Frame, ...]:
    """Return one frame of every type and, for some, a second one: between them, all fields."""
    return _FRAMES + _FROM_STRANGERS


def a_frame(kind: type[Frame], **changes: Any) -> Any:  # noqa: ANN401 -- evolve takes any field
    """Return a valid frame of *kind*, changed as asked."""
    frame: Any = next(each for each in _FRAMES if type(each) is kind)
    return evolve(frame, **changes)


def a_key(seed: int = 0) -> SigningKey:
    """Return the same key for the same *seed*."""
    return SigningKey(seed.to_bytes(32, "big"))


def a_subject(**changes: Any) -> Subject:  # noqa: ANN401 -- evolve takes any field
    """Return a node of area ``home`` with one role and one label, changed as asked."""
    subject = Subject(
        name=NodeName("home-1"),
        area="home",
        roles=frozenset({"egress"}),
        labels={"tier": "gold"},
    )
    return evolve(subject, **changes)
