"""What every test gets: an end, and log lines to look for.

A hang fails within half a minute, or within two where the test is marked slow.
"""

from __future__ import annotations

import functools
import inspect

import pytest
import structlog
import trio

REAL_S = 30
SLOW_S = 120
"""For tests marked slow: they move gigabytes, on machines that do other things too."""
VIRTUAL_S = 30 * 86_400
"""An autojump clock gets there at once when every task is stuck."""


def _bounded(test, seconds):
    @functools.wraps(test)
    async def run(**fixtures):
        with trio.fail_after(seconds):
            await test(**fixtures)

    return run


@pytest.fixture(autouse=True)
def every_log_line_is_made():
    """A node hushes a program that set up no logging; tests look for its lines."""
    structlog.configure()
    yield
    structlog.reset_defaults()


def pytest_collection_modifyitems(items):
    for item in items:
        if inspect.iscoroutinefunction(getattr(item, "obj", None)):
            item.obj = _bounded(item.obj, _seconds_for(item))


def _seconds_for(item):
    if "autojump_clock" in item.fixturenames:
        return VIRTUAL_S
    return SLOW_S if item.get_closest_marker("slow") else REAL_S
