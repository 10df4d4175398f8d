"""Identities, a live pair on loopback, and a pair in virtual time; more in fabric.testing.quic."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import trio.testing

from fabric.testing.network import Network
from fabric.testing.quic import ACCEPTOR, DIALLER, an_identity, open_pair


@pytest.fixture
def dials():
    """The :class:`KeyedIdentity` of a pair's dialler."""
    return an_identity(DIALLER)


@pytest.fixture
def accepts():
    """The :class:`KeyedIdentity` of a pair's acceptor."""
    return an_identity(ACCEPTOR)


@pytest.fixture
async def pair():
    """A :class:`Pair` over real sockets on loopback, admitted."""
    async with open_pair() as both:
        yield both


@pytest.fixture
def network():
    """An in-memory network, 10 ms each way."""
    return Network(seed=1)


@pytest.fixture
async def virtual_pair(network):
    """A :class:`Pair` over ``network``; time passes only when everyone waits.

    The test itself must name ``autojump_clock`` too: pytest-trio looks for clocks nowhere else.
    """
    assert isinstance(trio.lowlevel.current_clock(), trio.testing.MockClock)
    async with open_pair(network=network) as both:
        yield both


VIRTUAL_S = 600
"""Connections keep themselves alive: a month of that, the bound elsewhere, takes a minute."""


def _bounded(test):
    @functools.wraps(test)
    async def run(**fixtures):
        with trio.fail_after(VIRTUAL_S):
            await test(**fixtures)

    return run


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and "autojump_clock" in item.fixturenames:
            item.obj = _bounded(item.obj)
