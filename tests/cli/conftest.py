"""A node's admin socket without a node, a folder of a local fabric, and commands run for real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import h11
import pytest
import trio
from attrs import define, field

from cli import fabric_inspect, fabricctl
from cli.exits import finish
from cli.local.fabric import LocalFabric
from cli.local.setup import prepare
from fabric.codes import Code


def _snapshot(name="usa-los-1", **changes):
    """What a busy node says, every kind of row in it."""
    return {
        "v": 1,
        "node": {
            "name": name,
            "id": "kq3v7dhx2m5a4bqzc6yj6wz2fghjk345",
            "area": "usa",
            "roles": ["egress", "ingress", "relay", "update-cache"],
            "instance": "ab" * 8,
            "release": "0.1.0",
            "state": "ready",
            "uptime_s": 754.2,
            "tasks": 41,
            "listen": "127.0.0.1:40123",
        },
        "health": [
            _complaint("expiring", "this node's record ends 2026-01-02 03:04 UTC"),
            _complaint("no_proof", "core service demo is candidate_only"),
        ],
        "peers": [
            _peer("home-1", "connected", "direct 127.0.0.1:41233", 0.312, 12345, 999.9, 3),
            _peer("edge-1", "connected", "direct 127.0.0.1:51233", 2.1, 412345678, 2e6, 12),
            _peer("ifcm-rufms-s-mo1cr", "refused", reason="unknown_key", life="suspect"),
            _peer("test-1", "dialling", life=None),
        ],
        "channels": [_channel(1), _channel(2, client=None, direction="out", state="opening")],
        "planes": [
            {"name": "peers", "state": "running", "last_progress_s": 0.3},
            {"name": "admin", "state": "running", "last_progress_s": 2.2},
            {"name": "ingress", "state": "restarting", "last_progress_s": None},
        ],
        "services": [
            {
                "name": "demo",
                "open_to": ["role:ingress", "node:home-1"],
                "edge_exposable": True,
                "offered_here": True,
                "backend": "127.0.0.1:8000",
                "instances": ["usa-los-1"],
            },
            {
                "name": "private-api",
                "open_to": [],
                "edge_exposable": False,
                "offered_here": False,
                "backend": None,
                "instances": [],
            },
        ],
        "listeners": [
            {
                "name": "127.0.0.1:8080",
                "listen": "127.0.0.1:8080",
                "service": "demo",
                "connections": 3,
                "max_connections": 30000,
            }
        ],
        "counters": {},
    } | changes


def _complaint(code, detail=""):
    told = Code[code.upper()]
    return {
        "code": code,
        "message": told.sentence,
        "detail": detail,
        "remedy": told.remedy,
    }


def _peer(
    name, state, path=None, rtt=None, out=None, into=None, streams=0, reason=None, life="alive"
):
    return {
        "name": name,
        "id": None,
        "area": name.partition("-")[0],
        "roles": [],
        "state": state,
        "liveness": life,
        "reason": reason,
        "path": path,
        "rtt_ms": rtt,
        "sent_bytes_per_s": out,
        "received_bytes_per_s": into,
        "streams": streams,
        "since_s": 3.0,
        "offers": [],
    }


def _channel(number, *, client="127.0.0.1:50001", direction="in", state="open", age_s=None):
    return {
        "id": f"{number:08x}" + "5e" * 12,
        "service": "demo",
        "direction": direction,
        "peer": "edge-1",
        "client": client,
        "state": state,
        "age_s": 1.5 * number if age_s is None else age_s,
        "sent_bytes": 1234567 * number,
        "received_bytes": 78 * number,
    }


@pytest.fixture
def a_snapshot():
    return _snapshot


@pytest.fixture
def a_channel():
    return _channel


@pytest.fixture
def a_complaint():
    return _complaint


NOW = 1_800_000_000
"""When the rows below are looked at, unix seconds."""


def _came(by="wave", peer="home-1", **changes):
    """How something came here, in 24 ms over two hops a minute ago."""
    wave = "0a1b2c3d4e5f6071" if by != "repair" else None
    usual = {"from_peer": peer, "by": by, "hops": 2, "age_s": 0.024, "wave_id": wave}
    if by == "here":
        usual |= {"from_peer": None, "hops": 0, "age_s": 0.0}
    return usual | {"heard_at": NOW - 61.5, "heard_s": 61.5} | changes


def _record(key, name=None, *, came=None, **changes):
    kind, _, subject = key.partition("/")
    own_word = kind in ("endpoint", "offers")
    return {
        "key": key,
        "kind": kind,
        "subject": subject,
        "name": name,
        "order": [0, 1799999000] if own_word else [0, 3],
        "author": "node" if own_word else "directory",
        "standing": "live",
        "counts": True,
        "disputed": False,
        "revoked": False,
        "issued_at": NOW - 1000,
        "expires_at": NOW + (7 if own_word else 90) * 86_400 - 1000,
        "confirmed": True,
        **(came or _came()),
        **changes,
    }


def _held(says, *, came=None, **changes):
    """One of the envelopes at a key."""
    usual = {"order": [0, 3], "digest": "d1" * 32, "signed_by": ["k" * 32], "counts": True}
    return {**usual, "says": says, **(came or _came()), **changes}


def _member(name, liveness="alive", **changes):
    usual = {
        "name": name,
        "id": "kq3v7dhx2m5a4bqzc6yj6wz2fghjk345",
        "itself": False,
        "area": name.partition("-")[0],
        "roles": [],
        "liveness": liveness,
        "since_s": 754.0 if liveness else None,
        "incarnation": 7,
        "accusers": [],
        "connected": liveness == "alive",
        "rtt_ms": 12.5 if liveness == "alive" else None,
        "reason": None,
        "standing": "live",
        "code": None,
        "expires_at": NOW + 86_400,
        "addresses": ["192.0.2.7:4433"],
    }
    return usual | changes


def _service(name, status="active", **changes):
    usual = {
        "name": name,
        "open_to": ["any"],
        "edge_exposable": False,
        "core": False,
        "offered_here": False,
        "withheld": None,
        "backend": None,
        "instances": ["usa-los-1"] if status == "active" else [],
        "status": status,
        "reason": None if status == "active" else "no_instance",
        "active_records": int(status == "active"),
        "candidate_records": 0,
        "resolved_to": "usa-los-1" if status == "active" else None,
        "source": "memory" if status == "active" else None,
        "last_live_probe": {"at": NOW - 4, "ok": True, "rtt_ms": 12.5, "via": "probe"}
        if status == "active"
        else None,
    }
    return usual | changes


def _wave(key, name=None, *, came=None, reach=5, duplicates=2):
    return {
        "key": key,
        "name": name,
        **(came or _came()),
        "reach": reach,
        "duplicates": duplicates,
    }


@pytest.fixture
def a():
    """What a node tells of its fabric, row by row: ``a.member("home-1", "dead")``."""
    return SimpleNamespace(
        came=_came,
        held=_held,
        member=_member,
        now=NOW,
        record=_record,
        service=_service,
        wave=_wave,
    )


@define(eq=False)
class FakeAdmin:
    """Answers `(method, path)` from a table: a status and a JSON body, or an iterable of lines."""

    answers: dict = field(factory=dict)
    asked: list = field(factory=list)
    """(method, path, body) of every request, in order."""
    hung_up: trio.Event = field(factory=trio.Event)
    """Set once a caller closed its connection."""

    async def serve(self, stream):
        connection = h11.Connection(h11.SERVER)
        async with stream:
            request = await _next(connection, stream, h11.Request)
            data = await _next(connection, stream, h11.Data)
            body = json.loads(bytes(data.data)) if data is not None else None
            method, path = request.method.decode(), request.target.decode()
            self.asked.append((method, path, body))
            unknown = {"code": "not_found", "message": f"no {path}", "remedy": "another path"}
            status, answer = self.answers.get((method, path), (404, unknown))
            lines = answer if isinstance(answer, list) else [answer]
            text = "".join(json.dumps(line) + "\n" for line in lines)
            head = h11.Response(status_code=status, headers=[("connection", "close")])
            await stream.send_all(connection.send(head))
            await stream.send_all(connection.send(h11.Data(data=text.encode())))
            if isinstance(answer, list):  # goes on until the caller hangs up
                await stream.receive_some()
                self.hung_up.set()
            await stream.send_all(connection.send(h11.EndOfMessage()))


async def _next(connection, stream, kind):
    """The next event of *kind*; None where another kind ends the wait."""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive_some())
        elif isinstance(event, kind):
            return event
        elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
            return None


@pytest.fixture
def open_fake_admin():
    """Return `open_fake_admin(path, answers)`: a FakeAdmin that listens for an `async with`."""

    @asynccontextmanager
    async def open_(path, answers):
        await trio.Path(path.parent).mkdir(parents=True, exist_ok=True)
        sock = trio.socket.socket(trio.socket.AF_UNIX)
        await sock.bind(str(path))
        sock.listen()
        fake = FakeAdmin(answers)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, fake.serve, [trio.SocketListener(sock)])
            yield fake
            nursery.cancel_scope.cancel()

    return open_


@pytest.fixture
def fabric():
    """The folder of a local fabric that was made and does not run.

    Its path is short, so that admin sockets stand in it and nothing is left anywhere else.
    """
    with tempfile.TemporaryDirectory() as folder:
        made = LocalFabric(Path(folder) / ".fabric")
        prepare(made, port=None, running=frozenset())
        yield made


@define
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def run_command(fabric, capsys, monkeypatch):
    """Return `await run_command("cli.fabricctl", "status")`, run on the folder of `fabric`.

    A daemon has a process of its own, since signals are for the main thread. The others run in a
    thread, beside the nodes that the test plays: a process each would take as long as all else.
    """

    async def run(module, *arguments, folder=None, **environment):
        environment = {
            "FABRIC_DIR": str(folder or fabric.root), "NO_COLOR": "1", "COLUMNS": "80",
        } | environment  # fmt: skip
        words = [*map(str, arguments)]
        if module not in IN_A_THREAD:
            return await _run_process(module, words, environment)
        capsys.readouterr()
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            work = partial(finish, IN_A_THREAD[module], words)
            code = await trio.to_thread.run_sync(work, abandon_on_cancel=True)
        told = capsys.readouterr()
        return Ran(code, told.out, told.err)

    return run


IN_A_THREAD = {"cli.fabricctl": fabricctl.app, "cli.fabric_inspect": fabric_inspect.app}


async def _run_process(module, arguments, environment):
    result = await trio.run_process(
        [sys.executable, "-P", "-m", module, *arguments],
        env=os.environ | environment,
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return Ran(result.returncode, result.stdout.decode(), result.stderr.decode())


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Return `run("node", "list")`: the command in this process, in the folder of the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FABRIC_DIR", raising=False)
    monkeypatch.setenv("COLUMNS", "200")

    def run_(*arguments):
        capsys.readouterr()
        code = finish(fabricctl.app, [str(one) for one in arguments])
        told = capsys.readouterr()
        return Ran(code, told.out, told.err)

    return run_


@pytest.fixture
def fab(run, tmp_path, monkeypatch):
    """The folder of a fabric just made, which is the working folder."""
    assert run("init", "fab").code == 0
    monkeypatch.chdir(tmp_path / "fab")
    return tmp_path / "fab"
