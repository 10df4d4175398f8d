"""From one trust root to the next: proposed, signed by those who hold the keys, and taken.

Theory of operation
===================

A root is in force here once it has the signatures that it takes. Until then it lies beside the
others as *proposed*, and there is at most one proposal: two different roots of one version, both
signed, would split the fabric. As a file it travels to whoever holds the other keys, and comes
back.

Before a root is taken, each record that it would leave without a good signature, or outside of
the open epochs, is signed anew: by the keys of the new root *and*, where they are here, by those
of the old. Such a record counts before and after, so it is handed out first, and at no moment is
a node without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from attrs import evolve

from fabric.codes import Code
from fabric.core.envelope import Envelope
from fabric.core.records import Role, TrustRoot, key_id_of
from fabric.net.tls import NodeKey
from services.authority import rotation
from services.authority.folder import decoded, read_envelope, write_envelope
from services.authority.keys import Draw, active, needed, shorts
from services.authority.ledger import Ledger, fits, signed
from services.authority.refusals import AuthorityError
from services.authority.rotation import Change, Rotated


def rotate(ledger: Ledger, change: Change, *, now: int, draw: Draw) -> Rotated:
    """Make the next trust root, sign it with the root keys that are here; take it if it may."""
    proposal = _require_free_version(ledger)
    made = rotation.next_root(ledger.root, _with_drawn(ledger, change, draw), now=now)
    here = rotation.signers(rotation.missing(ledger.root, made, None), ledger.keys)
    return _take(ledger, signed(made, here), made, proposal, now)


def sign(ledger: Ledger, path: Path, *, now: int) -> Rotated:
    """Sign the root proposed in the file *path* with the root keys that are here.

    The file gets the signatures; with the last one that it takes, the root is taken.
    """
    ledger.require_lock()
    envelope = read_envelope(path)
    proposed = decoded(envelope, TrustRoot, where=path)
    if envelope.digest in {each.digest for each, _ in ledger.roots}:
        return Rotated(proposed, ledger.folder.root_version(proposed.version))
    _require_next(ledger, path, proposed)
    own = ledger.folder.proposed(proposed.version)
    if own.exists():
        known = read_envelope(own)
        if known.digest != envelope.digest:
            raise AuthorityError.of(
                Code.ROOT_CONFLICT, f"{path} and {own} propose different roots."
            )
        envelope = rotation.joined(proposed, envelope, known)
    for key in rotation.signers(rotation.missing(ledger.root, proposed, envelope), ledger.keys):
        envelope = envelope.with_signature(key.public, key.sign)
    taken = _take(ledger, envelope, proposed, own, now)
    if path.resolve() != own.resolve():
        write_envelope(path, envelope)
    return taken


def countersign(path: Path, keys: Sequence[NodeKey]) -> tuple[Envelope, TrustRoot]:
    """Sign the root proposed in the file *path* with *keys*, where no authority's folder is."""
    envelope = read_envelope(path)
    proposed = decoded(envelope, TrustRoot, where=path)
    for key in keys:
        if key_id_of(key.public) not in proposed.roles[Role.ROOT].keys:
            raise AuthorityError.of(
                Code.UNKNOWN_SIGNER,
                f"{key.file} ({shorts([key_id_of(key.public)])}) is no root key of {path}.",
                "`fabricctl root show FILE` lists the keys.",
            )
        envelope = envelope.with_signature(key.public, key.sign)
    write_envelope(path, envelope)
    return envelope, proposed


def _take(
    ledger: Ledger, envelope: Envelope, root: TrustRoot, proposal: Path, now: int
) -> Rotated:
    """Take *root*, or leave it as a *proposal* where *envelope* lacks signatures."""
    stranded = [held for held in ledger.standing(now) if not fits(held, root)]
    if stranded:
        needed(root, Role.DIRECTORY, ledger.keys)  # refuse before anything is written
    if lacking := rotation.missing(ledger.root, root, envelope):
        write_envelope(proposal, envelope)
        return Rotated(root, proposal, lacking)
    before = ledger.root
    for held in stranded:
        ledger.again(held, now, under=root)
    path = ledger.take_root(root, envelope)
    proposal.unlink(missing_ok=True)
    keys = [held.record.key for held in stranded]
    return Rotated(
        root,
        path,
        signed_again=tuple(map(ledger.folder.record, keys)),
        records_first=all(fits(ledger.held[key], before) for key in keys),
    )


def _require_next(ledger: Ledger, path: Path, proposed: TrustRoot) -> None:
    if proposed.fabric != ledger.root.fabric:
        raise AuthorityError.of(
            Code.RECORD_OF_ANOTHER_FABRIC, f"{path} is of another fabric than {ledger.name}."
        )
    if proposed.version != ledger.root.version + 1:
        raise AuthorityError.of(
            Code.ROOT_NOT_CONSECUTIVE,
            f"{path} proposes version {proposed.version}; {ledger.root.version} is in force.",
        )


def _require_free_version(ledger: Ledger) -> Path:
    """Where the next root is proposed. Refuses where one is, or where nobody could sign."""
    ledger.require_lock()
    version = ledger.root.version + 1
    proposal = ledger.folder.proposed(version)
    if proposal.exists():
        raise AuthorityError.of(
            Code.ROOT_CONFLICT,
            f"{proposal} proposes version {version} already.",
            "Have it signed (`fabricctl root sign`); remove it only if nobody else has it.",
        )
    ids = active(ledger.root, Role.ROOT)
    if not ledger.keys.present(ids):
        raise AuthorityError.of(
            Code.NOT_AN_AUTHORITY,
            f"None of the root keys ({shorts(ids)}) is in {ledger.keys.folder}; a new trust root "
            f"takes {ledger.root.roles[Role.ROOT].threshold} of them.",
            "Bring at least one there: other holders can sign what it proposes.",
        )
    return proposal


def _with_drawn(ledger: Ledger, change: Change, draw: Draw) -> Change:
    """*change* with a key wherever one is to be drawn: an unused one, or else a new one."""
    added: list[tuple[Role, bytes | None]] = []
    for role, given in change.add:
        taken = {key for _, key in added}
        left = [key for key in ledger.keys.unnamed(role, ledger.root) if key.public not in taken]
        if given is None and not left:
            left = [ledger.keys.draw(ledger.keys.next_name(role, ledger.root), draw)]
        added.append((role, given or left[0].public))
    return evolve(change, add=tuple(added))
