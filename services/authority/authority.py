"""A fabric's authority: who belongs to it, what they may, and who may say so.

Works without a network and without a control plane: it takes the folder that
:meth:`Authority.create` made, the keys in it, and the time. Every change is one signed record,
written whole before anybody can be given it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from fabric.codes import Code
from fabric.core.access import parse_selector
from fabric.core.envelope import Envelope
from fabric.core.identity import FABRIC_ID_BYTES, node_id_of
from fabric.core.records import FABRIC, Key, KeyId, NodeRecord, Policy, Role, TrustRoot
from fabric.core.views import subject_of
from fabric.net.tls import NodeKey
from services.authority import rotation, signing, succession
from services.authority.drafts import (
    USUAL_KEYS,
    About,
    Bounds,
    Grant,
    Quorum,
    node_draft,
    policy_draft,
    require_name,
    service_draft,
)
from services.authority.folder import Folder, Held, write_envelope
from services.authority.keys import Draw, KeyRing, active, needed, read_key, shorts, write_key
from services.authority.ledger import Ledger, fits, signed
from services.authority.refusals import AuthorityError
from services.authority.rotation import Change, Rotated


class Authority:
    """The open folder of one fabric's authority. Times are unix seconds.

    Whoever opens it *to change* holds its lock until :meth:`close`; to the others it is as it was
    when they opened it. Every method raises :exc:`AuthorityError` where it does not sign, and
    :exc:`OSError` where the disk fails.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        now: int,
        name: str = "",
        quorums: Mapping[Role, Quorum] = USUAL_KEYS,
        draw: Draw = os.urandom,
    ) -> Authority:
        """Make a fabric's authority in *path*, an empty folder or none yet, and open it.

        Draws the fabric's id and every role's keys. Leaves nothing behind where it fails.
        """
        folder = Folder(path)
        with folder.making():
            ring = KeyRing(folder.keys)
            publics = {
                role: tuple(
                    ring.draw(f"{role}-{number}", draw).public
                    for number in range(1, quorum.keys + 1)
                )
                for role, quorum in quorums.items()
            }
            thresholds = {role: quorum.threshold for role, quorum in quorums.items()}
            root = rotation.first_root(draw(FABRIC_ID_BYTES), publics, thresholds, now=now)
            envelope = signed(root, needed(root, Role.ROOT, ring))
            write_envelope(folder.root_version(1), envelope)
            write_envelope(folder.root_file, envelope)
            folder.write_marker(name or path.absolute().name, root.fabric)
        return cls.open(path)

    @classmethod
    def open(cls, path: Path, *, to_change: bool = True) -> Authority:
        """Open the folder *path*. To be closed again: use it in a ``with``."""
        return cls(Ledger.open(path, to_change=to_change))

    def close(self) -> None:
        self._ledger.close()

    def __enter__(self) -> Authority:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- what there is --
    @property
    def name(self) -> str:
        return self._ledger.name

    @property
    def folder(self) -> Folder:
        return self._ledger.folder

    @property
    def keys(self) -> KeyRing:
        """The keys whose files are here."""
        return self._ledger.keys

    @property
    def root(self) -> TrustRoot:
        """The newest trust root that is in force."""
        return self._ledger.root

    @property
    def fabric_id(self) -> bytes:
        return self.root.fabric

    def roots(self) -> list[Envelope]:
        """Every version of the trust root, the oldest first."""
        return [envelope for envelope, _ in self._ledger.roots]

    def records(self) -> list[Envelope]:
        """The newest record of every key, tombstones too, by kind and subject."""
        return [held.envelope for _, held in sorted(self._ledger.held.items())]

    def signed_keys(self) -> list[Key]:
        """Every key at which anything was signed."""
        return sorted(self._ledger.held)

    def held(self, key: Key) -> Held:
        """The newest record of *key*."""
        try:
            return self._ledger.held[key]
        except KeyError:
            raise AuthorityError.of(
                Code.UNKNOWN_RECORD,
                f"The authority of {self.name} has signed nothing as {key}.",
                "`fabricctl node list` shows the nodes; a key is written KIND/SUBJECT.",
            ) from None

    def nodes(self) -> list[NodeRecord]:
        """The nodes that are not revoked, by name."""
        found = [
            held.record
            for held in self._ledger.held.values()
            if isinstance(held.record, NodeRecord) and not held.record.revoked
        ]
        return sorted(found, key=lambda record: (record.name, record.subject))

    def node(self, name: str) -> NodeRecord:
        """The node called *name*."""
        for record in self.nodes():
            if record.name == name:
                return record
        raise AuthorityError(
            "unknown_node",
            f"No node of {self.name} is called {name}.",
            "`fabricctl node list` shows them.",
        )

    def selected(self, selector: str) -> list[NodeRecord]:
        """The nodes that *selector* selects now."""
        parsed = parse_selector(selector)
        return [record for record in self.nodes() if parsed.selects(subject_of(record))]

    def file_of(self, key: Key) -> Path:
        """Where the newest record of *key* stands."""
        return self.folder.record(key)

    def root_files(self) -> list[Path]:
        """Where every version of the trust root stands, the oldest first."""
        return [self.folder.root_version(root.version) for _, root in self._ledger.roots]

    def files(self) -> list[Path]:
        """All that a node can be handed, in the order in which it can take it."""
        return [*self.root_files(), *map(self.folder.record, sorted(self._ledger.held))]

    # -- what is said of nodes, services and the fabric --
    def draw_node_key(self, name: str, draw: Draw = os.urandom) -> NodeKey:
        """A key for the node *name*, in a file of ``nodes/``.

        One that an earlier, broken off command drew for that name is used before another is.
        """
        self._ledger.require_lock()
        number = 1
        while (path := self.folder.node_key(require_name(name), number)).exists():
            key = read_key(path)
            if Key(NodeRecord.KIND, node_id_of(key.public)) not in self._ledger.held:
                return key
            number += 1
        return write_key(path, draw)

    def check_node(self, name: str, about: About) -> None:
        """Raise what :meth:`add_node` would, whatever the key of the new node *name*."""
        any_key = next(iter(self.root.keys.values())).key
        node_draft(self.fabric_id, name, any_key, about, now=0)
        self._require_free_name(name, but="")
        needed(self.root, Role.DIRECTORY, self.keys)

    def add_node(self, name: str, key: bytes, about: About, *, now: int) -> Envelope:
        """Say that the holder of the public key *key* is the node *name*.

        Said again of the same name and key, it replaces what was said *about* it; where nothing
        is new, nothing is signed.
        """
        draft = node_draft(self.fabric_id, name, key, about, now=now)
        self._require_free_name(name, but=draft.subject)
        self._require_own_key(draft)
        return self._ledger.say(draft, now)

    def replace_node(self, name: str, key: bytes, *, now: int) -> tuple[Envelope, ...]:
        """Say that the node *name* has the public key *key* from now on.

        Returns its new record, and the tombstone of each that it had. The new one is written
        first: broken off in between, the same call goes on.
        """
        about = About.of(self.node(name))
        replaced = [each for each in self.nodes() if each.name == name and each.key_bytes != key]
        if not replaced:
            raise AuthorityError("same_key", f"{name} has that key already.", "Give the new one.")
        draft = node_draft(self.fabric_id, name, key, about, now=now)
        self._require_own_key(draft)
        made = self._ledger.say(draft, now)
        return (made, *(self._ledger.end(each, now) for each in replaced))

    def add_service(self, name: str, grant: Grant, *, now: int) -> Envelope:
        """Say who may offer the service *name*, and who may open it.

        Said again, it replaces what was said; where nothing is new, nothing is signed.
        """
        return self._ledger.say(service_draft(self.fabric_id, name, grant, now=now), now)

    def policy(self, *, now: int) -> tuple[Policy, bool]:
        """Return what holds for every node, and whether that was signed or goes without saying."""
        held = self._signed_policy()
        return policy_draft(self.fabric_id, Bounds(), held, now=now), held is not None

    def set_policy(self, bounds: Bounds, *, now: int) -> Envelope:
        """Change what *bounds* names in the fabric's policy, or make its first one."""
        draft = policy_draft(self.fabric_id, bounds, self._signed_policy(), now=now)
        return self._ledger.say(draft, now)

    def _signed_policy(self) -> Policy | None:
        held = self._ledger.held.get(Key(Policy.KIND, FABRIC))
        before = held.record if held else None
        return before if isinstance(before, Policy) and not before.revoked else None

    def revoke(self, key: Key, *, now: int) -> Envelope:
        """Say that what *key* names is no more. Said again, nothing is signed."""
        held = self.held(key)
        if held.record.revoked:
            return held.envelope
        return self._ledger.end(held.record, now)

    # -- signing again, and with other keys --
    def resign(self, *, now: int, all_of_them: bool = False) -> list[Envelope]:
        """Sign anew what is due, or all that is not revoked; return the new envelopes.

        Due is what has lived half its life, and what has no good signature or open epoch by the
        present trust root.
        """
        due = [
            held
            for held in self._ledger.standing(now)
            if signing.is_due(held.record, now=now)
            or not fits(held, self.root)
            or (all_of_them and not held.record.revoked)
        ]
        return [self._ledger.again(held, now) for held in due]

    def rekey(
        self,
        *,
        now: int,
        key: KeyId | None = None,
        compromised: bool = False,
        draw: Draw = os.urandom,
    ) -> Rotated:
        """Put a new directory key in the place of *key*, or of the only one."""
        acting = active(self.root, Role.DIRECTORY)
        if key is None and len(acting) > 1:
            raise AuthorityError(
                "ambiguous_key",
                f"There are {len(acting)} directory keys: {shorts(acting)}.",
                "Name one: `fabricctl directory rekey KEY`.",
            )
        old = key or KeyId(acting[0])
        if old not in acting:
            raise AuthorityError(
                "unknown_key_id",
                f"{shorts([old])} is not a directory key that acts now.",
                f"Those that do: {shorts(acting)}.",
            )
        change = Change(
            add=((Role.DIRECTORY, None),),
            retire=() if compromised else (old,),
            compromise=(old,) if compromised else (),
        )
        return self.rotate_root(change, now=now, draw=draw)

    def rotate_root(self, change: Change, *, now: int, draw: Draw = os.urandom) -> Rotated:
        """Make the next trust root, with the root keys that are here, and take it if it may.

        Where their signatures are not enough it is left as a proposal, for the holders of the
        others: see :mod:`services.authority.succession`.
        """
        return succession.rotate(self._ledger, change, now=now, draw=draw)

    def sign_root(self, path: Path, *, now: int) -> Rotated:
        """Sign the trust root proposed in the file *path*, and take it once that is enough."""
        return succession.sign(self._ledger, path, now=now)

    def _require_free_name(self, name: str, *, but: str) -> None:
        if any(each.name == name and each.subject != but for each in self.nodes()):
            raise AuthorityError(
                "name_taken",
                f"{name} is the name of another node.",
                f"Choose another; or `fabricctl node replace {name}`, if it has a new key.",
            )

    def _require_own_key(self, draft: NodeRecord) -> None:
        held = self._ledger.held.get(draft.key)
        record = held.record if held else None
        if isinstance(record, NodeRecord) and not record.revoked and record.name != draft.name:
            raise AuthorityError(
                "key_taken",
                f"That is the key of the node {record.name}.",
                "Give each node a key of its own.",
            )
