"""One fabricd as a process: what systemd hears, how signals steer it, why it would not run."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest
import trio


@pytest.fixture
def open_daemon(fabric):
    """Return `open_daemon(node)`: its process for an `async with`, killed if it still runs."""

    @asynccontextmanager
    async def open_(node, **environment):
        command = [sys.executable, "-P", "-m", "cli.fabricd"]
        with fabric.log_file(node).open("w") as log:
            process = await trio.lowlevel.open_process(
                [*command, "--config", str(fabric.config_file(node))],
                env=os.environ | environment,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()

    return open_


@pytest.fixture
def events(fabric):
    """Return `events(node)`: what it logged, by the name of the event, the last of each."""

    def read(node):
        lines = fabric.log_file(node).read_text().splitlines()
        return {line["event"]: line for line in map(json.loads, lines)}

    return read


async def _until(condition):
    while not condition():
        await trio.sleep(0.02)


async def test_systemd_hears_when_it_is_ready_and_when_it_stops(open_daemon, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(20)
        async with open_daemon("home-1", NOTIFY_SOCKET=str(tmp_path / "notify")) as process:
            told = await trio.to_thread.run_sync(systemd.recv, 4096, abandon_on_cancel=True)
            assert told.splitlines()[0] == b"READY=1"
            process.send_signal(signal.SIGTERM)
            told = await trio.to_thread.run_sync(systemd.recv, 4096, abandon_on_cancel=True)
            assert told == b"STOPPING=1"
            assert await process.wait() == 0


async def test_a_reload_says_what_only_a_restart_changes(open_daemon, fabric, events):
    async with open_daemon("home-1") as process:
        await _until(lambda: "node.ready" in events("home-1"))
        path = fabric.config_file("home-1")
        path.write_text(path.read_text().replace("drain_timeout_s = 10", "drain_timeout_s = 11"))
        process.send_signal(signal.SIGHUP)
        await _until(lambda: "config.reloaded" in events("home-1"))
        assert events("home-1")["config.reloaded"]["needs_restart"] == ["drain_timeout"]


async def test_a_signal_before_it_is_ready_ends_it_too(open_daemon, events):
    async with open_daemon("home-1") as process:
        await _until(lambda: "role.skipped" in events("home-1"))
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0


async def test_a_taken_udp_port_ends_it_with_the_address_in_its_last_line(
    open_daemon, fabric, events
):
    listen = fabric.config("home-1").quic.listen
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((listen.host, listen.port))
        async with open_daemon("home-1") as process:
            assert await process.wait() == 1
    (reason,) = events("home-1")["node.failed"]["reasons"]
    assert str(listen) in reason
    assert "in use" in reason
