"""How load reaches a path: an address, and what to run the two ends of the load under."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from tests.bench.processes import Room


@frozen
class Route:
    """`client` and `backend` are command prefixes that enter another network namespace."""

    port: int
    host: str = "127.0.0.1"
    client: tuple[str, ...] = ()
    backend: tuple[str, ...] = ()
    backend_host: str = "127.0.0.1"


Start = Callable[[Room, int], Route]
"""Begins to carry TCP to a loopback port, by processes in a room, and says how to reach it."""
