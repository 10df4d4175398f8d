"""A rival: TCP over iroh, one connection by direct address and a stream for each TCP connection.

    forward_iroh.py [--repaired] egress  BACKEND_PORT FOLDER
    forward_iroh.py [--repaired] ingress LISTEN_PORT FOLDER

Runs in an environment of its own, so it imports nothing of ours. The transport is Rust in threads
of its own; only the splice is Python. `--repaired` replaces the one method of the wheel's binding
that copies what is sent byte by byte.
"""

from __future__ import annotations

import asyncio
import ctypes
import socket
import sys
from pathlib import Path
from typing import Any

import iroh  # type: ignore[import-not-found]  # in another environment

PROTOCOL = b"bench/1"
PIECE = 64 * 1024


def repair() -> None:
    def write(self: Any, value: bytes) -> None:
        with self._reserve(len(value)):
            end = ctypes.addressof(self.rbuf.data.contents) + self.rbuf.len
            ctypes.memmove(end, value, len(value))

    iroh.iroh_ffi._UniffiRustBufferBuilder.write = write


async def endpoint_on(port: int) -> iroh.Endpoint:
    """Without relays and discovery: nothing leaves this machine."""
    return await iroh.Endpoint.bind(
        iroh.EndpointOptions(
            preset=iroh.preset_minimal(), bind_addr=f"127.0.0.1:{port}", alpns=[PROTOCOL]
        )
    )


async def outward(reader: asyncio.StreamReader, stream: iroh.SendStream) -> None:
    try:
        while piece := await reader.read(PIECE):
            await stream.write_all(piece)
        await stream.finish()
    except OSError:
        await stream.reset(1)


async def inward(stream: iroh.RecvStream, writer: asyncio.StreamWriter) -> None:
    while piece := await stream.read(PIECE):
        writer.write(piece)
        await writer.drain()
    writer.write_eof()


async def splice(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pair: iroh.BiStream
) -> None:
    """A half that breaks ends alone; the other then ends by its own reader."""
    halves = outward(reader, pair.send()), inward(pair.recv(), writer)
    await asyncio.gather(*halves, return_exceptions=True)
    writer.close()


async def egress(backend: int, folder: Path) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    endpoint = await endpoint_on(port)
    (folder / "peer").write_text(f"{endpoint.id()} 127.0.0.1:{port}")
    (folder / "ready").touch()
    splices: set[asyncio.Task[None]] = set()

    async def deliver(pair: iroh.BiStream) -> None:
        await splice(*await asyncio.open_connection("127.0.0.1", backend), pair)

    incoming = await endpoint.accept_next()
    connection = await (await incoming.accept()).connect()
    while True:
        task = asyncio.create_task(deliver(await connection.accept_bi()))
        splices.add(task)
        task.add_done_callback(splices.discard)


async def ingress(listen: int, folder: Path) -> None:
    identity, address = (folder / "peer").read_text().split()
    peer = iroh.EndpointAddr(iroh.EndpointId.from_string(identity), None, [address])
    endpoint = await endpoint_on(0)  # held: a dropped endpoint takes its connections along
    connection = await endpoint.connect(peer, PROTOCOL)

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await splice(reader, writer, await connection.open_bi())

    async with await asyncio.start_server(accepted, "127.0.0.1", listen, backlog=4096):
        await connection.closed()


if __name__ == "__main__":
    if sys.argv[1] == "--repaired":
        repair()
    role, port, folder = sys.argv[-3:]
    asyncio.run({"egress": egress, "ingress": ingress}[role](int(port), Path(folder)))
