"""Signed records as files: what an operator hands to a node, one DSSE envelope in each.

What can be told from the files alone is told here, each slip with its file and a remedy. Whether
a record *counts* is not: that depends on the trust root in use and on the time, and is judged as
if a peer had brought it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NoReturn

from fabric.codes import Code
from fabric.core.codec.envelopes import MOST_JSON, envelope_from_json
from fabric.core.codec.records import decode_record
from fabric.core.envelope import Envelope
from fabric.core.records import Record, TrustRoot
from fabric.core.roots import Roots
from fabric.errors import ConfigError, RecordError

MOST_FILES: Final = 20_000
"""In one folder, whatever they are: a slip of the path shall not walk a disk. Twice the largest
directory that nodes are measured with."""

SUFFIX: Final = ".json"

_SOURCE = "the folder that `fabricctl init` made"
_COPY = f"copy it once more from {_SOURCE}"


def load_envelope(path: Path) -> Envelope:
    """Read one file. Raises :exc:`ConfigError` with one mistake, which names it.

    Nothing is verified, and what is signed is not looked at.
    """
    try:
        return envelope_from_json(_text(path))
    except FileNotFoundError:
        _refuse(path, "there is no such file", f"copy it from {_SOURCE}")
    except OSError as error:
        _refuse(path, f"cannot be read ({error.strerror})", "name a file that this user can read")
    except (UnicodeDecodeError, RecordError) as error:
        _refuse(path, f"is no signed record ({error})", _COPY)


def load_trust_root(path: Path) -> Envelope:
    """Read the trust root that an operator chose. Raises :exc:`ConfigError` with one mistake.

    It is believed for being there. That enough of its own root keys have signed it tells a root
    from one that is only proposed, or was spoilt on its way.
    """
    envelope = load_envelope(path)
    record = _record(path, envelope)
    if not isinstance(record, TrustRoot):
        if record.key.kind == TrustRoot.KIND:
            _refuse(path, "is a trust root of a later release", "update this node")
        _refuse(path, f"holds {record.key}, which is no trust root", "name the fabric's root.json")
    try:
        Roots(record.fabric, envelope)
    except RecordError as error:
        if error.code is Code.THRESHOLD_NOT_MET:
            _refuse(
                path,
                "is not signed by enough of its own root keys",
                "name root.json; for what is only proposed there is `fabricctl root sign`",
            )
        _refuse(path, f"is no trust root ({error})", _COPY)
    return envelope


def load_records(places: Iterable[Path], *, fabric: bytes | None = None) -> list[Envelope]:
    """Read files, and folders: everything below them whose name ends in ``.json``.

    Raises :exc:`ConfigError` with the mistakes of all of them, among which are the records of
    another fabric than *fabric*, where that is given.
    """
    mistakes: list[str] = []
    envelopes: list[Envelope] = []
    for place in places:
        try:
            for path in _files(place):
                _take(path, fabric, envelopes, mistakes)
        except ConfigError as error:
            mistakes += error.mistakes
    if mistakes:
        raise ConfigError(mistakes)
    return envelopes


def _take(
    path: Path, fabric: bytes | None, envelopes: list[Envelope], mistakes: list[str]
) -> None:
    try:
        envelope = load_envelope(path)
        record = _record(path, envelope)
        if fabric not in (None, record.fabric):
            _refuse(path, f"{record.key} is of another fabric", "name the records of this one")
        envelopes.append(envelope)
    except ConfigError as error:
        mistakes += error.mistakes


def _record(path: Path, envelope: Envelope) -> Record:
    try:
        return decode_record(envelope.payload)
    except RecordError as error:
        _refuse(path, f"is no signed record ({error})", _COPY)


def _files(place: Path) -> Iterator[Path]:
    """Yield *place*, or what the folder *place* holds, sorted so that mistakes are."""
    return iter(sorted(_below(place))) if os.path.isdir(place) else iter([place])


def _below(folder: Path) -> Iterator[Path]:
    count = 0
    for parent, folders, files in os.walk(folder, onerror=_unreadable):
        count += len(folders) + len(files)
        if count > MOST_FILES:
            _refuse(folder, f"holds over {MOST_FILES} files", "name the folder of the records")
        yield from (Path(parent, name) for name in files if name.endswith(SUFFIX))


def _unreadable(error: OSError) -> NoReturn:
    remedy = "let this user list it, or name single files"
    _refuse(Path(error.filename), f"cannot be listed ({error.strerror})", remedy)


def _text(path: Path) -> str:
    # as for a key: what was opened is checked, and a FIFO in its place must not hang a start
    with open(path, "rb", opener=_open_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            _refuse(path, "is not a regular file", "name the file that holds the record")
        octets = file.read(MOST_JSON + 1)
    if len(octets) > MOST_JSON:
        _refuse(path, "is too large for a signed record", "name the file of one")
    return octets.decode()


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _refuse(path: Path, what: str, remedy: str) -> NoReturn:
    raise ConfigError([f"{path}: {what}; {remedy}"])
