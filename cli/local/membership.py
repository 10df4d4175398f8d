"""Who belongs to the local fabric and what they may: said by an authority of its own, once.

What was said is not said again: a service that somebody opened to others by ``fabricctl service
add``, or a node that was revoked, stays so when ``up`` runs the next time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from cli.exits import CommandError
from cli.local.fabric import LocalFabric
from cli.local.plan import FIRST_NODE, FLEET, GRANTS, MEMBERS, Papers
from cli.output import here
from fabric.core.identity import node_id_of
from fabric.core.records import Key, NodeRecord, Role, ServiceRecord
from fabric.net.tls import create_key, load_key
from services.authority import Authority, AuthorityError, Folder
from services.authority.keys import active

KEY_FILE = "node.key"

NAME = "local"
"""What the fabric is called in messages of its authority."""


@frozen
class Membership:
    """Where the signed files of the local fabric stand."""

    trust_root: Path
    records: Path
    """The folder of all records."""
    own: Mapping[str, Path]
    """The record of each member, by its name."""

    def papers(self, name: str, folder: Path) -> Papers:
        """What the node *name*, whose files are in *folder*, is given.

        The first node gets all there is, as from an operator who publishes it there. The others
        get what lets them in, and learn the rest.
        """
        records = self.records if name == FIRST_NODE else self.own[name]
        return Papers(
            trust_root=os.path.relpath(self.trust_root, folder),
            records=(os.path.relpath(records, folder),),
        )


def settle_membership(fabric: LocalFabric, *, is_new: bool, now: int) -> Membership:
    """Draw keys and sign records that are missing, and sign anew what is due; return all.

    Only a fabric that *is_new* gets an authority: nodes that follow one would not take another's
    word. Raises :exc:`CommandError`.
    """
    with _refusals():
        if not Folder(fabric.authority).marker.exists():
            _require_new(fabric, is_new=is_new)
            Authority.create(fabric.authority, name=NAME, now=now).close()
        with Authority.open(fabric.authority) as authority:
            own = {node.name: _public_key(fabric, node.name) for node in MEMBERS}
            _require_unrevoked(fabric, authority, own)
            _say_what_is_missing(authority, own, now)
            return Membership(
                trust_root=authority.folder.root_file,
                records=authority.folder.path / "records",
                own={name: authority.file_of(_record_key(key)) for name, key in own.items()},
            )


def _require_new(fabric: LocalFabric, *, is_new: bool) -> None:
    if not is_new:
        raise CommandError(
            "unusable_folder",
            f"{fabric.authority} is gone, and the nodes here follow no other authority.",
            f"Bring it back; or `fabricctl down`, remove {fabric.root}, and `fabricctl up` again.",
        )


def _require_unrevoked(
    fabric: LocalFabric, authority: Authority, own: Mapping[str, bytes]
) -> None:
    said = frozenset(authority.signed_keys())
    for name in (node.name for node in FLEET):
        key = _record_key(own[name])
        if key in said and authority.held(key).record.revoked:
            files = sorted(fabric.folder(name).glob(KEY_FILE + "*"))
            raise CommandError(
                "member_revoked",
                f"{name} was revoked in this fabric: no node lets it in.",
                f"`fabricctl down`, `rm {' '.join(map(here, files))}`, and `fabricctl up` again: "
                f"{name} gets a new key, and a record of it.",
            )


def _say_what_is_missing(authority: Authority, own: Mapping[str, bytes], now: int) -> None:
    said = frozenset(authority.signed_keys())
    for node in MEMBERS:
        if _record_key(own[node.name]) not in said:
            authority.add_node(node.name, own[node.name], node.about, now=now)
    for name, grant in GRANTS.items():
        if Key(ServiceRecord.KIND, name) not in said:
            authority.add_service(name, grant, now=now)
    # Where somebody took the directory's key away, records last as long as they were signed for.
    if authority.keys.present(active(authority.root, Role.DIRECTORY)):
        authority.resign(now=now)


def _record_key(public: bytes) -> Key:
    return Key(NodeRecord.KIND, node_id_of(public))


def _public_key(fabric: LocalFabric, name: str) -> bytes:
    folder = fabric.folder(name)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / KEY_FILE
    key = load_key(path) if path.exists() else create_key(path)
    return key.public


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except AuthorityError as error:
        raise CommandError(error.code, error.message, error.remedy) from error
