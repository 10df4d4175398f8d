"""Signed records as files: what an operator hands to a node, one DSSE envelope in each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from fabric.core.codec import decode_record, envelope_from_json
from fabric.core.envelope import Envelope
from fabric.core.records import TrustRoot
from fabric.errors import ConfigError, RecordError

MOST_FILE_BYTES: Final = 128 << 10
"""An envelope's 64 KiB in base64, its signatures, and room for how people lay it out."""

MOST_FILES: Final = 20_000
"""In one folder; a slip of the path shall not read a disk."""


def load_envelope(path: Path) -> Envelope:
    """Read one file. Raises :exc:`ConfigError` that names it; nothing is verified."""
    try:
        with path.open("rb") as file:
            text = file.read(MOST_FILE_BYTES + 1)
        if len(text) > MOST_FILE_BYTES:
            raise ConfigError([f"{path}: is too large for a record; name the file of one"])
        return envelope_from_json(text.decode())
    except FileNotFoundError:
        mistake = "there is no such file; copy it from the folder that `fabricctl init` made"
    except OSError as error:
        mistake = f"cannot be read ({error.strerror}); name a file that this user can read"
    except (UnicodeDecodeError, RecordError) as error:
        mistake = f"is no signed record ({error}); copy it once more"
    raise ConfigError([f"{path}: {mistake}"])


def load_trust_root(path: Path) -> Envelope:
    """Read the trust root that an operator chose. Raises :exc:`ConfigError`.

    It is believed for being there, so only its kind is looked at here.
    """
    envelope = load_envelope(path)
    try:
        record = decode_record(envelope.payload)
    except RecordError as error:
        raise ConfigError([f"{path}: is no trust root ({error}); copy it once more"]) from error
    if not isinstance(record, TrustRoot):
        raise ConfigError([f"{path}: is a {record.key}, not a trust root; name root.json"])
    return envelope


def load_records(places: Iterable[Path]) -> list[Envelope]:
    """Read files, and folders with everything below them that ends in ``.json``.

    Raises :exc:`ConfigError` with the mistakes of all of them.
    """
    mistakes: list[str] = []
    envelopes: list[Envelope] = []
    for path in _files(places, mistakes):
        try:
            envelopes.append(load_envelope(path))
        except ConfigError as error:
            mistakes += error.mistakes
    if mistakes:
        raise ConfigError(mistakes)
    return envelopes


def _files(places: Iterable[Path], mistakes: list[str]) -> Iterator[Path]:
    for place in places:
        if not place.is_dir():
            yield place
            continue
        found = sorted(place.rglob("*.json"))
        if len(found) > MOST_FILES:
            mistakes.append(f"{place}: holds {len(found)} files; {MOST_FILES} are the most")
            continue
        yield from found
