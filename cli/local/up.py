"""``up``: bring every process of the local fabric to readiness, or leave nothing behind."""

from __future__ import annotations

import socket
from collections.abc import Mapping

import trio
from attrs import frozen

from cli.exits import CommandError
from cli.local.fabric import LocalFabric, only_one
from cli.local.plan import BACKEND, EDGE_NODE, FLEET, OFFERING_NODE, Ports
from cli.local.ports import LOOPBACK, holder, is_free, next_free
from cli.local.process import Process, module, start
from cli.local.ready import Tell, wait_ready
from cli.local.running import end_all, running_processes
from cli.local.setup import DEFAULT_PORT, prepare, remembered
from cli.local.trial import Journey, entrance, travel


@frozen
class NodeUp:
    """One process after ``up``."""

    name: str
    pid: int
    started: bool
    """False where it already ran."""
    ready_after_s: float | None
    """None for the backend, which has no admin socket to ask."""


@frozen
class Up:
    """A local fabric that answered a request."""

    processes: tuple[NodeUp, ...]
    journey: Journey

    @property
    def already_ran(self) -> bool:
        return not any(one.started for one in self.processes)


async def bring_up(fabric: LocalFabric, *, port: int | None, tell: Tell) -> Up:
    """Start what does not run, wait until all of it is ready, and send one request through.

    *port* is the ingress's, None meaning the one of the last run. Raises :exc:`CommandError`,
    after ending whatever this call started.
    """
    with only_one(fabric):
        if port is not None:
            await _vacate(fabric, port, tell)
        running = running_processes(fabric)
        setup = prepare(fabric, port=port, running=frozenset(running))
        for name in fabric.names:
            fabric.config(name)  # whatever is wrong with a file shows before anything starts
        if EDGE_NODE not in running:
            require_free(entrance(fabric).port)
        started: dict[str, Process] = {}
        try:
            for name, arguments in _programs(fabric, setup.ports).items():
                if name not in running:
                    started[name] = start(fabric.folder(name), arguments, fabric.log_file(name))
            everything = {**running, **started}
            ready = await wait_ready(fabric, everything, started, tell)
            journey = await travel(fabric, setup.ports)
        except BaseException:
            with trio.CancelScope(shield=True):  # ^C must not leave half a fabric behind
                await end_all(fabric, started)
            raise
    processes = (
        NodeUp(name, process.pid, name in started, ready.get(name))
        for name, process in everything.items()
    )
    return Up(tuple(processes), journey)


def require_free(port: int) -> None:
    """Raise :exc:`CommandError`, with who holds it and what to type, if *port* is taken."""
    try:
        if is_free(port, socket.SOCK_STREAM):
            return
    except PermissionError as error:
        raise CommandError(
            "port_not_allowed",
            f"This user may not listen on port {port}.",
            f"Choose one above 1023: `make up PORT={DEFAULT_PORT}`.",
        ) from error
    who = holder(port)
    other = next_free(port)
    raise CommandError(
        "port_taken",
        f"{LOOPBACK}:{port} is taken by {who or 'another process'}.",
        f"Choose another: `make up PORT={other}`, or `fabricctl up --port {other}`.",
    )


async def _vacate(fabric: LocalFabric, port: int, tell: Tell) -> None:
    """End the edge node where it listens elsewhere than *port*: it is to start there.

    Raises :exc:`CommandError` while no file remembers *port* yet, if somebody else has it.
    """
    before = remembered(fabric)
    edge = running_processes(fabric).get(EDGE_NODE)
    if before and edge and before.ports.ingress == port:
        return
    require_free(port)
    if before and edge:
        tell(f"{EDGE_NODE:11} moves from port {before.ports.ingress} to {port}")
        await end_all(fabric, {EDGE_NODE: edge})


def _programs(fabric: LocalFabric, ports: Ports) -> Mapping[str, list[str]]:
    """Command lines by name; the backend first, so that no node finds it refusing."""
    fabric.folder(BACKEND).mkdir(mode=0o700, exist_ok=True)
    nodes = {
        node.name: module(node.program, "--config", str(fabric.config_file(node.name)))
        for node in FLEET
    }
    listen = f"{LOOPBACK}:{ports.backend}"
    backend = module(
        "services.demo", "--listen", listen, "--node", OFFERING_NODE, "--accept-proxy"
    )
    return {BACKEND: backend, **nodes}
