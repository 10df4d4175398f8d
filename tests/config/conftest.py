"""What an operator has at hand when a node is configured: a key, a trust root, signed records."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import frozen

from fabric.core.codec.envelopes import envelope_to_json
from fabric.core.envelope import Envelope
from fabric.net.tls import create_key
from fabric.testing.records import AFabric


@frozen
class AnOperator:
    """A folder, and the fabric whose files are copied to it."""

    folder: Path
    fabric: AFabric

    def copy(self, name: str, envelope: Envelope) -> Path:
        """Put *envelope* into the file *name*, and make the folders above it."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(envelope_to_json(envelope))
        return path

    def copy_records(self, *names: str) -> None:
        """Put the records of nodes into ``records/``, each a file of its own."""
        for name in names:
            self.copy(f"records/{name}.json", self.fabric.signed(self.fabric.node(name)))


def an_operator(folder: Path) -> AnOperator:
    """Return somebody who has put ``node.key`` and ``root.json`` into *folder*."""
    operator = AnOperator(folder, AFabric())
    operator.copy("root.json", operator.fabric.signed(operator.fabric.root()))
    create_key(folder / "node.key")
    return operator


@pytest.fixture
def operator(tmp_path):
    return an_operator(tmp_path)


@pytest.fixture(scope="session")
def make_operator():
    """:func:`an_operator`, for fixtures of a wider scope."""
    return an_operator
