"""The admin socket's file: who may use it, and what happens to one that is already there."""

import grp
import os
import socket
import stat

import pytest
import trio

from fabric.errors import ConfigError
from fabric.net.unix import credentials_of, group_id, open_unix_listener

GID = os.getegid()


def mode(path):
    return stat.S_IMODE(path.lstat().st_mode)


async def test_the_socket_is_for_its_group_in_a_folder_for_its_group(tmp_path):
    path = tmp_path / "run" / "admin.sock"
    async with open_unix_listener(path, gid=GID):
        assert mode(path) == 0o660
        assert mode(path.parent) == 0o750
        assert path.stat().st_gid == path.parent.stat().st_gid == GID
    assert list(path.parent.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file to a foreign group")
async def test_the_group_is_the_one_that_was_asked_for(tmp_path):
    path = tmp_path / "run" / "admin.sock"
    async with open_unix_listener(path, gid=54321):
        assert path.stat().st_gid == path.parent.stat().st_gid == 54321


@pytest.mark.parametrize(("share", "expected"), [(True, 0o750), (False, 0o700)])
async def test_a_folder_that_is_there_is_opened_to_the_group_only_on_request(
    tmp_path, share, expected
):
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    async with open_unix_listener(folder / "admin.sock", gid=GID, share_folder=share):
        assert mode(folder) == expected


async def test_the_socket_of_a_dead_process_is_replaced(tmp_path):
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with (
        open_unix_listener(path, gid=GID) as listener,
        await trio.open_unix_socket(path),
    ):
        await (await listener.accept()).aclose()


async def test_a_live_socket_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "admin.sock"
    async with open_unix_listener(path, gid=GID):
        with pytest.raises(ConfigError, match="another process answers there; stop it"):
            async with open_unix_listener(path, gid=GID):
                pass
        assert stat.S_ISSOCK(path.lstat().st_mode)


async def test_a_file_that_is_no_socket_is_never_removed(tmp_path):
    path = tmp_path / "admin.sock"
    path.write_text("precious")
    with pytest.raises(ConfigError, match="is no socket; move it away"):
        async with open_unix_listener(path, gid=GID):
            pass
    assert path.read_text() == "precious"


async def test_the_socket_of_a_successor_outlives_its_predecessor(tmp_path):
    path = tmp_path / "admin.sock"
    async with open_unix_listener(path, gid=GID):
        path.unlink()
        with socket.socket(socket.AF_UNIX) as successor:
            successor.bind(str(path))
    assert path.exists()


async def test_a_folder_that_cannot_be_made_is_told_with_its_setting(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"\[admin\] socket"):
        async with open_unix_listener(tmp_path / "file" / "run" / "admin.sock", gid=GID):
            pass


async def test_the_kernel_says_who_connected(tmp_path):
    path = tmp_path / "admin.sock"
    async with (
        open_unix_listener(path, gid=GID) as listener,
        await trio.open_unix_socket(path),
        await listener.accept() as stream,
    ):
        caller = credentials_of(stream)
    assert (caller.pid, caller.uid) == (os.getpid(), os.getuid())
    assert caller.groups == {os.getegid(), *os.getgroups()}


def test_a_group_is_found_by_name():
    name = grp.getgrgid(GID).gr_name
    assert group_id(name, setting="admin.group") == GID
    with pytest.raises(ConfigError, match=r"admin\.change_group: no group no-such on this"):
        group_id("no-such", setting="admin.change_group")
