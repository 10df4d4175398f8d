"""``fabricctl root … | directory resign | rekey``: the keys that sign, and signing anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import cyclopts
from cyclopts import Parameter, validators
from rich.console import Group
from rich.table import Table

from cli.ctl.holding import (
    Dir,
    key_bytes,
    lines,
    open_authority,
    pair,
    publish_lines,
    refusals,
    tell_signed,
)
from cli.ctl.holding import now as this_moment
from cli.exit_codes import Exit
from cli.exits import Json, UsageError
from cli.output import here, show
from cli.tables import columns
from cli.units import UNKNOWN, date
from fabric.core.records import KeyId, Role, TrustRoot
from services.authority import Authority, Change, Rotated
from services.authority.folder import decoded, read_envelope
from services.authority.keys import SHORT, KeyRing, active, read_key
from services.authority.succession import countersign

root = cyclopts.App(name="root", help="See and change which keys may sign what.")

Several = Annotated[tuple[str, ...], Parameter(negative="")]
Epoch = Annotated[int, Parameter(validator=validators.Number(gte=0, lt=2**31))]


# -- the trust root --
@root.command(name="show")
def show_root(
    file: Path | None = None,
    /,
    *,
    all_versions: Annotated[bool, Parameter(name="--all")] = False,
    folder: Dir = None,
    json: bool = False,
) -> int:
    """Show the trust root in force, or the one in FILE: its keys by role, and thresholds.

    Parameters
    ----------
    all_versions:
        Name the files of every version, the oldest first: what a node far behind has to be given.
    folder:
        The authority's folder; else $FABRIC_DIR, else the working folder.
    """
    if file is not None:
        with refusals():
            shown = decoded(read_envelope(file), TrustRoot, where=file)
        show(_root_document(shown, None), _root_text(shown, None), json=json)
        return Exit.YES
    with open_authority(folder, to_change=False) as authority:
        document = {"name": authority.name, **_root_document(authority.root, authority.keys)}
        text = _root_text(authority.root, authority.keys)
        if all_versions:
            versions = [str(path) for path in authority.root_files()]
            document["versions"] = versions
            text = Group(text, lines("", *(f"  {here(Path(path))}" for path in versions)))
        show(document, text, json=json)
    return Exit.YES


@root.command
def rotate(
    *,
    add_key: Several = (),
    retire: Several = (),
    compromise: Several = (),
    threshold: Several = (),
    epoch: Epoch | None = None,
    first_epoch: Epoch | None = None,
    folder: Dir = None,
    json: bool = False,
) -> int:
    """Make the next version of the trust root; without an option, it renews its dates.

    KEY is a key's id, its beginning, or the name of its file (directory-1). Where the root keys
    that are here are not enough, the version is proposed, to be signed by their holders.

    Parameters
    ----------
    add_key:
        ROLE draws a key for it here; ROLE:PUBLIC_KEY takes one that was drawn elsewhere. May be
        given several times, as the next three.
    retire:
        KEY: what it signed counts until it expires; nothing new of it does.
    compromise:
        KEY: nothing that it signed counts any more.
    threshold:
        ROLE=N: how many keys that role takes.
    epoch:
        The last epoch that the directory may sign in, and does from now on: after a restored
        backup, one more than before.
    first_epoch:
        The first epoch that still counts.
    folder:
        The authority's folder; else $FABRIC_DIR, else the working folder.
    """
    added = tuple(_added(one) for one in add_key)
    thresholds = dict(_threshold(one) for one in threshold)
    with open_authority(folder) as authority:
        change = Change(
            add=added,
            retire=tuple(_key(authority, one) for one in retire),
            compromise=tuple(_key(authority, one) for one in compromise),
            thresholds=thresholds,
            epoch=epoch,
            first_epoch=first_epoch,
        )
        _tell_rotated(authority, authority.rotate_root(change, now=this_moment()), json=json)
    return Exit.YES


@root.command(name="sign")
def sign_root(
    file: Path,
    /,
    *,
    key: Annotated[tuple[Path, ...], Parameter(negative="")] = (),
    folder: Dir = None,
    json: bool = False,
) -> int:
    """Sign the trust root proposed in FILE: with the root keys in the folder, or with --key.

    In the authority's folder, a root that has all the signatures that it takes is in force from
    then on. See first what it says: `fabricctl root show FILE`.

    Parameters
    ----------
    key:
        A root key's file, where the authority's folder is not at hand; may be given several times.
    folder:
        The authority's folder; else $FABRIC_DIR, else the working folder.
    """
    if not key:
        with open_authority(folder) as authority:
            _tell_rotated(authority, authority.sign_root(file, now=this_moment()), json=json)
        return Exit.YES
    with refusals():
        envelope, proposed = countersign(file, [read_key(path) for path in key])
    signed = [each.key_id for each in envelope.signatures]
    document = {"file": str(file), "version": proposed.version, "signed_by": signed}
    text = lines(
        f"version {proposed.version} in {here(file)} is signed by "
        f"{', '.join(each[:SHORT] for each in signed)}",
        "Take the file back to the authority's folder: fabricctl root sign FILE",
    )
    show(document, text, json=json)
    return Exit.YES


# -- signing anew --
def resign(
    *,
    due: bool = False,
    all_records: Annotated[bool, Parameter(name="--all")] = False,
    folder: Dir = None,
    json: bool = False,
) -> int:
    """Sign anew the records that have lived half their life, or that no key vouches for any more.

    Parameters
    ----------
    due:
        Those alone, as without an option.
    all_records:
        Every record that is not revoked.
    folder:
        The authority's folder; else $FABRIC_DIR, else the working folder.
    """
    if due and all_records:
        raise UsageError("due_and_all", "--due and --all exclude each other.", "Give one.")
    with open_authority(folder) as authority:
        before = frozenset(authority.records())
        made = authority.resign(now=this_moment(), all_of_them=all_records)
        headline = f"{len(made)} of {len(before)} records of {authority.name} signed anew"
        tell_signed(authority, made, headline, before=before, json=json)
    return Exit.YES


def rekey(
    key: str = "", /, *, compromised: bool = False, folder: Dir = None, json: bool = False
) -> int:
    """Put a new directory key in the place of KEY, or of the only one.

    Every record that would lose its signature is signed by both keys first, so that it counts
    before and after; publish these before the new trust root.

    Parameters
    ----------
    compromised:
        The old key may be in other hands: nothing that it signed alone counts any more.
    folder:
        The authority's folder; else $FABRIC_DIR, else the working folder.
    """
    with open_authority(folder) as authority:
        old = _key(authority, key) if key else None
        done = authority.rekey(now=this_moment(), key=old, compromised=compromised)
        _tell_rotated(authority, done, json=json)
    return Exit.YES


def _key(authority: Authority, told: str) -> KeyId:
    return authority.keys.find(told, authority.root)


def _role(told: str) -> Role:
    try:
        return Role(told)
    except ValueError as error:
        raise UsageError(
            "not_a_role", f"{told!r} is no role of keys.", f"Write one of {', '.join(Role)}."
        ) from error


def _added(told: str) -> tuple[Role, bytes | None]:
    role, colon, key = told.partition(":")
    return _role(role), key_bytes(key) if colon else None


def _threshold(told: str) -> tuple[Role, int]:
    role, count = pair(told, "=", "ROLE=N")
    if not count.isdecimal():
        raise UsageError("not_a_number", f"{count!r} is no number.", "Write ROLE=N.")
    return _role(role), int(count)


def _tell_rotated(authority: Authority, done: Rotated, *, json: bool) -> None:
    document = {
        "version": done.root.version,
        "in_force": not done.missing,
        "file": str(done.file),
        "missing": [
            {"of_version": one.version, "count": one.count, "keys": list(one.keys)}
            for one in done.missing
        ],
        "signed_anew": [str(path) for path in done.signed_again],
        "publish": [str(path) for path in done.to_publish],
    }
    show(document, lines(*_rotated_lines(authority, done)), json=json)


def _rotated_lines(authority: Authority, done: Rotated) -> list[str]:
    if done.missing:
        return [
            f"version {done.root.version} of the trust root of {authority.name} is proposed, in",
            f"  {here(done.file)}",
            "and lacks signatures by",
            *(f"  {one}" for one in done.missing),
            "Have the holders sign a copy of it, then sign it here again:",
            "  fabricctl root sign FILE --key KEY_FILE",
            "  fabricctl root sign FILE",
        ]
    again = len(done.signed_again)
    return [
        f"version {done.root.version} of the trust root of {authority.name} is in force",
        f"  {here(done.file)}",
        *([f"  {again} records were signed anew for it"] if again else []),
        *_publish_in_order(done),
    ]


def _publish_in_order(done: Rotated) -> list[str]:
    """The root and the records apart, for one of them has to be heard first."""
    if not done.signed_again:
        return publish_lines([done.file])
    root, records = publish_lines([done.file]), publish_lines(done.signed_again)
    first, second = (records, root) if done.records_first else (root, records)
    return [*first, *(f"then {line}" for line in second)]


def _root_document(shown: TrustRoot, ring: KeyRing | None) -> Json:
    return {
        "fabric_id": shown.fabric.hex(),
        "version": shown.version,
        "issued_at": shown.issued_at,
        "expires_at": shown.expires_at,
        "first_epoch": shown.first_epoch,
        "last_epoch": shown.last_epoch,
        "roles": {
            role: {
                "threshold": held.threshold,
                "keys": [
                    {
                        "id": each,
                        "public_key": shown.keys[each].key.hex(),
                        "state": str(shown.keys[each].state),
                        "file": ring.name_of(each) if ring else "",
                    }
                    for each in held.keys
                ],
            }
            for role, held in sorted(shown.roles.items())
        },
    }


def _root_text(shown: TrustRoot, ring: KeyRing | None) -> Group:
    epochs = str(shown.last_epoch)
    if shown.first_epoch != shown.last_epoch:
        epochs = f"{shown.first_epoch} to {shown.last_epoch}"
    head = lines(
        f"trust root of {shown.fabric.hex()}, version {shown.version}, epoch {epochs}",
        f"signed {date(shown.issued_at)}, until {date(shown.expires_at)} UTC",
        "",
    )
    return Group(head, _keys_table(shown, ring))


def _keys_table(shown: TrustRoot, ring: KeyRing | None) -> Table:
    grid = columns("role", "takes", "key", "state", "file")
    known = [role for role in Role if role in shown.roles]
    for role in (*known, *sorted(set(shown.roles) - set(known))):
        held = shown.roles[role]
        takes = f"{held.threshold} of {len(active(shown, role))}"
        ids = sorted(held.keys, key=lambda each: (_file(ring, each), each))
        for number, each in enumerate(ids):
            first = number == 0
            grid.add_row(
                role if first else "",
                takes if first else "",
                each[:SHORT],
                str(shown.keys[each].state),
                _file(ring, each) or UNKNOWN,
            )
    return grid


def _file(ring: KeyRing | None, key_id: str) -> str:
    return ring.name_of(key_id) if ring else ""
