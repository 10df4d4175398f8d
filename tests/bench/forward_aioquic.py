"""A rival: TCP over aioquic, one kept QUIC connection and a stream for each TCP connection.

    forward_aioquic.py egress  BACKEND_PORT FOLDER
    forward_aioquic.py ingress LISTEN_PORT FOLDER

It is written as its user would, over aioquic's asyncio streams, with the two repairs without which
it fails under load: a bound on what waits to be sent, and a stream id taken at once.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path
from typing import cast

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicStreamAdapter
from aioquic.asyncio.server import serve

from fabric.net.tls import create_key
from tests.bench.aioquic_setup import configuration, unsent
from tests.bench.processes import free_port

PIECE = 64 * 1024
UNSENT_BYTES = 1024 * 1024
"""Held back above this much: aioquic itself would take all that a fast client has."""

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copies until the reader ends, then ends the writer; one that breaks closes the writer."""
    transport = writer.transport
    try:
        while piece := await reader.read(PIECE):
            writer.write(piece)
            await writer.drain()
            if isinstance(transport, QuicStreamAdapter):
                await room_to_send(transport)
        writer.write_eof()
    except OSError:
        writer.close()


async def room_to_send(transport: QuicStreamAdapter) -> None:
    quic, stream = transport.protocol._quic, transport.stream_id
    while unsent(quic, stream) > UNSENT_BYTES:  # aioquic has no event for it
        await asyncio.sleep(0.001)


async def splice(near: Ends, far: Ends) -> None:
    await asyncio.gather(carry(near[0], far[1]), carry(far[0], near[1]))
    near[1].close()
    far[1].close()


async def egress(backend: int, folder: Path) -> None:
    port, splices = free_port(socket.SOCK_DGRAM), set[asyncio.Task[None]]()
    settings = configuration(create_key(folder / "key"))

    async def deliver(stream: Ends) -> None:
        await splice(stream, await asyncio.open_connection("127.0.0.1", backend))

    def accepted(*stream: object) -> None:
        task = asyncio.create_task(deliver(cast("Ends", stream)))
        splices.add(task)
        task.add_done_callback(splices.discard)

    await serve("127.0.0.1", port, configuration=settings, stream_handler=accepted)
    (folder / "port").write_text(str(port))
    (folder / "ready").touch()
    await asyncio.Event().wait()


async def ingress(listen: int, folder: Path) -> None:
    port = int((folder / "port").read_text())
    settings = configuration()
    async with connect("127.0.0.1", port, configuration=settings) as connection:

        async def accepted(*client: object) -> None:
            stream = await connection.create_stream()
            stream[1].write(b"")
            await splice(cast("Ends", client), stream)

        async with await asyncio.start_server(accepted, "127.0.0.1", listen, backlog=4096):
            await connection.wait_closed()


if __name__ == "__main__":
    role, port, folder = sys.argv[1:]
    asyncio.run({"egress": egress, "ingress": ingress}[role](int(port), Path(folder)))
