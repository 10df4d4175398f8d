"""The node beside the backend as a process of its own, killed or asked to end in a transfer."""

import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import tomli_w
import trio

from fabric.config import HostPort
from fabric.node import open_node
from fabric.testing.pairs import Fleet, connected, offered
from services import tcp
from services.roles import roles_of

ROOT = Path(__file__).parents[2]
PIECE = bytes(100_000)


@pytest.fixture
def fleet(tmp_path):
    fleet = Fleet(tmp_path)
    fleet.add("edge", roles=frozenset({"ingress"}))
    fleet.add("away", roles=frozenset({"egress"}))
    fleet.grant("demo", "role:ingress", edge_exposable=True)
    return fleet


@pytest.fixture
def open_edge_node(fleet, a_listener):
    """The node with the listener, in this process."""
    config = fleet.config("edge", listeners=(a_listener(),))
    return lambda: open_node(config, roles=roles_of(config), transport=fleet.transport("edge"))


@pytest.fixture
def open_away(fleet, tmp_path):
    """Return `open_away(backend)`, which runs the other node as a process."""

    @asynccontextmanager
    async def open_(backend):
        file = tmp_path / "away.toml"
        file.write_text(tomli_w.dumps(_document(fleet, backend)))
        with (tmp_path / "away.log").open("a") as log:
            process = await trio.lowlevel.open_process(
                [sys.executable, "-m", "cli.fabricd", "--config", str(file)],
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=ROOT,
            )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()

    return open_


def _document(fleet, backend):
    config = fleet.config("away")
    return {
        "node": {
            "name": "away",
            "trust_root": str(config.trust_root),
            "key": str(config.key_file),
            "seeds": [str(seed) for seed in config.seeds],
            "records": [str(place) for place in config.records],
            "roles": ["egress"],
            "state_dir": str(config.state_dir),
            "drain_timeout_s": 20,
        },
        "quic": {"listen": str(config.quic.listen)},
        "services": {"demo": {"backend": str(backend)}},
    }


async def _connect(edge):
    row = HostPort.parse(edge.snapshot()["listeners"][0]["listen"])
    return await tcp.connect(row.host, row.port)


async def _flood(sock):
    while True:
        await tcp.send_all(sock, PIECE)
        await trio.lowlevel.checkpoint()


async def test_a_killed_node_resets_the_client_and_the_next_connection_finds_its_successor(
    open_edge_node, open_away, start_backend, echo_backend, received, resets
):
    backend = await start_backend(_flood)
    async with open_edge_node() as edge:
        async with open_away(backend) as process:
            await connected(edge, "away")
            await offered(edge, "demo", "away")
            with await _connect(edge) as client:
                for _ in range(20):
                    assert await tcp.receive(client)
                process.kill()
                with trio.fail_after(5), resets():
                    await received(client)
        async with open_away(echo_backend):
            await connected(edge, "away")
            await offered(edge, "demo", "away")
            with await _connect(edge) as client:
                await tcp.send_all(client, b"ping")
                assert await tcp.receive(client) == b"ping"


async def test_a_node_that_is_asked_to_end_finishes_its_transfers_first(
    open_edge_node, open_away, start_backend
):
    async def send_much(sock):
        for _ in range(200):
            await tcp.send_all(sock, PIECE)
            await trio.lowlevel.checkpoint()
        tcp.send_eof(sock)
        await tcp.receive(sock)

    async with open_edge_node() as edge, open_away(await start_backend(send_much)) as process:
        await connected(edge, "away")
        await offered(edge, "demo", "away")
        with await _connect(edge) as client:
            got = len(await tcp.receive(client))
            process.send_signal(signal.SIGTERM)
            while piece := await tcp.receive(client):
                got += len(piece)
                await trio.lowlevel.checkpoint()
            assert got == 200 * len(PIECE)
            tcp.send_eof(client)
            assert await process.wait() == 0
