"""The frames that nodes exchange: what each says, on which stream, and its frozen number.

======================  =========  ============================================================
stream                  opened by  frames
======================  =========  ============================================================
unidirectional, kind 1  acceptor   one ``Challenge``, then FIN
bidirectional 0         dialler    control: ``Hello``, ``HelloOk`` or ``Refused``, then both
                                   ways ``Records`` (a wave), ``Probe`` and its kin, what is
                                   said of liveness, ``Draining``, ``Bye``
one bidirectional       dialler    sync: ``Root`` first, then as :mod:`.sync` says
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

from fabric.core.identity import (
    FABRIC_ID_BYTES,
    INSTANCE_BYTES,
    KEY_BYTES,
    NONCE_BYTES,
    SIGNATURE_BYTES,
)
from fabric.core.shapes import maybe, number, octets, octets_up_to, row, sequence, text, truth

CHALLENGE_KIND: Final = 1
"""Kind of the unidirectional stream that carries the Challenge."""

CHANNEL_ID_BYTES: Final = 16
MOST_DEADLINE: Final = 600_000
"""Milliseconds that an ``Open`` may wait for its answer: who asks for longer gets these."""

MOST_HELLO_RECORD: Final = 4 << 10
"""Bytes of a node record in Hello: it comes from a stranger, out of the stranger's budget."""

MOST_HELLO_ROOTS: Final = 8 << 10
"""Bytes of all trust roots in one Hello; the rest follows on a retry."""

MOST_ANSWER_ROOTS: Final = 48 << 10
"""Bytes of all trust roots in one answer: with a record beside them they fit what may be sent at
once on a fresh stream, 64 KiB. Twenty rotations of a fabric with a dozen keys."""

MOST_ENVELOPE: Final = 72 << 10
"""Bytes of one packed envelope: the largest payload and sixteen signatures."""

MOST_RECORDS: Final = 256
"""Records in one frame of a wave, or in one page of a sync."""

ROOT_BYTES: Final = 16
"""Of the digest over everything that a directory holds."""

BUCKETS: Final = 256
BUCKET_BYTES: Final = 8
"""A directory's keys fall into so many buckets, each with a digest of so many bytes."""

KEY_DIGEST_BYTES: Final = 16
RECORD_DIGEST_BYTES: Final = 16
"""Of a record's key and of a record, in the list of a bucket."""

MOST_ACCUSERS: Final = 8
"""Whose word is carried on with a suspicion or a death: two areas and some to spare."""

ROLL_BYTES: Final = 8
"""Of the digest over the lives of all members."""

MOST_ROLL: Final = 48 << 10
"""Bytes of one roll: 2,891 members; of a larger fleet each roll shows a part."""


_NAME = text(most=64)
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
    """Version of the acceptor's trust root."""


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
    record: bytes = field(validator=octets_up_to(MOST_HELLO_RECORD), default=b"")
    """The dialler's own node record, as a packed envelope; empty when it holds none."""
    roots: tuple[bytes, ...] = field(
        validator=sequence(octets_up_to(MOST_HELLO_ROOTS), most=16), default=()
    )
    """Trust roots after the acceptor's version, as packed envelopes, in order; as many as fit."""
    root_version: int = field(validator=number(), default=0)
    """Version of the dialler's trust root: the answer, a refusal too, brings what came after."""
    wants_record: bool = field(validator=truth, default=False)
    """Whether the dialler has only an address, and needs the acceptor's record to go on."""


@frozen(kw_only=True)
class HelloOk(Frame):
    """From the acceptor: admitted. Its key is already proved by TLS."""

    TYPE: ClassVar[int] = 3
    version: int = field(validator=number(least=1, most=65535))
    """The highest that both speak."""
    instance: bytes = field(validator=octets(INSTANCE_BYTES))
    boot_seq: int = field(validator=number(least=1))
    record: bytes = field(validator=octets_up_to(MOST_HELLO_RECORD), default=b"")
    """The acceptor's own node record, where the dialler wants it."""
    roots: tuple[bytes, ...] = field(
        validator=sequence(octets_up_to(MOST_ANSWER_ROOTS), most=16), default=()
    )
    """Trust roots that the dialler may have missed."""


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
    roots: tuple[bytes, ...] = field(
        validator=sequence(octets_up_to(MOST_ANSWER_ROOTS), most=16), default=()
    )
    """In place of HelloOk: trust roots that the dialler may have missed."""
    record: bytes = field(validator=octets_up_to(MOST_HELLO_RECORD), default=b"")
    """In place of HelloOk: the record that revokes the dialler, as a packed envelope; empty unless
    that is why, and it is held. Only to whom has proved the key that is revoked."""


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


# -- the wave --
@frozen(kw_only=True)
class Records(Frame):
    """Records that go outward: (packed envelope, hops left, wave id, milliseconds on the way)."""

    TYPE: ClassVar[int] = 8
    items: tuple[tuple[bytes, int, bytes, int], ...] = field(
        validator=sequence(
            row(octets_up_to(MOST_ENVELOPE), number(most=255), octets(8), number(most=2**32 - 1)),
            most=MOST_RECORDS,
        )
    )


# -- liveness --
@frozen(kw_only=True)
class Probe(Frame):
    """Are you there? With the digest of all that the prober holds."""

    TYPE: ClassVar[int] = 9
    seq: int = field(validator=number(most=2**32 - 1))
    root: bytes | None = field(validator=maybe(octets(ROOT_BYTES)), default=None)
    """``None``: the one that came last on this connection, in whichever frame."""


@frozen(kw_only=True)
class ProbeAck(Frame):
    """I am, and this is the digest of what I hold."""

    TYPE: ClassVar[int] = 10
    seq: int = field(validator=number(most=2**32 - 1))
    root: bytes | None = field(validator=maybe(octets(ROOT_BYTES)), default=None)
    """As in ``Probe``."""


@frozen(kw_only=True)
class IndirectProbe(Frame):
    """Ask *target*, to whom you hold a connection, whether it is there."""

    TYPE: ClassVar[int] = 11
    seq: int = field(validator=number(most=2**32 - 1))
    target: str = field(validator=_NAME)


@frozen(kw_only=True)
class IndirectAck(Frame):
    """What came of an ``IndirectProbe``."""

    TYPE: ClassVar[int] = 12
    seq: int = field(validator=number(most=2**32 - 1))
    target: str = field(validator=_NAME)
    reached: bool = field(validator=truth)


@frozen(kw_only=True)
class Suspect(Frame):
    """*accuser* signs that it got no answer from *subject* in its *incarnation*."""

    TYPE: ClassVar[int] = 13
    subject: str = field(validator=_NAME)
    incarnation: int = field(validator=number())
    alive: bytes = field(validator=octets(SIGNATURE_BYTES))
    """The subject's own, of ``Alive``: without it nobody could speak of that incarnation."""
    accuser: str = field(validator=_NAME)
    signature: bytes = field(validator=octets(SIGNATURE_BYTES))
    """The accuser's; see :mod:`fabric.core.testimony`."""
    silent: int = field(validator=number(most=2**32 - 1), default=0)
    """Milliseconds for which the accuser had heard nothing. Advice: not signed, and capped."""


@frozen(kw_only=True)
class Alive(Frame):
    """*subject* says itself that it is there, in this *incarnation*."""

    TYPE: ClassVar[int] = 14
    subject: str = field(validator=_NAME)
    incarnation: int = field(validator=number())
    signature: bytes = field(validator=octets(SIGNATURE_BYTES))


@frozen(kw_only=True)
class Dead(Frame):
    """*subject* answered none of *accusers* for as long as a suspicion lasts."""

    TYPE: ClassVar[int] = 15
    subject: str = field(validator=_NAME)
    incarnation: int = field(validator=number())
    alive: bytes = field(validator=octets(SIGNATURE_BYTES))
    accusers: tuple[str, ...] = field(validator=sequence(_NAME, least=1, most=MOST_ACCUSERS))
    signatures: tuple[bytes, ...] = field(
        validator=sequence(octets(SIGNATURE_BYTES), least=1, most=MOST_ACCUSERS)
    )
    """Of each accuser in turn, as in ``Suspect``."""

    def __attrs_post_init__(self) -> None:
        if len(self.accusers) != len(self.signatures):
            raise ValueError("accusers and signatures differ in length")


@frozen(kw_only=True)
class Left(Frame):
    """*subject* says itself that it goes."""

    TYPE: ClassVar[int] = 16
    subject: str = field(validator=_NAME)
    incarnation: int = field(validator=number())
    signature: bytes = field(validator=octets(SIGNATURE_BYTES))


@frozen(kw_only=True)
class RollCall(Frame):
    """The digest of all that I hold of the members' lives; where ours differed, the list."""

    TYPE: ClassVar[int] = 18
    digest: bytes = field(validator=octets(ROLL_BYTES))
    entries: bytes = field(validator=octets_up_to(MOST_ROLL), default=b"")
    """See :mod:`fabric.core.lives`; empty where only the digests are compared."""


@frozen(kw_only=True)
class Observed(Frame):
    """The address that I see you under. Advice, believed only when another area agrees."""

    TYPE: ClassVar[int] = 17
    OPTIONAL: ClassVar[bool] = True
    address: str = field(validator=text(most=80))


@frozen(kw_only=True)
class Clock(Frame):
    """What my clock shows. Advice: nothing expires by it."""

    TYPE: ClassVar[int] = 19
    OPTIONAL: ClassVar[bool] = True
    unix: int = field(validator=number())
    """Milliseconds since the epoch."""


# -- anti-entropy, on a stream of its own --
@frozen(kw_only=True)
class Root(Frame):
    """The digest of all that I hold: what a sync stream begins with, and each round of it."""

    TYPE: ClassVar[int] = 64
    root: bytes = field(validator=octets(ROOT_BYTES))


@frozen(kw_only=True)
class Buckets(Frame):
    """The digest of each bucket, one after the other."""

    TYPE: ClassVar[int] = 65
    digests: bytes = field(validator=octets(BUCKETS * BUCKET_BYTES))


@frozen(kw_only=True)
class Listing(Frame):
    """What I hold in *bucket*: key digests and record digests in turn, sorted; a part of it."""

    TYPE: ClassVar[int] = 66
    bucket: int = field(validator=number(most=BUCKETS - 1))
    entries: bytes = field(validator=octets_up_to(48 << 10))
    is_last: bool = field(validator=truth)
    """Whether no further part of this bucket follows."""


@frozen(kw_only=True)
class Want(Frame):
    """Send me the records of these key digests."""

    TYPE: ClassVar[int] = 67
    keys: tuple[bytes, ...] = field(
        validator=sequence(octets(KEY_DIGEST_BYTES), most=MOST_RECORDS)
    )


@frozen(kw_only=True)
class Page(Frame):
    """Records that were asked for, as packed envelopes; trust roots with those before them."""

    TYPE: ClassVar[int] = 68
    envelopes: tuple[bytes, ...] = field(
        validator=sequence(octets_up_to(MOST_ENVELOPE), most=MOST_RECORDS)
    )
    is_last: bool = field(validator=truth, default=True)


# -- channels --
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
        for kind in (
            *(Challenge, Hello, HelloOk, Refused, Draining, Bye),
            *(Records, Probe, ProbeAck, IndirectProbe, IndirectAck),
            *(Suspect, Alive, Dead, Left, RollCall, Observed, Clock),
            *(Root, Buckets, Listing, Want, Page),
            *(Open, Accepted),
        )
    }
)
"""Every frame of this release by its number. 5 was taken once, and is free for nothing else."""
