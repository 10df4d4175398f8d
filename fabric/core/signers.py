"""Who signed an envelope, and whether those are enough for a role.

Everything here goes by key, before anything is parsed: DSSE is there so that nobody's bytes reach
a parser unproved. Of several signatures that name one key the first counts, and a threshold counts
distinct public keys, whatever they are called.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

from attrs import frozen

from fabric.core.envelope import Envelope, pae
from fabric.core.identity import has_signed
from fabric.core.records import KeyId, KeyState, Role, RoleKeys, TrustRoot

ACTIVE: Final = frozenset({KeyState.ACTIVE})
"""Keys whose signature lets something new in."""

ACTIVE_OR_RETIRED: Final = ACTIVE | {KeyState.RETIRED}
"""Keys whose signature keeps what is held."""

ANY_STATE: Final = frozenset(KeyState)


@frozen
class Signers:
    """Whom an envelope names as its signers, sorted out."""

    good: Mapping[str, bytes]
    """Public keys that did sign it, by key id."""
    bad: Collection[str]
    """Ids of known keys that did not."""
    unknown: Collection[str]

    def names(self, key_id: str) -> bool:
        """Return whether the envelope claims a signature of *key_id*, good or not."""
        return key_id in self.good or key_id in self.bad or key_id in self.unknown


def signers_of(envelope: Envelope, key_of: Callable[[KeyId], bytes | None]) -> Signers:
    """Return who signed *envelope*, by the keys that *key_of* knows. 50 us for each of those."""
    message = pae(envelope.payload_type, envelope.payload)
    good: dict[str, bytes] = {}
    bad: set[str] = set()
    unknown: set[str] = set()
    for each in envelope.signatures:
        if each.key_id in good or each.key_id in bad:
            continue
        if (key := key_of(each.key_id)) is None:
            unknown.add(each.key_id)
        elif has_signed(key, message, each.value):
            good[each.key_id] = key
        else:
            bad.add(each.key_id)
    return Signers(good, bad, unknown)


def is_enough(
    signers: Collection[str], role: RoleKeys, root: TrustRoot, states: Collection[KeyState]
) -> bool:
    """Return whether the *signers* (key ids) that *root* gives *role* in *states* meet its bar."""
    keys = {
        root.keys[each].key
        for each in role.keys
        if each in signers and root.keys[each].state in states
    }
    return len(keys) >= role.threshold


def roles_of(authors: Iterable[str], root: TrustRoot) -> list[RoleKeys]:
    """Return who holds the roles *authors* in *root*, which need not have them all."""
    return [root.roles[each] for each in authors if each in root.roles]


def is_rooted(signers: Collection[str], root: TrustRoot, states: Collection[KeyState]) -> bool:
    """Return whether *signers* meet the threshold of *root*'s own role."""
    return is_enough(signers, root.roles[Role.ROOT], root, states)
