"""Rates on a machine that others use too: how a test measures them, and when it cannot."""

from __future__ import annotations

import itertools
import statistics

import psutil
import pytest
import trio

OTHERS = 0.25
"""Cores that others may use meanwhile: rates are compared, on a machine with few cores."""


def rate(samples):
    """Return the median over tenths of a second: another load on the machine is no stranger."""
    return statistics.median(
        (after["received"] - before["received"]) / (after["at"] - before["at"])
        for before, after in itertools.pairwise(samples)
    )


async def wait_for_an_idle_machine(within=120):
    """Skip the test where nobody leaves the machine alone *within* so many seconds."""
    with trio.move_on_after(within):
        while True:
            before = busy_s()
            await trio.sleep(2)
            if busy_s() - before < 2 * OTHERS:
                return
    pytest.skip("others use this machine: nothing can be said about rates")


def busy_s():
    """Return the seconds that all cores have worked."""
    times = psutil.cpu_times()
    return sum(times) - times.idle - times.iowait - times.guest - times.guest_nice


def others_s(processes):
    """Return the seconds that the cores have worked for others than *processes* and this one."""
    ours = [psutil.Process(process.pid) for process in processes] + [psutil.Process()]
    return busy_s() - sum(sum(process.cpu_times()[:2]) for process in ours)
