"""Which processes of the local fabric run now, and how they are ended."""

from __future__ import annotations

import signal
from collections.abc import Mapping

import trio

from cli.local.fabric import LocalFabric
from cli.local.plan import BACKEND, DRAIN_TIMEOUT
from cli.local.process import Process, end, forget, recorded

_STEPS = (
    (signal.SIGTERM, DRAIN_TIMEOUT + 5.0),  # drain, with time to reset what is left
    (signal.SIGTERM, 5.0),  # stop now
    (signal.SIGKILL, 5.0),
)
"""What a process is sent, and the seconds it then gets."""


def known_processes(fabric: LocalFabric) -> dict[str, Process]:
    """What ``up`` started and nothing ended since, by name; some may have died."""
    found = {name: recorded(fabric.folder(name)) for name in (BACKEND, *fabric.names)}
    return {name: process for name, process in found.items() if process}


def running_processes(fabric: LocalFabric) -> dict[str, Process]:
    """Those of :func:`known_processes` that live."""
    return {name: one for name, one in known_processes(fabric).items() if one.alive}


async def end_all(fabric: LocalFabric, processes: Mapping[str, Process]) -> list[str]:
    """End *processes*: nodes drain side by side, then the backend goes. Return who lives on.

    The backend is last because channels that still finish lead to it.
    """
    stubborn: list[str] = []

    async def end_one(name: str) -> None:
        if await end(processes[name], _STEPS):
            forget(fabric.folder(name))
        else:
            stubborn.append(name)

    async with trio.open_nursery() as nursery:
        for name in processes:
            if name != BACKEND:
                nursery.start_soon(end_one, name)
    if BACKEND in processes:
        await end_one(BACKEND)
    return stubborn
