"""Processes left behind: found again by more than their number, and only they are ended."""

from __future__ import annotations

import json
import os
import signal
import sys

import pytest
import trio

from cli.local import process as local_process
from cli.local.process import Process, end, module, recorded, start, wait_ended

SLEEPER = [sys.executable, "-c", "import time; print('here', flush=True); time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(15, lambda *_: None); print('here', flush=True)\n"
    "while True: time.sleep(1)",
]


@pytest.fixture
def started(tmp_path):
    """Return `started(arguments)`: a process that this test ends whatever happens."""
    found = []

    def make(arguments):
        found.append(start(tmp_path, arguments, tmp_path / "log"))
        return found[-1]

    yield make
    for process in found:
        if process.alive:
            os.kill(process.pid, signal.SIGKILL)
        os.waitpid(process.pid, 0)


async def _until_printed(path):
    while "here" not in await trio.Path(path).read_text():
        await trio.sleep(0.01)


async def test_a_process_is_found_again_by_its_folder(started, tmp_path):
    process = started(SLEEPER)
    assert recorded(tmp_path) == process
    assert recorded(tmp_path).alive
    await _until_printed(tmp_path / "log")


async def test_it_is_no_longer_alive_once_it_ended_though_nobody_reaped_it(started):
    process = started([sys.executable, "-c", ""])
    await wait_ended(process)
    assert not process.alive


async def test_sigterm_ends_it(started):
    process = started(SLEEPER)
    assert await end(process, [(signal.SIGTERM, 10)])
    assert not process.alive


async def test_one_that_ignores_the_first_step_gets_the_next(started, tmp_path):
    process = started(STUBBORN)
    await _until_printed(tmp_path / "log")
    assert await end(process, [(signal.SIGTERM, 0.1), (signal.SIGKILL, 10)])
    assert not process.alive


async def test_one_that_outlives_every_step_is_told_of(started, tmp_path):
    process = started(STUBBORN)
    await _until_printed(tmp_path / "log")
    assert not await end(process, [(signal.SIGTERM, 0.1)])
    assert process.alive


async def test_a_recycled_number_is_neither_alive_nor_ended(started):
    other = started(SLEEPER)
    ours = Process(other.pid, "an earlier start")
    assert not ours.alive
    assert await end(ours, [(signal.SIGKILL, 10)])
    await wait_ended(ours)
    assert other.alive


async def test_a_number_that_nobody_has_is_an_ended_process():
    gone = Process(2**22 + 1, "x")  # above the kernel's largest pid
    assert not gone.alive
    assert await end(gone, [(signal.SIGKILL, 10)])


async def test_a_process_whose_name_holds_parentheses_is_told_from_others(started, tmp_path):
    # what /proc/PID/stat is hard to read for
    odd = tmp_path / "a) S 1 (b"
    odd.symlink_to(sys.executable)
    process = started([str(odd), "-c", "import time; print('here', flush=True); time.sleep(60)"])
    await _until_printed(tmp_path / "log")
    assert process.alive


@pytest.mark.parametrize("text", ["", "{", '{"pid": 1}', "[]"])
def test_a_record_that_was_cut_short_counts_as_none(tmp_path, text):
    (tmp_path / "process.json").write_text(text)
    assert recorded(tmp_path) is None


def test_no_record_is_none(tmp_path):
    assert recorded(tmp_path) is None


def test_a_record_names_the_boot(started, tmp_path):
    started(SLEEPER)
    written = json.loads((tmp_path / "process.json").read_text())
    assert local_process._boot_id() in written["started"]


def test_modules_are_not_looked_for_in_the_working_folder():
    assert module("cli.fabricd")[1] == "-P"
