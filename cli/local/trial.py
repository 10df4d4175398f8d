"""One real HTTP request through the local fabric, and the way that it took."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Sequence

import trio
from attrs import frozen

from cli.exits import CommandError, Json, NotReachedError
from cli.local.fabric import LocalFabric
from cli.local.logs import lines_since, position
from cli.local.plan import EDGE_NODE, OFFERING_NODE, SERVICE, Ports
from cli.local.ports import LOOPBACK
from cli.units import byte_count, milliseconds
from fabric.config import HostPort

REQUEST_TIMEOUT = 5.0
"""Seconds for the request, and again for the log line that tells how it went."""

REASON_WITHIN = 1.0
"""Seconds that the ingress has to write down why it refused: it does before it resets."""


@frozen
class Journey:
    """What one request did on its way. Bytes are those of TCP, headers included."""

    client: str
    url: str
    status: int
    took_ms: float
    sent_bytes: int | None
    received_bytes: int | None
    channel: str | None
    """None where the ingress logged no end of the connection in time."""
    path: str | None
    rtt_ms: float | None
    backend: str


@frozen
class _Answer:
    client: str
    status: int
    took: float


async def travel(fabric: LocalFabric, ports: Ports) -> Journey:
    """Send GET / through the ingress. Raise :exc:`CommandError` unless the answer is a 200.

    The error is :exc:`NotReachedError` where nothing tells who refused.
    """
    before = position(fabric, EDGE_NODE)
    door = entrance(fabric)
    url = f"http://{door}/"
    try:
        answer = await trio.to_thread.run_sync(_request, door, abandon_on_cancel=True)
    except (OSError, http.client.HTTPException) as error:
        raise await _why(fabric, before, url, error) from error
    if answer.status != http.client.OK:
        raise CommandError(
            "request_failed",
            f"GET {url} was answered {answer.status}.",
            f"Read {fabric.log_file(EDGE_NODE)} and {fabric.log_file(OFFERING_NODE)}.",
        )
    closed = await _closed_line(fabric, before, answer.client)
    peer = await _peer(fabric)
    return Journey(
        client=answer.client,
        url=url,
        status=answer.status,
        took_ms=round(answer.took * 1000, 3),
        sent_bytes=closed.get("sent_bytes"),
        received_bytes=closed.get("received_bytes"),
        channel=closed.get("channel"),
        path=peer.get("path"),
        rtt_ms=peer.get("rtt_ms"),
        backend=f"{LOOPBACK}:{ports.backend}",
    )


def entrance(fabric: LocalFabric) -> HostPort:
    """Where the ingress listens for the demo, by its own file: somebody may have edited that."""
    doors = fabric.config(EDGE_NODE).listeners
    return next((one.listen for one in doors if one.service == SERVICE), doors[0].listen)


def _request(door: HostPort) -> _Answer:
    connection = http.client.HTTPConnection(door.host, door.port, timeout=REQUEST_TIMEOUT)
    started = time.perf_counter()
    try:
        connection.connect()
        host, own_port = connection.sock.getsockname()
        connection.request("GET", "/", headers={"Connection": "close"})
        response = connection.getresponse()
        response.read()
        return _Answer(f"{host}:{own_port}", response.status, time.perf_counter() - started)
    finally:
        connection.close()


async def _why(fabric: LocalFabric, since: int, url: str, error: Exception) -> CommandError:
    """The reason that the ingress wrote down, else *error* as the client met it."""
    with trio.move_on_after(REASON_WITHIN):
        facts = await _line(fabric, since, lambda facts: facts.get("event") == "ingress.refused")
        told = f"GET {url} was refused: {facts['code']}: {facts['reason']}"
        return CommandError("request_failed", told, facts["remedy"])
    return NotReachedError(
        "request_failed",
        f"GET {url} failed: {error}.",
        f"Read {fabric.log_file(EDGE_NODE)} and {fabric.log_file(OFFERING_NODE)}.",
    )


async def _closed_line(fabric: LocalFabric, since: int, client: str) -> Json:
    """What the ingress wrote at the end of *client*'s connection; empty if nothing in time."""
    with trio.move_on_after(REQUEST_TIMEOUT):
        return await _line(
            fabric, since, lambda facts: facts.get("client") == client and "channel" in facts
        )
    return {}


async def _line(fabric: LocalFabric, since: int, wanted: Callable[[Json], bool]) -> Json:
    """Wait for a line of the ingress that is *wanted*."""
    while True:
        for line in lines_since(fabric, EDGE_NODE, since):
            if wanted(line.facts):
                return line.facts
        await trio.sleep(0.02)  # a file tells nobody that it grew


async def _peer(fabric: LocalFabric) -> Json:
    peers = (await fabric.admin(EDGE_NODE).snapshot())["peers"]
    return next((peer for peer in peers if peer["name"] == OFFERING_NODE), {})


def told(journey: Journey) -> Sequence[str]:
    """The journey as lines for a person, one per hop."""
    moved = f"{byte_count(journey.sent_bytes)} up, {byte_count(journey.received_bytes)} down"
    channel = f"channel {journey.channel}" if journey.channel else "channel not logged yet"
    quic = (journey.path or "").removeprefix("direct ") or "?"
    return (
        f"GET {journey.url} -> {journey.status} in {milliseconds(journey.took_ms)}, {moved}",
        f"  client     {journey.client}",
        f"  | TCP      {journey.url.removeprefix('http://').rstrip('/')}",
        f"  {EDGE_NODE:10} listener of service {SERVICE}",
        f"  | QUIC     {quic}, {channel}",
        f"  {OFFERING_NODE:10} offers {SERVICE}",
        f"  | TCP      {journey.backend}",
        "  backend    HTTP server",
    )
