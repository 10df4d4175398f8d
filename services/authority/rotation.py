"""The next version of a trust root: what may change, and whose signatures it takes. Pure.

Version N+1 counts once it is signed by the threshold of N's root keys *and* of its own: the old
holders say that they hand over, the new ones that they hold their keys. A key is never removed
from a root, nor from its role: it is marked, so that everybody can tell a retired key, whose
records stay valid until they expire, from one that was never the fabric's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from attrs import evolve, field, frozen

from fabric.core.envelope import Envelope, pae
from fabric.core.identity import KEY_BYTES, has_signed, is_valid_key
from fabric.core.records import (
    FABRIC,
    KeyId,
    KeyState,
    Role,
    RoleKeys,
    RootKey,
    TrustRoot,
    key_id_of,
)
from fabric.core.signers import ACTIVE, is_enough, signers_of
from fabric.net.tls import NodeKey
from services.authority.keys import KeyRing, active, shorts
from services.authority.refusals import AuthorityError

MOST_ROOT_KEYS = 8
"""Of version N and N+1 together, sixteen signatures fit into an envelope."""


@frozen
class Change:
    """What the next trust root says otherwise. Without anything, it renews its dates."""

    add: tuple[tuple[Role, bytes | None], ...] = ()
    """Roles and the public keys that act for them from now on; None has the authority draw one."""
    retire: tuple[KeyId, ...] = ()
    compromise: tuple[KeyId, ...] = ()
    thresholds: Mapping[Role, int] = field(factory=dict)
    epoch: int | None = None
    """The last epoch in which the directory may sign, and the one in which it does from now on."""
    first_epoch: int | None = None


@frozen
class Missing:
    """Signatures that a proposed root still lacks."""

    version: int
    """Whose root keys they are: those of the version before, or of the proposed one."""
    count: int
    keys: tuple[str, ...]
    """Any *count* of these."""

    def __str__(self) -> str:
        return f"{self.count} of the root keys of version {self.version} ({shorts(self.keys)})"


@frozen
class Rotated:
    """A trust root made or signed: in force, or proposed while signatures are missing."""

    root: TrustRoot
    file: Path
    missing: tuple[Missing, ...] = ()
    """None where the root is in force."""
    signed_again: tuple[Path, ...] = ()
    """Records that the new root would have left without a good signature."""
    records_first: bool = True
    """Whether those records count under the root before, too, and so are published first: then
    there is no moment in which a node has to refuse them."""

    @property
    def to_publish(self) -> tuple[Path, ...]:
        """What nodes have to be handed, in that order; nothing while signatures are missing."""
        if self.missing:
            return ()
        if self.records_first:
            return (*self.signed_again, self.file)
        return (self.file, *self.signed_again)


def first_root(
    fabric: bytes,
    keys: Mapping[Role, tuple[bytes, ...]],
    thresholds: Mapping[Role, int],
    *,
    now: int,
) -> TrustRoot:
    """Version 1; *keys* are public ones, by role."""
    return TrustRoot(
        fabric=fabric,
        subject=FABRIC,
        issued_at=now,
        expires_at=now + TrustRoot.LIFE,
        version=1,
        keys={key_id_of(key): RootKey(key=key) for some in keys.values() for key in some},
        roles={
            role.value: RoleKeys(
                keys=tuple(sorted(map(key_id_of, some))), threshold=thresholds[role]
            )
            for role, some in keys.items()
        },
    )


def next_root(root: TrustRoot, change: Change, *, now: int) -> TrustRoot:
    """The version after *root*. Raises :exc:`AuthorityError` for one that nobody could use."""
    first, last = _epochs(root, change)
    made = evolve(
        root,
        version=root.version + 1,
        issued_at=now,
        expires_at=max(now + TrustRoot.LIFE, root.expires_at),
        keys=_keys(root, change),
        roles=_roles(root, change),
        first_epoch=first,
        last_epoch=last,
    )
    for role, held in made.roles.items():
        if len(active(made, role)) < held.threshold:
            raise AuthorityError(
                "threshold_out_of_reach",
                f"The role {role} takes {held.threshold} keys and would have "
                f"{len(active(made, role))} that act for it.",
                f"Add a key in the same command (--add-key {role}), or lower its threshold.",
            )
    if len(active(made, Role.ROOT)) > MOST_ROOT_KEYS:
        raise AuthorityError(
            "too_many_root_keys",
            f"A fabric has at most {MOST_ROOT_KEYS} root keys.",
            "Retire one.",
        )
    return made


def missing(
    before: TrustRoot, proposed: TrustRoot, envelope: Envelope | None
) -> tuple[Missing, ...]:
    """Whose signatures *envelope*, made of *proposed*, lacks; none where it may be used."""
    found = []
    for root in (before, proposed):
        ids = active(root, Role.ROOT)
        unsigned = tuple(
            one for one in ids if envelope is None or not envelope.signed_by(root.keys[one].key)
        )
        lacking = root.roles[Role.ROOT].threshold - (len(ids) - len(unsigned))
        if lacking > 0:
            found.append(Missing(root.version, lacking, unsigned))
    return tuple(found)


def signers(lacking: tuple[Missing, ...], ring: KeyRing) -> list[NodeKey]:
    """The keys of *ring* that bring *lacking* signatures, and no more than it takes."""
    in_all = set.intersection(*(set(one.keys) for one in lacking)) if lacking else set()
    chosen: dict[str, NodeKey] = {}
    for one in lacking:
        ids = sorted(one.keys, key=lambda each: (each not in chosen, each not in in_all, each))
        for key in ring.present(ids)[: one.count]:
            chosen[key_id_of(key.public)] = key
    return list(chosen.values())


def joined(root: TrustRoot, one: Envelope, other: Envelope) -> Envelope:
    """*one* with what *other*, of the same payload, has of good signatures by keys of *root*."""
    message = pae(one.payload_type, one.payload)
    good = {
        each.key_id: each
        for each in (*one.signatures, *other.signatures)
        if each.key_id in root.keys and has_signed(root.keys[each.key_id].key, message, each.value)
    }
    return Envelope(one.payload, tuple(good.values()), one.payload_type) if good else one


def is_signed(envelope: Envelope, root: TrustRoot, role: str) -> bool:
    """Whether as many active keys of *role* have signed *envelope* as *root* asks for."""
    named = {each: root.keys[each].key for each in active(root, role)}
    good = signers_of(envelope, lambda key_id: named.get(key_id)).good
    return is_enough(good, root.roles[role], root, ACTIVE)


def _added(change: Change) -> Iterator[tuple[Role, bytes]]:
    for role, public in change.add:
        if public is None:
            raise ValueError("a key is still to be drawn")
        yield role, public


def _keys(root: TrustRoot, change: Change) -> dict[str, RootKey]:
    keys = dict(root.keys)
    for _, public in _added(change):
        if len(public) != KEY_BYTES or not is_valid_key(public):
            raise AuthorityError(
                "bad_key", f"{public.hex()} is no public key.", "Give 64 hexadecimal digits."
            )
        if key_id_of(public) in keys:
            raise AuthorityError(
                "key_known",
                f"The trust root names {shorts([key_id_of(public)])} already.",
                "Draw another: one key acts for one role, and is not taken back.",
            )
        keys[key_id_of(public)] = RootKey(key=public)
    for key_id in change.retire:
        if keys[key_id].state is KeyState.COMPROMISED:
            raise AuthorityError(
                "key_compromised",
                f"{shorts([key_id])} is marked as compromised.",
                "It stays so: that it is retired too says nothing more.",
            )
        keys[key_id] = evolve(keys[key_id], state=KeyState.RETIRED)
    for key_id in change.compromise:
        keys[key_id] = evolve(keys[key_id], state=KeyState.COMPROMISED)
    return keys


def _roles(root: TrustRoot, change: Change) -> dict[str, RoleKeys]:
    roles: dict[str, RoleKeys] = dict(root.roles)
    for role, public in _added(change):
        key_id = key_id_of(public)
        before = roles.get(role) or RoleKeys(keys=(key_id,), threshold=1)
        roles[role.value] = evolve(before, keys=tuple(sorted({*before.keys, key_id})))
    for role, threshold in change.thresholds.items():
        held = roles.get(role)
        if held is None or not 1 <= threshold <= len(held.keys):
            raise AuthorityError(
                "threshold_out_of_reach",
                f"The role {role} has {len(held.keys) if held else 0} keys, so none of its "
                f"thresholds is {threshold}.",
                "Add keys first, or name a lower one.",
            )
        roles[role.value] = evolve(held, threshold=threshold)
    return roles


def _epochs(root: TrustRoot, change: Change) -> tuple[int, int]:
    last = root.last_epoch if change.epoch is None else change.epoch
    first = root.first_epoch if change.first_epoch is None else change.first_epoch
    if last < root.last_epoch or not root.first_epoch <= first <= last:
        raise AuthorityError(
            "epoch_goes_back",
            f"Epochs go forward: {root.first_epoch} to {root.last_epoch} are open now.",
            f"Name an epoch from {root.last_epoch + 1} on.",
        )
    return first, last
