"""An authority's folder on disk: what stands where, each file whole or not at all, one at a time.

::

    DIR/
      authority.toml           the fabric's name and id; written last, so it says that all is there
      lock                     held by the one command that changes anything
      root.json                the newest trust root: what nodes are given
      roots/0001.json          every version of it; roots/0002.proposed.json lacks signatures
      keys/ROLE-N.key          the keys, 0600; any of them may be kept elsewhere
      nodes/NAME.key           keys drawn for nodes, until they are taken to them
      records/KIND/SUBJECT.json  the newest record of each key, signed
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import tomli_w
from attrs import frozen

from fabric import durable
from fabric.codes import Code
from fabric.core.codec.envelopes import envelope_from_json, envelope_to_json
from fabric.core.codec.records import decode_record
from fabric.core.envelope import Envelope
from fabric.core.records import Authored, Key, Record, TrustRoot
from fabric.errors import RecordError
from services.authority.refusals import AuthorityError

LAYOUT: Final = 1
"""Raised when the folder of an older release can no longer be used as it stands."""

LOCK_WITHIN: Final = 10.0
"""Seconds that a command waits for another; signing ten thousand records anew takes longer, and
then it is better to be told so."""

LOCK_EVERY: Final = 0.02

PUBLIC: Final = 0o644
"""Mode of what is signed: it is there to be handed out, in a folder that only its owner enters."""

R = TypeVar("R", bound=Record)


@frozen
class Held:
    """A record and the envelope that it came from."""

    record: Authored
    envelope: Envelope


@frozen
class Folder:
    """Where everything of one authority stands. Paths, and files read and written whole."""

    path: Path

    @property
    def marker(self) -> Path:
        return self.path / "authority.toml"

    @property
    def root_file(self) -> Path:
        return self.path / "root.json"

    @property
    def keys(self) -> Path:
        return self.path / "keys"

    @property
    def nodes(self) -> Path:
        return self.path / "nodes"

    def node_key(self, name: str, number: int) -> Path:
        """The file of the *number*-th key drawn for node *name*; no name has a tilde."""
        return self.nodes / (f"{name}.key" if number == 1 else f"{name}~{number}.key")

    def root_version(self, version: int) -> Path:
        return self.path / "roots" / f"{version:04d}.json"

    def proposed(self, version: int) -> Path:
        return self.path / "roots" / f"{version:04d}.proposed.json"

    def record(self, key: Key) -> Path:
        return self.path / "records" / key.kind / f"{key.subject}.json"

    # -- reading --
    def name(self) -> str:
        """The fabric's name. Raises :exc:`AuthorityError` where no authority is."""
        try:
            told = tomllib.loads(self.marker.read_text())
            layout, name = told["layout"], str(told["name"])
        except FileNotFoundError:
            raise AuthorityError.of(
                Code.NOT_AN_AUTHORITY,
                f"{self.path} is not a folder that `fabricctl init` made.",
                "Name it by --dir or $FABRIC_DIR; `fabricctl init DIR` makes one.",
            ) from None
        except (tomllib.TOMLDecodeError, KeyError, UnicodeDecodeError) as error:
            raise _spoilt(self.marker, str(error)) from error
        if layout != LAYOUT:
            raise _spoilt(self.marker, f"layout {layout} is of another release")
        return name

    def roots(self) -> list[tuple[Envelope, TrustRoot]]:
        """Every version of the trust root, the oldest first."""
        found = []
        for path in sorted((self.path / "roots").glob("[0-9]*[0-9].json")):
            envelope, root = self._load(path, TrustRoot)
            if path != self.root_version(root.version):
                raise _spoilt(path, f"it holds version {root.version}")
            found.append((envelope, root))
        if not found:
            raise _spoilt(self.path / "roots", "there is no trust root in it")
        return found

    def records(self) -> Iterator[Held]:
        """The newest record of every key, by kind and subject."""
        for path in sorted((self.path / "records").glob("*/*.json")):
            envelope, record = self._load(path, Authored)
            if path != self.record(record.key):
                raise _spoilt(path, f"it holds {record.key}")
            yield Held(record, envelope)

    def _load(self, path: Path, kind: type[R]) -> tuple[Envelope, R]:
        try:
            envelope = read_envelope(path)
            return envelope, decoded(envelope, kind, where=path)
        except AuthorityError as error:
            raise _spoilt(path, error.message) from error

    # -- writing --
    def write_marker(self, name: str, fabric_id: bytes) -> None:
        told = {"layout": LAYOUT, "name": name, "fabric_id": fabric_id.hex()}
        durable.create_file(self.marker, tomli_w.dumps(told).encode())

    @contextmanager
    def making(self) -> Iterator[None]:
        """Make the folder in the block: refused where something stands, undone if it fails."""
        self._require_empty()
        made = not self.path.exists()
        durable.own_folder(self.path)
        lock = self.lock()
        try:
            self._require_empty()  # another `init` may have been faster
            with self._undone(whole=made):
                self.path.chmod(0o700)
                for name in ("keys", "nodes", "records", "roots"):
                    durable.own_folder(self.path / name)
                yield
        finally:
            os.close(lock)

    def lock(self) -> int:
        """Take the folder's lock; closing the descriptor gives it back."""
        until = time.monotonic() + LOCK_WITHIN
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() < until:
                    time.sleep(LOCK_EVERY)
                    continue
                os.close(descriptor)
                raise AuthorityError(
                    "folder_busy",
                    f"Another command has been at work in {self.path} for {LOCK_WITHIN:g} s.",
                    "Wait for it to finish.",
                ) from None
            return descriptor

    def _require_empty(self) -> None:
        try:
            found = {path.name for path in self.path.iterdir()} - {"lock"}
        except FileNotFoundError:
            return
        if not found:
            return
        if self.marker.name in found:
            told = f"{self.path} holds the authority of {self.name()} already."
        else:
            told = f"{self.path} is not empty, and not an authority."
        raise AuthorityError("folder_not_empty", told, "Name another folder.")

    @contextmanager
    def _undone(self, *, whole: bool) -> Iterator[None]:
        try:
            yield
        except BaseException:
            for path in self.path.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            if whole:
                self.path.rmdir()
            raise


def read_envelope(path: Path) -> Envelope:
    """The envelope in the file *path*. Raises :exc:`AuthorityError`."""
    try:
        return envelope_from_json(path.read_text())
    except FileNotFoundError:
        raise AuthorityError(
            "no_such_file", f"There is no file {path}.", "Mend the path."
        ) from None
    except UnicodeDecodeError as error:
        raise AuthorityError.of(Code.RECORD_MALFORMED, f"{path} is no text.", _WHOLE) from error
    except RecordError as error:
        raise _no_record(path, error) from error


def write_envelope(path: Path, envelope: Envelope) -> None:
    """Keep *envelope* in the file *path*, whole, in place of what stood there."""
    if not path.parent.is_dir():
        durable.own_folder(path.parent)
    durable.replace_file(path, envelope_to_json(envelope).encode(), mode=PUBLIC)


def decoded(envelope: Envelope, kind: type[R], *, where: Path) -> R:
    """The record in *envelope*, which has to be a *kind*. Raises :exc:`AuthorityError`."""
    try:
        record = decode_record(envelope.payload)
    except RecordError as error:
        raise _no_record(where, error) from error
    if not isinstance(record, kind):
        raise AuthorityError.of(
            Code.RECORD_MALFORMED,
            f"{where} holds {record.key}, which does not belong there.",
            "Name another file.",
        )
    return record


_WHOLE = "Name a file that `fabricctl` wrote; if it is one, copy it again, whole."


def _no_record(path: Path, error: RecordError) -> AuthorityError:
    remedy = _WHOLE if error.code is Code.RECORD_MALFORMED else ""
    return AuthorityError.of(error.code, f"{path}: {error.detail or error.code.sentence}", remedy)


def _spoilt(path: Path, why: str) -> AuthorityError:
    return AuthorityError(
        "unusable_folder",
        f"{path} cannot be used: {why}",
        "Restore it from a backup; then raise the epoch, for numbers may be lost "
        "(`fabricctl root rotate --epoch N`).",
    )
