"""Identities, a live pair on loopback, and a pair in virtual time; more in fabric.testing.quic."""

from __future__ import annotations

import pytest

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
async def virtual_pair(autojump_clock, network):
    """A :class:`Pair` over ``network``; time passes only when everyone waits."""
    async with open_pair(network=network) as both:
        yield both
