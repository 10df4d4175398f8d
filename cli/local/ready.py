"""Waiting for a local fabric: nodes that know each other, or the first reason why they do not."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TypeAlias

import trio
from attrs import define, field

from cli.client import AdminClient
from cli.exits import CommandError, Json, NotReachedError
from cli.local.fabric import LocalFabric
from cli.local.logs import last_lines
from cli.local.plan import BACKEND, EDGE_NODE, OFFERING_NODE, SERVICE
from cli.local.process import Process, wait_ended
from fabric.codes import Code

READY_WITHIN = 30.0
"""Seconds for all nodes to be ready and connected, and for the edge to have found the demo; two
cores need about three."""

POLL = 0.05
"""Seconds between looks at a node that starts."""

LOG_LINES = 8
"""Last lines shown of a process that failed."""

FOR_GOOD = {code.label for code in (Code.NOT_PERMITTED, Code.REVOKED, Code.RECORD_EXPIRED)}
"""Reasons against the demo that no waiting mends: the first request will tell them."""

Tell: TypeAlias = Callable[[str], None]
"""Takes a line of progress for a person."""


async def wait_ready(
    fabric: LocalFabric, processes: Mapping[str, Process], new: Collection[str], tell: Tell
) -> Mapping[str, float]:
    """Return how many seconds each node took; of the *new* ones it is told as they are ready.

    Raises :exc:`CommandError`, with the end of its log, for a process that ended or a node that
    was not ready within :data:`READY_WITHIN`.
    """
    starting = _Starting(fabric, processes, new, tell)
    with trio.move_on_after(READY_WITHIN):
        await starting.run()
    if starting.ended:
        raise _failure(fabric, starting.ended[0], "ended while it started")
    if late := [name for name in starting.nodes if name not in starting.ready_after]:
        raise _failure(fabric, late[0], f"was not ready within {READY_WITHIN:g} s")
    return starting.ready_after


def _failure(fabric: LocalFabric, name: str, what: str) -> CommandError:
    lines = "\n".join(f"    {line.text}" for line in last_lines(fabric, name, LOG_LINES))
    log = fabric.log_file(name)
    return CommandError(
        "not_ready",
        f"{name} {what}. Its log ends:\n{lines or '    (it is empty)'}",
        f"Mend what the log says (all of it: {log}), then run `fabricctl up` again.",
    )


@define
class _Starting:
    fabric: LocalFabric
    processes: Mapping[str, Process]
    new: Collection[str]
    tell: Tell
    ready_after: dict[str, float] = field(factory=dict)
    ended: list[str] = field(factory=list)

    @property
    def nodes(self) -> list[str]:
        return [name for name in self.processes if name != BACKEND]

    def _others(self, name: str) -> list[str]:
        return [other for other in self.nodes if other != name]

    async def run(self) -> None:
        """Return once all nodes are ready or one process has ended."""
        async with trio.open_nursery() as nursery:
            for name, process in self.processes.items():
                nursery.start_soon(self._watch, name, process, nursery.cancel_scope)
            await self._wait_for(name for name in self.nodes if name in self.new)
            # Only now: until it meets the new process, a node takes the one before for alive.
            await self._wait_for(name for name in self.nodes if name not in self.new)
            nursery.cancel_scope.cancel()

    async def _wait_for(self, names: Iterable[str]) -> None:
        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(self._until_ready, name)

    async def _watch(self, name: str, process: Process, give_up: trio.CancelScope) -> None:
        await wait_ended(process)
        self.ended.append(name)
        give_up.cancel()

    async def _until_ready(self, name: str) -> None:
        began = trio.current_time()
        admin = self.fabric.admin(name)
        while not await _is_ready(admin, self._others(name)):  # noqa: ASYNC110 - another process
            await trio.sleep(POLL)
        took = round(trio.current_time() - began, 2)
        self.ready_after[name] = took
        if name in self.new:
            self.tell(f"{name:11} ready after {took:.1f} s")


async def _is_ready(admin: AdminClient, others: Collection[str]) -> bool:
    """Whether the node can be used and is connected to all *others*, of which it may know none.

    The edge has to know, too, whom to ask for what clients come for, or that it may not.
    """
    try:
        if not await admin.ready():
            return False
        snapshot = await admin.snapshot()
    except NotReachedError:
        return False  # its socket is not there yet
    connected = {peer["name"] for peer in snapshot["peers"] if peer["state"] == "connected"}
    return connected.issuperset(others) and (admin.name != EDGE_NODE or _is_served(snapshot))


def _is_served(snapshot: Json) -> bool:
    return any(
        row["resolved_to"] == OFFERING_NODE or row["reason"] in FOR_GOOD
        for row in snapshot["services"]
        if row["name"] == SERVICE
    )
