"""``fabricctl record show | verify | publish``: signed records as files."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import cyclopts
from cyclopts import Parameter

from cli.client import AdminClient, AdminRefusedError
from cli.ctl.asking import ASKED, admin_at
from cli.ctl.holding import Dir, lines, now, open_authority, refusals
from cli.exit_codes import Exit
from cli.exits import Json, UsageError
from cli.output import here, show
from cli.units import date
from fabric.core.envelope import Envelope
from fabric.core.records import Key, Record
from services.authority.checking import Checker, Finding
from services.authority.folder import decoded, read_envelope
from services.authority.keys import SHORT

record = cyclopts.App(name="record", help="See, check and hand out signed records.")


@record.command(name="show")
def show_record(what: str, /, *, folder: Dir = None, json: bool = False) -> int:
    """Show what a record says, and whose signatures it bears: WHAT is a file, or KIND/SUBJECT.

    Nothing is checked: that is what `record verify` does.

    Parameters
    ----------
    folder:
        The authority's folder; else $FABRIC_DIR, else the working folder.
    """
    path = _file(what, folder)
    with refusals():
        envelope = read_envelope(path)
        shown = decoded(envelope, Record, where=path)
    document = {"file": str(path), **_document(envelope, shown)}
    end = f"Nothing of it was checked: fabricctl record verify {here(path)}"
    show(document, lines(*_told(envelope, shown), end), json=json)
    return Exit.YES


@record.command
def verify(
    files: Annotated[tuple[Path, ...], Parameter(name="FILE", negative="")] = (),
    /,
    *,
    root: Annotated[tuple[Path, ...], Parameter(negative="")] = (),
    folder: Dir = None,
    json: bool = False,
) -> int:
    """Check whether each FILE counts, in this order; without one, all that is in the folder.

    Exits 1 if one does not. What a node says about itself is checked with that node's record,
    which has to be in the folder, or named before it.

    Parameters
    ----------
    root:
        A trust root to go by; may be given several times, the oldest first. The first is believed.
        Without it, those in the authority's folder.
    folder:
        The authority's folder; else $FABRIC_DIR, else the working folder.
    """
    checker, moment = Checker(), now()
    by = [(path, checker.check(_read(path), now=moment)) for path in root or _all(folder)]
    asked = [(path, checker.check(_read(path), now=moment)) for path in files]
    broken = [one for one in by if one[1].code is not None and one[0] in root]
    found = [*broken, *asked] if files else by
    show(
        {"records": [_finding_document(path, one) for path, one in found]},
        lines(*(_finding_line(path, one) for path, one in found)),
        json=json,
    )
    return Exit.NO if any(one.code is not None for _, one in found) else Exit.YES


def _read(path: Path) -> Envelope:
    with refusals():
        return read_envelope(path)


def _finding_document(path: Path, found: Finding) -> Json:
    return {
        "file": str(path),
        "key": str(found.record.key) if found.record else None,
        "good": found.code is None,
        "code": found.code.label if found.code is not None else None,
        "detail": found.detail,
    }


def _finding_line(path: Path, found: Finding) -> str:
    if found.code is None:
        revoked = ", a tombstone" if found.record and found.record.revoked else ""
        return f"{here(path)}  good{revoked}"
    detail = f" ({found.detail})" if found.detail else ""
    told = f"{here(path)}  {found.code.label}: {found.code.sentence}{detail}"
    return f"{told}\n  remedy: {found.code.remedy}"


@record.command
async def publish(
    files: Annotated[tuple[Path, ...], Parameter(name="FILE", negative="")] = (),
    /,
    *,
    all_of_them: Annotated[bool, Parameter(name="--all")] = False,
    node: Annotated[str, Parameter(name=("--node", "--to"), env_var="FABRIC_NODE")] = ASKED,
    socket: Path | None = None,
    folder: Dir = None,
    json: bool = False,
) -> int:
    """Hand each FILE to a node, in this order, which spreads it. Exits 1 if it refuses one.

    Parameters
    ----------
    all_of_them:
        Every version of the trust root, then every record in the authority's folder.
    node:
        A node of the local fabric.
    socket:
        The admin socket of any node on this machine, instead of --node.
    folder:
        The authority's folder; else $FABRIC_DIR, else the working folder.
    """
    wanted = [*_all(folder), *files] if all_of_them else list(files)
    if not wanted:
        raise UsageError("nothing_to_publish", "No file is named.", "Name files, or give --all.")
    documents = [
        (path, _readable(path)) for path in wanted
    ]  # all, before the first is handed over
    admin = admin_at(node, socket)
    answers = [await _hand_over(admin, path, document) for path, document in documents]
    told = [_answer_line(path, answer) for path, answer in zip(wanted, answers, strict=True)]
    show({"node": admin.name, "records": answers}, lines(*told), json=json)
    return Exit.NO if any("error" in answer for answer in answers) else Exit.YES


def _all(folder: Path | None) -> Sequence[Path]:
    with open_authority(folder, to_change=False) as authority:
        return authority.files()


def _readable(path: Path) -> Json:
    with refusals():
        read_envelope(path)
        document: Json = jsonlib.loads(path.read_text())
    return document


async def _hand_over(admin: AdminClient, path: Path, document: Json) -> Json:
    """What the node answers. A refusal is an answer too: the files after it may be taken."""
    try:
        return {"file": str(path), "answer": await admin.publish(document)}
    except AdminRefusedError as error:
        return {"file": str(path), **error.document()}


def _answer_line(path: Path, answer: Json) -> str:
    if error := answer.get("error"):
        return f"{here(path)}  {error['code']}: {error['message']}\n  remedy: {error['remedy']}"
    return f"{here(path)}  {_OUTCOMES.get(answer['answer'].get('outcome'), 'taken')}"


_OUTCOMES = {"held": "held already"}
"""What is said of a record that did not have to be taken."""


def _file(what: str, folder: Path | None) -> Path:
    path = Path(what)
    if path.exists():
        return path
    try:
        key = Key.parse(what)
    except ValueError as error:
        raise UsageError(
            "no_such_file", f"{what!r} is neither a file nor a key.", "Write FILE or KIND/SUBJECT."
        ) from error
    with open_authority(folder, to_change=False) as authority:
        authority.held(key)
        return authority.file_of(key)


def _document(envelope: Envelope, shown: Record) -> Json:
    return {
        "key": str(shown.key),
        "order": list(shown.order),
        "digest": envelope.digest.hex(),
        "signed_by": [each.key_id for each in envelope.signatures],
        "says": jsonlib.loads(envelope.payload),
    }


def _told(envelope: Envelope, shown: Record) -> list[str]:
    epoch, number = shown.order
    ended = ", revoked" if shown.revoked else ""
    signers = ", ".join(each.key_id[:SHORT] for each in envelope.signatures)
    says = jsonlib.dumps(jsonlib.loads(envelope.payload), indent=2)
    return [
        f"{shown.key}, order {epoch}.{number}{ended}",
        f"signed {date(shown.issued_at)}, until {date(shown.expires_at)} UTC, by {signers}",
        *says.splitlines(),
    ]
