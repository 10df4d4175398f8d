"""The frames that nodes exchange: what each says, on which stream, and its frozen number.

======================  =========  ============================================================
stream                  opened by  frames
======================  =========  ============================================================
unidirectional, kind 1  acceptor   one ``Challenge``, then FIN
bidirectional 0         dialler    control: ``Hello``, ``HelloOk`` or ``Refused``, then
                                   ``Offers``, ``Draining``, ``Bye`` both ways
every other             either     a channel: ``Open``, ``Accepted`` or ``Refused``, then raw
                                   bytes of the service
======================  =========  ============================================================

Field names are the keys on the wire. A field may be added when it has a default; a reader that
does not know it ignores it. Durations are milliseconds from receipt, for clocks differ.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import ClassVar, Final

from attrs import field, frozen

from fabric.core.access import LONGEST_SELECTOR, MOST_SELECTORS
from fabric.core.identity import (
    FABRIC_ID_BYTES,
    INSTANCE_BYTES,
    KEY_BYTES,
    NONCE_BYTES,
    SIGNATURE_BYTES,
)
from fabric.core.shapes import maybe, number, octets, sequence, text, truth

CHALLENGE_KIND: Final = 1
"""Kind of the unidirectional stream that carries the Challenge."""

CHANNEL_ID_BYTES: Final = 16
MOST_DEADLINE: Final = 600_000
"""Milliseconds that an ``Open`` may wait for its answer: who asks for longer gets these."""

MOST_OFFERS: Final = 64
"""Services that one node may offer: a page of its own, not a directory."""

_NAME = text(most=64)
_SELECTOR = text(most=LONGEST_SELECTOR)
_CODE = number(most=2**32 - 1)
_NO_CHANNEL = b""


class Frame:
    """One message between nodes. ``TYPE`` is its number, frozen in ``tests/vectors``."""

    __slots__ = ()
    TYPE: ClassVar[int]
    OPTIONAL: ClassVar[bool] = False
    """Whether a node that does not know this type may ignore it."""


@frozen(kw_only=True)
class Challenge(Frame):
    """From the acceptor at once: sign this, so that I see your key live."""

    TYPE: ClassVar[int] = 1
    nonce: bytes = field(validator=octets(NONCE_BYTES))
    root_version: int = field(validator=number(), default=0)
    """The acceptor's trust root; 0 while peers are given by configuration."""


@frozen(kw_only=True)
class Hello(Frame):
    """From the dialler: who I am, and the proof."""

    TYPE: ClassVar[int] = 2
    versions: tuple[int, int] = field(
        validator=sequence(number(least=1, most=65535), least=2, most=2)
    )
    """Lowest and highest protocol version spoken."""
    fabric_id: bytes = field(validator=octets(FABRIC_ID_BYTES))
    key: bytes = field(validator=octets(KEY_BYTES))
    nonce: bytes = field(validator=octets(NONCE_BYTES))
    instance: bytes = field(validator=octets(INSTANCE_BYTES))
    boot_seq: int = field(validator=number(least=1))
    signature: bytes = field(validator=octets(SIGNATURE_BYTES))
    """See :func:`fabric.core.proof.hello_statement`."""


@frozen(kw_only=True)
class HelloOk(Frame):
    """From the acceptor: admitted. Its key is already proved by TLS."""

    TYPE: ClassVar[int] = 3
    version: int = field(validator=number(least=1, most=65535))
    """The highest that both speak."""
    instance: bytes = field(validator=octets(INSTANCE_BYTES))
    boot_seq: int = field(validator=number(least=1))


def _channel_id(_frame: object, _attribute: object, value: object) -> None:
    if type(value) is not bytes or len(value) not in {0, CHANNEL_ID_BYTES}:
        raise ValueError("channel_id is neither empty nor 16 bytes")


@frozen(kw_only=True)
class Refused(Frame):
    """No, in place of HelloOk or of Accepted; FIN follows."""

    TYPE: ClassVar[int] = 4
    code: int = field(validator=_CODE)
    reason: str = field(validator=text(least=0, most=400), default="")
    """What the code's own sentence does not say; may be empty."""
    hop: str = field(validator=text(least=0, most=64), default="")
    """Name of the node that refused."""
    channel_id: bytes = field(validator=_channel_id, default=_NO_CHANNEL)


@frozen(kw_only=True)
class Offers(Frame):
    """What I serve now: replaces what I offered before. Three lists of equal length."""

    TYPE: ClassVar[int] = 5
    names: tuple[str, ...] = field(validator=sequence(_NAME, most=MOST_OFFERS))
    open_to: tuple[tuple[str, ...], ...] = field(
        validator=sequence(sequence(_SELECTOR, most=MOST_SELECTORS), most=MOST_OFFERS)
    )
    edge_exposable: tuple[bool, ...] = field(validator=sequence(truth, most=MOST_OFFERS))

    def __attrs_post_init__(self) -> None:
        if not len(self.names) == len(self.open_to) == len(self.edge_exposable):
            raise ValueError("names, open_to and edge_exposable differ in length")


@frozen(kw_only=True)
class Draining(Frame):
    """I take no new channels; those that are open end within *until* milliseconds."""

    TYPE: ClassVar[int] = 6
    OPTIONAL: ClassVar[bool] = True
    until: int = field(validator=number())


@frozen(kw_only=True)
class Bye(Frame):
    """I open nothing more here and close once the channels on this connection have ended."""

    TYPE: ClassVar[int] = 7
    code: int = field(validator=_CODE)


@frozen(kw_only=True)
class Open(Frame):
    """First bytes of a channel: which service, for whom, and how long the opener waits."""

    TYPE: ClassVar[int] = 32
    channel_id: bytes = field(validator=octets(CHANNEL_ID_BYTES))
    service: str = field(validator=_NAME)
    deadline: int = field(validator=number(least=1, most=MOST_DEADLINE))
    """Milliseconds from receipt in which an answer is of use."""
    client: str | None = field(validator=maybe(text(most=64)), default=None)
    """Address of the client outside the fabric; believed only from an ingress."""


@frozen(kw_only=True)
class Accepted(Frame):
    """The channel is open; raw bytes follow, both ways."""

    TYPE: ClassVar[int] = 33
    offset: int = field(validator=number(), default=0)
    """Bytes already consumed of a resumed channel; 0 for a new one."""
    load: int = field(validator=number(), default=0)
    """Channels of this service open at the offering node, this one included."""


KNOWN: Final = MappingProxyType(
    {
        kind.TYPE: kind
        for kind in (Challenge, Hello, HelloOk, Refused, Offers, Draining, Bye, Open, Accepted)
    }
)
"""Every frame of this release by its number."""
