"""Files that survive a crash: whole, private, flushed in the right order."""

from __future__ import annotations

import os
import stat

import pytest

from fabric import durable


def test_a_replaced_file_is_whole_and_private(tmp_path):
    path = tmp_path / "document"
    durable.replace_file(path, b"old")
    durable.replace_file(path, b"new")

    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["document"]


def test_a_write_that_fails_leaves_the_old_content_and_nothing_aside(tmp_path, monkeypatch):
    path = tmp_path / "document"
    durable.replace_file(path, b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        durable.replace_file(path, b"new")

    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["document"]


def test_the_file_is_flushed_before_it_is_named_and_its_folder_after(tmp_path, monkeypatch):
    order = []
    monkeypatch.setattr(os, "fsync", lambda fd: order.append(stat.S_IFMT(os.fstat(fd).st_mode)))
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda *paths: (order.append("name"), replace(*paths)))

    durable.replace_file(tmp_path / "document", b"new")

    assert order == [stat.S_IFREG, "name", stat.S_IFDIR]


def test_a_file_is_created_only_where_none_is(tmp_path):
    path = tmp_path / "document"
    durable.create_file(path, b"first", mode=0o640)
    with pytest.raises(FileExistsError):
        durable.create_file(path, b"second")

    assert path.read_bytes() == b"first"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["document"]


def test_the_mode_does_not_depend_on_the_umask(tmp_path):
    before = os.umask(0o777)
    try:
        durable.create_file(tmp_path / "document", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "document").stat().st_mode) == 0o600


def test_an_own_folder_is_made_private_and_kept_as_it_is(tmp_path):
    folder = tmp_path / "a" / "b"
    durable.own_folder(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    folder.chmod(0o750)
    durable.own_folder(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o750


def test_a_link_to_a_folder_is_one_and_a_file_is_none(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "file").touch()
    durable.own_folder(tmp_path / "link")
    with pytest.raises(FileExistsError):
        durable.own_folder(tmp_path / "file")


def test_where_anybody_may_make_files_only_ones_own_folder_will_do(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    tmp_path.chmod(0o1777)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "taken").mkdir()
    durable.own_folder(tmp_path / "taken")
    with pytest.raises(PermissionError, match="not a folder of this user"):
        durable.own_folder(tmp_path / "link")

    owner = (tmp_path / "taken").stat().st_uid
    if owner == 0:
        os.chown(tmp_path / "taken", 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(PermissionError, match="not a folder of this user"):
        durable.own_folder(tmp_path / "taken")
