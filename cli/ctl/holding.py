"""The authority that a command works with: which folder, how it refuses, what it says it wrote."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.text import Text

from cli.exits import CommandError, Json, UsageError
from cli.local.fabric import AUTHORITY, FOLDER
from cli.output import here, show
from cli.units import date
from fabric.core.envelope import Envelope
from fabric.core.records import Authored, Key
from services.authority import Authority, AuthorityError, Folder

Dir = Annotated[Path | None, Parameter(name="--dir")]
"""The authority's folder; without it $FABRIC_DIR, the working folder, or the local fabric's."""

WIDE = 80
"""Characters of a line; a longer one is broken where what is copied stays whole."""

SHOWN = 12
"""Files that a person is told one by one; more are a number, and whole only with --json."""


def authority_folder(told: Path | None) -> Path:
    """The folder that is meant, whether or not an authority is there."""
    if told is not None:
        return told
    if named := os.environ.get("FABRIC_DIR"):
        candidates = [Path(named), Path(named) / AUTHORITY]
    else:
        here = Path.cwd()
        local = (above / FOLDER / AUTHORITY for above in (here, *here.parents))
        candidates = [Path(), *local]
    return next((path for path in candidates if Folder(path).marker.exists()), candidates[0])


@contextmanager
def open_authority(told: Path | None, *, to_change: bool = True) -> Iterator[Authority]:
    """The open authority; whatever it refuses in the block ends the command."""
    with refusals(), Authority.open(authority_folder(told), to_change=to_change) as authority:
        yield authority


@contextmanager
def refusals() -> Iterator[None]:
    """What an authority or the disk refuses in the block, as the answer of a command."""
    try:
        yield
    except AuthorityError as error:
        raise CommandError(error.code, error.message, error.remedy) from error
    except OSError as error:
        raise CommandError(
            "disk_failed",
            f"{error.filename or 'A file'}: {error.strerror or error}.",
            "See who owns the folder, and whether its disk has room.",
        ) from error


def key_bytes(text: str) -> bytes:
    """The public key that *text* spells."""
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise UsageError(
            "not_a_key",
            f"{text!r} is not a public key.",
            "Write 64 hexadecimal digits: `fabricd --check-config` says those of a node.",
        )
    return key


def pair(text: str, separator: str, what: str) -> tuple[str, str]:
    """Both sides of *text*; *what* is how to write it."""
    left, found, right = text.partition(separator)
    if not (left and found):
        raise UsageError("not_a_pair", f"{text!r} cannot be meant.", f"Write {what}.")
    return left, right


def pairs(told: Iterable[str], separator: str, what: str) -> dict[str, str]:
    """*told* as a mapping; a key that is given twice is refused."""
    found: dict[str, str] = {}
    for one in told:
        left, right = pair(one, separator, what)
        if found.setdefault(left, right) != right:
            raise UsageError(
                "given_twice",
                f"{left!r} is given twice, as {found[left]!r} and as {right!r}.",
                "Leave one of them out.",
            )
    return found


def now() -> int:
    """Unix seconds, whole: what records count in."""
    return int(datetime.now(UTC).timestamp())


def lines(*parts: str) -> Text:
    """Lines as they are: a path or a command that is broken in two cannot be copied."""
    return Text("\n".join(parts), no_wrap=True, overflow="ignore")


def summary(record: Authored) -> str:
    """A record's number and end, in words."""
    epoch = f"epoch {record.epoch}, " if record.epoch else ""
    what = "ended" if record.revoked else "until"
    until = "; its tombstone is kept until" if record.revoked else ""
    return f"{epoch}generation {record.generation}, {what}{until} {date(record.expires_at)}"


def record_document(authority: Authority, key: Key) -> Json:
    """What the authority holds at *key*, as data."""
    record = authority.held(key).record
    return {
        "key": str(key),
        "epoch": record.epoch,
        "generation": record.generation,
        "issued_at": record.issued_at,
        "expires_at": record.expires_at,
        "revoked": record.revoked,
        "file": str(authority.file_of(key)),
    }


def tell_signed(
    authority: Authority,
    envelopes: Iterable[Envelope],
    headline: str,
    *,
    before: frozenset[Envelope],
    json: bool,
    more: Sequence[str] = (),
    extra: Json | None = None,
) -> None:
    """Tell which records stand now, which of them are new since *before*, and what to do next."""
    wanted = set(envelopes)
    keys = [key for key in authority.signed_keys() if authority.held(key).envelope in wanted]
    new = [key for key in keys if authority.held(key).envelope not in before]
    files = [authority.file_of(key) for key in new]
    document = {
        **(extra or {}),
        "records": [record_document(authority, key) for key in keys],
        "wrote": [str(path) for path in files],
        "publish": [str(path) for path in files],
    }
    told = [line for key in keys[:SHOWN] for line in _told(authority, key)]
    if len(keys) > SHOWN:
        told.append(f"  and {len(keys) - SHOWN} more")
    end = publish_lines(files) if new else ["Nothing had to be signed."]
    show(document, lines(headline, *told, *more, *end), json=json)


def publish_lines(files: Sequence[Path]) -> list[str]:
    """How nodes get to hear of *files*."""
    if not files:
        return []
    many = len(files) > SHOWN
    what = "--all" if many else " ".join(here(path) for path in files)
    headline = f"publish {'it' if len(files) == 1 else 'them'}:"
    command = "fabricctl record publish"
    line = f"{headline} {command} {what}"
    if len(line) <= WIDE:
        return [line]
    return [headline, *typed(command, what.split())]


def typed(command: str, words: Sequence[str]) -> list[str]:
    """*command* with *words*, one a line, as a shell takes it."""
    return [f"  {command} \\", *(f"    {word} \\" for word in words[:-1]), f"    {words[-1]}"]


def _told(authority: Authority, key: Key) -> list[str]:
    file, told = here(authority.file_of(key)), summary(authority.held(key).record)
    line = f"  {file}  {told}"
    return [line] if len(line) <= WIDE else [f"  {file}", f"    {told}"]
