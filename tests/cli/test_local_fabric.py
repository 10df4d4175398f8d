"""The local fabric for real: five processes, requests through them, and an end to them."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from attrs import frozen

from cli.local.fabric import LocalFabric
from cli.local.process import recorded
from cli.local.running import running_processes

README = Path(__file__).parents[2] / "README.md"
NAMES = ["backend", "edge-1", "home-1", "test-1", "usa-los-1"]


@frozen
class Fabric:
    """A local fabric in a folder of its own, and the command to steer it."""

    local: LocalFabric
    port: int

    def ctl(self, *arguments, code=0):
        """Run fabricctl with --json, demand its exit code, return its answer."""
        ran = self.run("-m", "cli.fabricctl", *arguments, "--json", check=False)
        assert ran.returncode == code, ran.stdout + ran.stderr
        return json.loads(ran.stdout)

    def run(self, *arguments, check=True):
        return subprocess.run(
            self.command(*arguments), **self.surroundings(), check=check, timeout=60
        )

    @contextmanager
    def running(self, *arguments):
        """A command of its own for the block, ended by SIGTERM."""
        with subprocess.Popen(self.command(*arguments), **self.surroundings()) as process:
            try:
                yield process
            finally:
                process.terminate()

    def command(self, *arguments):
        return [sys.executable, "-P", *map(str, arguments)]

    def surroundings(self):
        environment = os.environ | {"FABRIC_DIR": str(self.local.root), "NO_COLOR": "1"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return {"cwd": self.local.root.parent, "env": environment, **pipes}

    def permit(self, service, open_to):
        """Let test-1 offer *service*, and tell home-1, which tells the others."""
        added = self.ctl(
            "service", "add", service, "--offer-by", "node:test-1", "--open-to", open_to
        )
        self.ctl("record", "publish", *added["publish"])

    def expose(self, service, backend, *open_to):
        """Let test-1 offer it, and wait until those who may be asked to forward it know."""
        self.ctl("expose", service, backend, *open_to)
        for node in ("home-1", "usa-los-1"):
            _until(lambda node=node: self.is_offered(service, at=node))

    def is_offered(self, service, at):
        rows = json.loads(self.run("-m", "cli.fabric_inspect", at, "--json").stdout)["services"]
        return any(row["name"] == service and row["resolved_to"] for row in rows)

    def get(self, path="/", port=None):
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=15)
        try:
            connection.request("GET", path, headers={"Connection": "close"})
            return connection.getresponse().read()
        finally:
            connection.close()

    def log(self, node):
        lines = self.local.log_file(node).read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    made = Fabric(LocalFabric(tmp_path_factory.mktemp("fabric") / ".fabric"), port)
    try:
        made.ctl("up", "--port", str(port))
        yield made
    finally:
        made.run("-m", "cli.fabricctl", "down", check=False)


@pytest.fixture
def running(folder):
    """The fabric, all of it running: `up` starts what an earlier test ended."""
    folder.ctl("up")
    return folder


def test_up_tells_the_way_of_one_request_and_its_channel_is_known_at_both_ends(running):
    answer = running.ctl("up")
    assert sorted(one["name"] for one in answer["processes"]) == NAMES
    journey = answer["journey"]
    assert journey["status"] == 200
    assert journey["sent_bytes"] > 0
    assert journey["path"].startswith("direct 127.0.0.1:")
    found = running.ctl("channel", journey["channel"])
    assert {line["node"] for line in found["log"]} == {"edge-1", "usa-los-1"}
    assert {line["client"] for line in found["log"]} == {journey["client"]}


def test_up_again_starts_nothing(running):
    before = running_processes(running.local)
    answer = running.ctl("up")
    assert answer["already_ran"]
    assert running_processes(running.local) == before
    assert "already running" in running.run("-m", "cli.fabricctl", "up").stdout


def test_the_backend_sees_the_client_behind_the_fabric(running):
    seen = json.loads(running.get("/hello"))
    assert seen["path"] == "/hello"
    assert seen["client"].startswith("127.0.0.1:")
    _until(lambda: seen["client"] in {line.get("client") for line in running.log("edge-1")})


def test_status_is_yes_while_all_are_ready(running):
    rows = {row["name"]: row for row in running.ctl("status")["processes"]}
    assert rows["backend"]["state"] == "running"
    assert {rows[name]["state"] for name in NAMES[1:]} == {"ready"}
    assert {rows[name]["connected"] for name in NAMES[1:]} == {3}
    assert all(rows[name]["unlinked"] == ["app-1"] for name in NAMES[1:])
    shown = running.run("-m", "cli.fabricctl", "status").stdout
    assert shown.endswith("members without a process here: app-1\n")


def test_inspect_shows_every_peer(running):
    frame = running.run("-m", "cli.fabric_inspect", "usa-los-1").stdout
    assert frame.startswith("usa-los-1  ready")
    for peer in ("edge-1", "home-1", "test-1"):
        assert re.search(rf"^{peer} +\w+ +connected +alive +127", frame, re.MULTILINE)


def test_only_what_died_is_started_again(running):
    before = running_processes(running.local)
    os.kill(before["usa-los-1"].pid, signal.SIGKILL)
    _until(lambda: not before["usa-los-1"].alive)
    rows = {row["name"]: row["state"] for row in running.ctl("status", code=1)["processes"]}
    assert rows["usa-los-1"] == "died"
    answer = running.ctl("up")
    assert [one["name"] for one in answer["processes"] if one["started"]] == ["usa-los-1"]
    after = running_processes(running.local)
    assert {name for name in NAMES if after[name] == before[name]} == set(NAMES) - {"usa-los-1"}


def test_what_no_record_permits_is_not_exposed_and_the_remedy_does_what_it_says(running):
    with _file_server(running.local.root.parent) as backend:
        refused = running.ctl("expose", "shared", backend, code=1)["error"]
        assert refused["code"] == "offer_not_permitted"
        for command in re.findall("fabricctl (.*)", refused["remedy"]):
            running.ctl(*command.split())
        running.expose("shared", backend)
        with _forwarded(running, "shared", "usa-los-1") as (port, _):
            assert b"secret.txt" in running.get("/", port)


def test_what_is_exposed_is_reached_by_whom_it_is_open_to(running):
    with _file_server(running.local.root.parent) as backend:
        running.expose("files", backend, "--open-to", "node:home-1")
        with _forwarded(running, "files", "home-1") as (port, _):
            assert b"secret.txt" in running.get("/", port)
        with _forwarded(running, "files", "usa-los-1") as (port, lines):
            with pytest.raises(ConnectionResetError):
                running.get("/", port)
            assert json.loads(lines.readline())["code"] == "not_permitted"


def test_what_is_exposed_outlives_a_restart_until_it_is_taken_back(running):
    with _file_server(running.local.root.parent) as backend:
        running.permit("kept", open_to="any")
        running.expose("kept", backend)
        running.ctl("stop", "test-1")
        running.ctl("up")
        with _forwarded(running, "kept", "home-1") as (port, _):
            _until(lambda: running.is_offered("kept", at="home-1"))
            assert b"secret.txt" in running.get("/", port)
        running.ctl("unexpose", "kept")
        assert running.ctl("unexpose", "kept", code=1)["error"]["code"] == "unknown_service"


def test_a_forwarded_port_closes_when_its_command_ends(running):
    with _forwarded(running, "demo", "home-1") as (port, _):
        assert running.get("/", port)
    _until(lambda: _refuses(port))


def test_sighup_changes_listeners_and_keeps_the_old_ones_when_the_file_is_bad(running):
    path = running.local.config_file("edge-1")
    good = path.read_text()
    pid = recorded(running.local.folder("edge-1")).pid
    try:
        path.write_text(good.replace('service = "demo"', "service = 7"))
        os.kill(pid, signal.SIGHUP)
        _until(lambda: "config.refused" in _events(running.log("edge-1")))
        assert running.get()
        with socket.create_server(("127.0.0.1", 0)) as server:
            other = server.getsockname()[1]
        path.write_text(good.replace(f":{running.port}", f":{other}"))
        os.kill(pid, signal.SIGHUP)
        _until(lambda: not _refuses(other))
        assert running.get("/", other)
        _until(lambda: _refuses(running.port))
    finally:
        path.write_text(good)
        os.kill(pid, signal.SIGHUP)
        _until(lambda: not _refuses(running.port))


def test_a_node_that_is_stopped_finishes_what_is_open(running):
    with _slow_download(running) as finished:
        running.ctl("stop", "edge-1")
        assert _refuses(running.port)
    assert finished == [SLOW_BYTES]


def test_a_second_signal_does_not_wait(running):
    process = recorded(running.local.folder("edge-1"))
    earlier = len(running.log("edge-1"))
    with _slow_download(running) as finished:
        os.kill(process.pid, signal.SIGTERM)
        _until(lambda: "node.draining" in _events(running.log("edge-1")[earlier:]))
        began = time.monotonic()
        os.kill(process.pid, signal.SIGTERM)
        _until(lambda: not process.alive)
        assert time.monotonic() - began < 2
    assert finished == []


def test_another_port_moves_the_edge_alone(running):
    before = running_processes(running.local)
    with socket.create_server(("127.0.0.1", 0)) as server:
        other = server.getsockname()[1]
    try:
        answer = running.ctl("up", "--port", str(other))
        assert [one["name"] for one in answer["processes"] if one["started"]] == ["edge-1"]
        assert running.get("/", other)
        assert before["home-1"].alive
    finally:
        running.ctl("up", "--port", str(running.port))


def test_the_readmes_programs_work_as_pasted(running):
    opening, serving = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert '"service":"demo"' in running.run("-c", opening).stdout
    with running.running("-c", serving), _forwarded(running, "echo", "home-1") as (port, _):
        _until(lambda: _echoes(port))


def test_the_readmes_examples_are_about_twenty_lines():
    for block in re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL):
        assert len(block.splitlines()) <= 20


def test_down_ends_all_of_them_and_says_whom(folder):
    folder.ctl("up")
    before = running_processes(folder.local)
    assert sorted(folder.ctl("down")["ended"]) == NAMES
    assert not any(process.alive for process in before.values())
    assert folder.ctl("down")["ended"] == []
    folder.ctl("status", code=3)


SLOW_BYTES = 4_000_000


@contextmanager
def _slow_download(fabric):
    """A download that takes about two seconds; yields a list that gets its length at its end."""
    finished = []

    def download():
        with socket.create_connection(("127.0.0.1", fabric.port), timeout=20) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            client.sendall(b"GET /bytes/%d HTTP/1.0\r\n\r\n" % SLOW_BYTES)
            read, head = 0, b""
            began.set()
            try:
                while piece := client.recv(65_536):
                    read, head = read + len(piece), head or piece
                    time.sleep(0.02)  # a slow reader is the point
            except ConnectionResetError:
                return
            finished.append(read - head.index(b"\r\n\r\n") - 4)

    began = threading.Event()
    reader = threading.Thread(target=download)
    reader.start()
    began.wait(10)
    time.sleep(0.3)  # into the transfer
    yield finished
    reader.join(25)


@contextmanager
def _file_server(folder):
    (folder / "secret.txt").write_text("hi")
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        port = re.search(r"port (\d+)", server.stdout.readline())[1]
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.terminate()


@contextmanager
def _forwarded(fabric, service, node):
    """`fabricctl forward` on a free port; yields the port and its further lines."""
    what = f"0:{service}"
    with fabric.running("-m", "cli.fabricctl", "forward", what, "--node", node, "--json") as one:
        listening = json.loads(one.stdout.readline())["listening"]
        yield int(listening.rpartition(":")[2]), one.stdout


def _events(lines):
    return {line["event"] for line in lines}


def _refuses(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) != 0


def _echoes(port):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            client.sendall(b"hello")
            return client.recv(5) == b"hello"
    except ConnectionResetError:  # its program has not joined the fabric yet
        return False


def _until(condition, within=15):
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)  # another process decides
