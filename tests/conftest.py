"""What every test gets: an end, and log lines to look for. A hang fails within half a minute."""

from __future__ import annotations

import functools
import inspect

import pytest
import structlog
import trio

REAL_S = 30
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
            virtual = "autojump_clock" in item.fixturenames
            item.obj = _bounded(item.obj, VIRTUAL_S if virtual else REAL_S)
