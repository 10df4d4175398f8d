"""Valid objects with every field filled, so that a test names only what it is about."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from nacl.signing import SigningKey

from fabric.core.access import Subject
from fabric.core.frames import (
    Accepted,
    Bye,
    Challenge,
    Draining,
    Frame,
    Hello,
    HelloOk,
    Offers,
    Open,
    Refused,
)
from fabric.core.identity import NodeName

FABRIC_ID = bytes(range(16))

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
    Offers(
        names=("demo", "logs"),
        open_to=(("any",), ("area:home", "label:tier=gold")),
        edge_exposable=(True, False),
    ),
    Draining(until=30_000),
    Bye(code=24),
    Open(channel_id=b"h" * 16, service="demo", deadline=5_000, client="192.0.2.7:50123"),
    Accepted(offset=0, load=17),
)


def some_frames() -> tuple[Frame, ...]:
    """Return one frame of every type, with every field filled."""
    return _FRAMES


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
