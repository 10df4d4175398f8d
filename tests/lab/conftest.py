"""What the lab's tests start from: a fabric of processes that ends with the test, and backends."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import trio
from attrs import frozen

from tests.lab import tcp_ends
from tests.lab.daemons import Daemon, Lab, free_port

START_WITHIN = 20
"""Seconds for all daemons of a test: an interpreter each, on a machine that others use too."""


@pytest.fixture
async def lab():
    """Yield a Lab; what it started is killed at the end, and its logs must bear no errors."""
    with tempfile.TemporaryDirectory() as folder:  # short, for its Unix sockets
        lab = Lab(Path(folder))
        try:
            yield lab
        finally:
            with trio.fail_after(10) as ending:
                ending.shield = True
                await lab.end()


@pytest.fixture
async def start_backend(nursery):
    """Return `await start_backend(handler)`: the address of a TCP server in this process."""

    async def start(handler=tcp_ends.obey, host="127.0.0.1", receive_buffer=None):
        return await nursery.start(tcp_ends.serve, handler, host, receive_buffer)

    return start


@frozen
class Way:
    """client -> edge (`fabric-ingress`) -> QUIC -> away (`fabricd`) -> backend."""

    edge: Daemon
    away: Daemon

    @property
    def address(self):
        """Where clients come in."""
        return self.edge.address


def grant_demo(lab):
    """Let the nodes with the role egress offer it, and any ingress show it."""
    lab.grant("demo", "role:ingress", offer_by=("role:egress",), edge_exposable=True)


@pytest.fixture
async def start_path(lab, start_backend):
    """Return `await start_path(backend, service={…}, listener={…}, node={…}, host=…)`."""

    async def start(backend=None, *, service=None, listener=None, node=None, host="127.0.0.1"):
        grant_demo(lab)
        settings, backend = service or {}, backend or await start_backend()
        shown = f"[{host}]" if ":" in host else host
        entrance = {"listen": f"{shown}:{free_port(host=host)}", "service": "demo"}
        away = lab.declare(
            "away",
            "egress",
            host=host,
            services={"demo": {"backend": backend, **settings}},
            **(node or {}),
        )
        edge = lab.declare(
            "edge",
            "ingress",
            host=host,
            services={"demo": settings},
            listeners=[entrance | (listener or {})],
            **(node or {}),
        )
        with trio.fail_after(START_WITHIN):
            await lab.start()
        return Way(edge, away)

    return start


@pytest.fixture
async def start_two(lab, start_backend):
    """Return `await start_two()`: an edge and two instances of its service."""

    async def start():
        grant_demo(lab)
        backends = [await start_backend(), await start_backend()]
        aways = [
            lab.declare(name, "egress", services={"demo": {"backend": backend}})
            for name, backend in zip(("one", "two"), backends, strict=True)
        ]
        listener = {"listen": f"127.0.0.1:{free_port()}", "service": "demo"}
        edge = lab.declare("edge", "ingress", listeners=[listener])
        with trio.fail_after(START_WITHIN):
            await lab.start()
        return edge, *aways

    return start
