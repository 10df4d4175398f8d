"""The demo server as a process: what it says, what it moves, how it ends."""

import hashlib
import http.client
import json
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@contextmanager
def running(*options):
    process = subprocess.Popen(
        [sys.executable, "-m", "services.demo", "--listen", "127.0.0.1:0", *options],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    with process:
        try:
            line = process.stdout.readline().decode()
            yield int(line.rpartition(":")[2])
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()


@pytest.fixture(scope="module")
def demo():
    with running("--node", "usa-los-1") as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        yield connection
        connection.close()


def ask(demo, method, path, body=None, headers=None):
    demo.request(method, path, body, headers or {})
    response = demo.getresponse()
    assert response.status == 200
    return response.read()


def test_it_says_who_asked_for_what_and_who_answers(demo):
    ask(demo, "GET", "/")
    seen = json.loads(ask(demo, "GET", "/any/where"))
    host, port = demo.sock.getsockname()
    assert seen.pop("time").endswith("Z")
    assert seen == {
        "service": "demo",
        "node": "usa-los-1",
        "method": "GET",
        "path": "/any/where",
        "client": f"{host}:{port}",
    }


@pytest.mark.parametrize("count", [0, 1, 262_144, 1_000_000])
def test_it_streams_as_many_bytes_as_are_asked_for(demo, count):
    body = ask(demo, "GET", f"/bytes/{count}")
    assert body == (bytes(range(256)) * (count // 256 + 1))[:count]


def test_it_hashes_what_is_sent_even_beyond_a_megabyte(demo):
    data = bytes(range(256)) * 10_000
    answer = json.loads(ask(demo, "PUT", "/sha256", data))
    assert answer["bytes"] == len(data)
    assert answer["sha256"] == hashlib.sha256(data).hexdigest()


def test_it_keeps_connections_alive(demo):
    first = json.loads(ask(demo, "GET", "/"))["client"]
    assert json.loads(ask(demo, "GET", "/"))["client"] == first


def test_behind_an_egress_it_names_the_client_that_a_proxy_header_names():
    with running("--accept-proxy") as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.connect()
        connection.sock.sendall(b"PROXY TCP4 203.0.113.7 127.0.0.1 51234 80\r\n")
        for _ in range(2):
            seen = json.loads(ask(connection, "GET", "/"))
            assert seen["client"] == "203.0.113.7:51234"
        connection.close()
