"""What systemd hears, over a real datagram socket."""

import os
import socket

import pytest
import trio
from structlog.testing import capture_logs

from fabric.runtime.sdnotify import Environment, Notifier


@pytest.fixture(params=["path", "abstract"])
def systemd(request, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        if request.param == "path":
            name = str(tmp_path / "notify")
            receiver.bind(name)
        else:
            receiver.bind(f"\0fabric-test-{os.getpid()}")
            name = f"@fabric-test-{os.getpid()}"
        receiver.setblocking(False)
        yield name, receiver


def heard(receiver):
    messages = []
    while True:
        try:
            messages.append(receiver.recv(4096).decode())
        except BlockingIOError:
            return messages


def test_systemd_hears_of_readiness_status_and_the_end(systemd):
    name, receiver = systemd
    notifier = Notifier(Environment.read({"NOTIFY_SOCKET": name}))
    notifier.ready("2 peers\nof 3")
    notifier.status("3 peers")
    notifier.stopping()
    assert heard(receiver) == ["READY=1\nSTATUS=2 peers of 3", "STATUS=3 peers", "STOPPING=1"]


async def test_the_watchdog_is_fed_twice_a_period_and_only_on_progress(systemd, autojump_clock):
    name, receiver = systemd
    environment = Environment.read({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "4000000"})
    alive = True
    with capture_logs() as entries, trio.move_on_after(11):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Notifier(environment).feed_watchdog, lambda: alive)
            await trio.sleep(5)
            assert heard(receiver) == ["WATCHDOG=1"] * 3
            alive = False
            await trio.sleep(5)
            assert heard(receiver) == []
            nursery.cancel_scope.cancel()
    assert {entry["event"] for entry in entries} == {"watchdog.starved"}


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"NOTIFY_SOCKET": "vsock:2:1"},
        {"NOTIFY_SOCKET": ""},
        {"WATCHDOG_USEC": "1000"},
    ],
)
async def test_without_systemd_nothing_is_said_and_nothing_waits(variables):
    notifier = Notifier(Environment.read(variables))
    with capture_logs() as entries:
        notifier.ready("up")
        await notifier.feed_watchdog(lambda: True)
    assert entries == []


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "77"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_a_watchdog_is_for_the_process_that_it_names(variables, expected):
    read = Environment.read({"NOTIFY_SOCKET": "/run/notify"} | variables, pid=77)
    assert read.watchdog_s == expected


def test_a_systemd_that_is_gone_costs_a_line_in_the_log(tmp_path):
    notifier = Notifier(Environment.read({"NOTIFY_SOCKET": str(tmp_path / "gone")}))
    with capture_logs() as entries:
        notifier.ready("up")
    assert [entry["event"] for entry in entries] == ["systemd.unreachable"]
