"""Who is known here, by which key, and how each may be dialled.

This is the seam between identity and where it comes from. Admission, channels and views ask a
:class:`Roster`; today the only one is :class:`StaticRoster`, made of a configuration's
``[[peers]]``. A directory of signed records takes its place without any of them noticing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol, TypeAlias

from attrs import field, frozen

from fabric.core.access import Subject
from fabric.core.identity import NodeId, NodeName, node_id_of

Address: TypeAlias = tuple[str, int]
"""Host and UDP port. The host may be a name; who dials resolves it."""


@frozen(kw_only=True)
class Member:
    """One node of the fabric, as somebody entitled to describe it did."""

    name: NodeName
    key: bytes
    """Its Ed25519 public key, 32 raw bytes."""
    area: str = ""
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

    Nothing is pinned from an address: any key is taken in TLS, and must then be one that the
    roster knows.
    """

    address: Address

    @property
    def pin(self) -> None:
        return None


DialIntent: TypeAlias = Direct | Seed


class Roster(Protocol):
    """Who is known. Every answer is about this moment; none is kept across a wait."""

    def by_key(self, key: bytes) -> Member | None:
        """Return the member that holds *key*, however it was reached."""

    def members(self) -> Collection[Member]:
        """Return everybody but this node itself, sorted by name."""

    def ways_to(self, member: Member) -> Sequence[DialIntent]:
        """Return how *member* may be dialled, best first; nothing when only it can dial us."""


class StaticRoster:
    """The roster that a configuration lists. It never changes."""

    def __init__(self, members: Iterable[tuple[Member, Address | None]]) -> None:
        """*members*: everybody but this node, each with the address to dial it at, if any."""
        listed = sorted(members, key=lambda each: each[0].name)
        self._by_key = {member.key: member for member, _ in listed}
        self._ways = {
            member.key: (Direct(member, address),) for member, address in listed if address
        }

    def by_key(self, key: bytes) -> Member | None:
        return self._by_key.get(key)

    def members(self) -> Collection[Member]:
        return self._by_key.values()

    def ways_to(self, member: Member) -> Sequence[DialIntent]:
        return self._ways.get(member.key, ())
