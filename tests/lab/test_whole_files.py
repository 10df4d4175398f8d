"""Whole files through the fabric, by curl and a real HTTP server: all of it, as it was sent."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest
import trio

from services.demo import PIECE
from tests.lab.tcp_ends import (
    MIB,
    ask,
    pattern_hash,
    receive_all,
    receive_hash,
    send_eof,
    send_pattern,
)

pytestmark = pytest.mark.slow

GIB = 1 << 30


@pytest.fixture
async def demo(nursery):
    """Yield the address of `services.demo` as a process."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-P", "-m", "services.demo", "--listen", "127.0.0.1:0"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    try:
        async with process.stdout:
            with trio.fail_after(10):
                line = await process.stdout.receive_some()
            yield line.decode().split()[-1]
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


@asynccontextmanager
async def timed(what, size):
    began = trio.current_time()
    yield
    took = trio.current_time() - began
    print(f"{what}: {size / took / 1e6:.0f} MB/s over {took:.1f} s")


async def curl(*arguments):
    done = await trio.run_process(
        ["curl", "--silent", "--show-error", "--fail", "--noproxy", "*", *arguments],
        capture_stdout=True,
    )
    return done.stdout


async def test_a_gigabyte_goes_up_whole(start_path, demo, tmp_path):
    path, file = await start_path(demo), tmp_path / "file"
    with file.open("wb") as out:
        for _ in range(GIB // len(PIECE)):
            out.write(PIECE)
    async with timed("up", GIB):
        answer = await curl("-T", str(file), f"http://{path.address}/sha256")
    told = json.loads(answer)
    file.unlink()
    assert told["bytes"] == GIB
    assert told["sha256"] == hash_of_pieces(GIB)


async def test_a_gigabyte_comes_down_whole(start_path, demo):
    path = await start_path(demo)
    command = f"curl -sS --fail --noproxy '*' http://{path.address}/bytes/{GIB} | sha256sum"
    async with timed("down", GIB):
        done = await trio.run_process(["sh", "-c", command], capture_stdout=True)
    assert done.stdout.split()[0].decode() == hash_of_pieces(GIB)


def hash_of_pieces(size):
    digest = hashlib.sha256()
    for _ in range(size // len(PIECE)):
        digest.update(PIECE)
    return digest.hexdigest()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_files_go_whole_over_both_families_of_addresses(start_path, start_backend, host):
    """Listener, QUIC and backend alike."""
    path = await start_path(await start_backend(host=host), host=host)
    with trio.fail_after(20):
        with await ask(path.address, "fingerprint") as up:
            await send_pattern(up, 64)
            send_eof(up)
            assert (await receive_all(up)).decode() == pattern_hash(64)
        with await ask(path.address, "say", 64) as down:
            assert await receive_hash(down) == pattern_hash(64)
    peer = await path.edge.peer("away")
    assert peer["path"] == f"direct {path.away.document['quic']['listen']}"
    moved = await path.away.count("fabric_channel_bytes_total", service="demo", way="sent")
    assert moved >= 64 * MIB
