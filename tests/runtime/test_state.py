"""The node's own documents: written whole, read back, and never guessed at when damaged."""

from __future__ import annotations

import os
import stat

import pytest

from fabric.errors import ConfigError
from fabric.runtime.state import read_document, save_document, write_document


@pytest.mark.parametrize("name", ["seen.json", "services.toml"])
def test_a_document_comes_back_as_it_was_written(tmp_path, name):
    document = {"v": 1, "services": {"demo": {"open_to": ["any"], "edge_exposable": False}}}
    write_document(tmp_path / "state" / name, document)

    assert read_document(tmp_path / "state" / name) == document
    assert os.listdir(tmp_path / "state") == [name]


def test_what_was_never_written_is_none(tmp_path):
    assert read_document(tmp_path / "absent.json") is None
    assert read_document(tmp_path / "no" / "folder.toml") is None


def test_documents_are_for_their_owner_alone(tmp_path):
    path = tmp_path / "state" / "seen.json"
    write_document(path, {})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cut.json", b'{"v": 1'),
        ("list.json", b"[]"),
        ("deep.json", b"[" * 100_000),
        ("bytes.toml", b"\xff"),
        ("cut.toml", b"a = "),
    ],
)
def test_a_damaged_document_names_its_file_and_is_not_guessed_at(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=rf"{name}: is damaged .*; restore it"):
        read_document(tmp_path / name)


async def test_saving_replaces_what_was_there(tmp_path):
    path = tmp_path / "services.toml"
    await save_document(path, {"v": 1})
    await save_document(path, {"v": 2})
    assert read_document(path) == {"v": 2}
