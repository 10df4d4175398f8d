"""What an operator hands to the nodes of a test's fabric, as files: trust root, records, keys."""

from __future__ import annotations

import time
from pathlib import Path

from attrs import evolve, field, frozen
from nacl.signing import SigningKey

from fabric import durable
from fabric.core.codec.envelopes import envelope_to_json
from fabric.core.codec.records import decode_record
from fabric.core.records import Authored, Record
from fabric.net.tls import certificate_for, load_key
from fabric.store.signed_files import load_envelope
from fabric.testing.records import AFabric


def a_fabric_of_today() -> AFabric:
    """Return a fabric whose records are valid by this machine's clock."""
    return AFabric(now=int(time.time()))


@frozen
class Papers:
    """A folder with ``root.json`` and ``records/``: all that a node is given, but for its key.

    What the folder holds already is kept where it says the same, and else followed by the next
    number: two processes that write the same papers contradict each other in nothing.
    """

    folder: Path
    fabric: AFabric = field(factory=a_fabric_of_today)

    @property
    def trust_root(self) -> Path:
        """The trust root's file, made when it is first asked for."""
        path = self.folder / "root.json"
        if not path.exists():
            self._write(path, self.fabric.root())
        return path

    @property
    def records(self) -> Path:
        """The folder of all records."""
        return self.folder / "records"

    def publish(self, record: Authored) -> Path:
        """Sign *record* under the next free generation; return its file."""
        path = self._file(record)
        if path.exists():
            before = decode_record(load_envelope(path).payload)
            assert isinstance(before, type(record))
            if _as_said(record, before) == before:
                return path
            record = evolve(record, generation=before.generation + 1)
        return self.put(record)

    def put(self, record: Record, *keys: SigningKey) -> Path:
        """Sign *record* as it is, by *keys* or by its rightful author; return its file."""
        path = self._file(record)
        self._write(path, record, *keys)
        return path

    def write_key(self, name: str, path: Path) -> None:
        """Write the key of the node *name* to *path*, and its certificate beside it.

        Else its node would make one, and bear X.509's 12 MB.
        """
        durable.own_folder(path.parent)
        seed = bytes(self.fabric.node_key(name))
        durable.replace_file(path, seed.hex().encode() + b"\n")
        certificate_for(load_key(path))

    def _file(self, record: Record) -> Path:
        return self.records / record.key.kind / f"{record.subject}.json"

    def _write(self, path: Path, record: Record, *keys: SigningKey) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        envelope = self.fabric.signed(record, *keys)
        durable.replace_file(path, envelope_to_json(envelope).encode())


def _as_said(record: Authored, before: Authored) -> Authored:
    """Return *record* with the dates and the generation of *before*."""
    return evolve(
        record,
        issued_at=before.issued_at,
        expires_at=before.expires_at,
        generation=before.generation,
    )
