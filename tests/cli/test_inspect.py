"""fabric-inspect in each view: printed, as JSON, as a picture, and watched with keys."""

from __future__ import annotations

import functools
import io
import os
import pty
import sys
import termios

import pytest
import trio

from cli import fabric_inspect
from cli.exits import finish
from cli.keys import open_keys


@pytest.fixture
def answers(a_snapshot, a):
    report = {"status": "active", "services": {}}
    return {
        ("GET", "/v1/snapshot"): (200, a_snapshot()),
        ("GET", "/v1/registry"): (
            200,
            {"fabric_registry_runtime_report": report, "services": [a.service("billing")]},
        ),
        ("GET", "/v1/members"): (200, {"members": [a.member("cellar-1")]}),
        ("GET", "/v1/waves"): (200, {"waves": [a.wave("policy/fabric")]}),
    }


@pytest.fixture
def inspected(open_fake_admin, answers, tmp_path, capsys):
    """Return `await inspected("--once")`: exit code and output."""

    async def run(*arguments):
        socket = tmp_path / "a.sock"
        async with open_fake_admin(socket, answers):
            typed = [*map(str, arguments), "--socket", str(socket)]
            code = await trio.to_thread.run_sync(finish, fabric_inspect.app, typed)
        return code, capsys.readouterr().out

    return run


SIGNS = {"node": "PLANES", "services": "billing", "members": "cellar-1", "waves": "policy/fabric"}


@pytest.mark.parametrize("view", SIGNS)
async def test_each_view_is_printed_under_the_nodes_name(inspected, view):
    code, out = await inspected("--once", "--view", view)
    assert code == 0
    assert out.startswith("usa-los-1  ready")
    assert [name for name, sign in SIGNS.items() if sign in out] == [view]


@pytest.mark.parametrize(
    ("view", "key"),
    [("node", "peers"), ("services", "services"), ("members", "members"), ("waves", "waves")],
)
async def test_json_is_what_the_view_is_made_of(inspected, view, key):
    _code, out = await inspected("--json", "--view", view)
    assert f'"{key}": [' in out


async def test_a_picture_is_of_the_view(inspected, tmp_path):
    await inspected("--svg", tmp_path / "waves.svg", "--view", "waves")
    assert "policy/fabric" in (tmp_path / "waves.svg").read_text()


async def test_a_view_that_does_not_exist_exits_2(inspected):
    assert (await inspected("--view", "weather"))[0] == 2


async def test_keys_change_the_view_and_q_ends_it(open_fake_admin, answers, tmp_path):
    socket = tmp_path / "a.sock"
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    before = termios.tcgetattr(theirs)
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    program = [sys.executable, "-P", "-m", "cli.fabric_inspect", "--socket", str(socket)]
    seen = bytearray()

    async def read_until(sign):
        seen.clear()
        while sign not in seen:
            await trio.lowlevel.wait_readable(ours)
            seen.extend(os.read(ours, 65536))

    async with open_fake_admin(socket, answers), trio.open_nursery() as nursery:
        process = await nursery.start(
            functools.partial(
                trio.run_process,
                [*program, "--interval", "60"],
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                env=environment,
            )
        )
        await read_until(b"q quit")
        assert b"PLANES" in seen
        for key, sign in ((b"s", b"billing"), (b"m", b"cellar-1"), (b"w", b"policy/fabric")):
            os.write(ours, key)
            await read_until(sign)
        os.write(ours, b"q")
        assert await process.wait() == 0
        assert termios.tcgetattr(theirs) == before
    os.close(ours)
    os.close(theirs)


async def test_without_a_terminal_no_key_ever_comes(monkeypatch, autojump_clock):
    monkeypatch.setattr(sys, "stdin", io.StringIO("q"))
    async with open_keys() as keys:
        with trio.move_on_after(60) as waiting:
            await keys.receive()
    assert waiting.cancelled_caught
