"""Who is known here, by which key, and how each may be dialled.

This is the seam between identity and where it comes from. Admission, links and views ask a
:class:`Roster`; the directory of signed records stands behind it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, Protocol, TypeAlias

from attrs import field, frozen

from fabric.codes import Code
from fabric.core.access import Subject
from fabric.core.identity import NodeId, NodeName, node_id_of

Address: TypeAlias = tuple[str, int]
"""Host and UDP port. The host may be a name; who dials resolves it."""

_IN_CLOTHES: Final = "::ffff:"


def plain(address: Address) -> Address:
    """Return *address* as records and files spell it: a socket for both families shows IPv4 in
    the clothes of IPv6."""
    host, port = address
    bare = host.removeprefix(_IN_CLOTHES)
    return (bare, port) if "." in bare else address


@frozen(kw_only=True)
class Member:
    """One node of the fabric, as somebody entitled to describe it did."""

    name: NodeName
    key: bytes
    """Its Ed25519 public key, 32 raw bytes."""
    area: str = ""
    site_id: str = ""
    locality_group: str = ""
    nat_group: str = ""
    roles: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(factory=dict, eq=False)
    node_id: NodeId = field(init=False)
    subject: Subject = field(init=False, eq=False, repr=False)
    """What selectors look at."""

    @node_id.default
    def _id_of_key(self) -> NodeId:
        return node_id_of(self.key)

    @subject.default
    def _subject(self) -> Subject:
        return Subject(name=self.name, area=self.area, roles=self.roles, labels=self.labels)


@frozen
class Direct:
    """Dial *peer* at *address*. The pin is the peer's own key, from wherever the address came."""

    peer: Member
    address: Address

    @property
    def pin(self) -> bytes:
        return self.peer.key


@frozen
class Seed:
    """Dial whoever is at *address*: first contact.

    Nothing is pinned from an address: any key is taken in TLS, and its holder must then be known,
    or show a valid node record for that very key.
    """

    address: Address

    @property
    def pin(self) -> None:
        return None


DialIntent: TypeAlias = Direct | Seed


class Roster(Protocol):
    """Who is known. Every answer is about this moment; none is kept across a wait."""

    def by_key(self, key: bytes) -> Member | None:
        """Return the member that holds *key*, however it was reached: this node too, if asked."""

    def by_id(self, node: NodeId) -> Member | None:
        """Return the member of that id."""

    def why_not(self, key: bytes) -> Code:
        """Return why the holder of *key* is no member; asked only where :meth:`by_key` said so.

        ``unknown_key``, ``revoked`` or ``record_expired`` where a newer record could change it;
        else why it is kept out whatever it brings, as ``peer_barred``.
        """

    def members(self) -> Collection[Member]:
        """Return everybody but this node itself, sorted by name."""

    def ways_to(self, member: Member) -> Sequence[DialIntent]:
        """Return how *member* may be dialled, best first; nothing when only it can dial us."""


class Letters(Protocol):
    """What a Hello and its answers bring along: signed, so that it may come from a stranger."""

    @property
    def root_version(self) -> int:
        """Version of the trust root held here."""

    def own_record(self) -> bytes:
        """Return this node's own record as a packed envelope; empty when it holds none.

        Larger than :data:`~fabric.core.frames.MOST_HELLO_RECORD`, it is shown to nobody.
        """

    def roots_after(self, version: int, *, most_bytes: int) -> tuple[bytes, ...]:
        """Return the trust roots after *version*, oldest first, as many as fit; at most 16."""

    def tombstone_of(self, key: bytes) -> bytes:
        """Return the record that revokes the holder of *key*, as a packed envelope; empty when
        none is held.

        Larger than :data:`~fabric.core.frames.MOST_HELLO_RECORD`, it is shown to nobody.
        """

    def learn(
        self, roots: Sequence[bytes], record: bytes, teller: bytes, about: bytes = b""
    ) -> Code | None:
        """Take packed trust roots, in order, and then a packed node record, if any.

        Returns why the record does not count; ``None`` if it does, or is held, or there is none.

        *teller* is the key that the other end has proved, which says nothing about whether it is
        anybody's here: a record of another key is not taken from it, except of the key *about*,
        where one is named. What does not verify is counted and forgotten, and never raised. The
        roots end at the first that is refused, so that a stranger has this node verify one root
        in vain, not sixteen.
        """
