"""How load reaches a path: an address, and what to run the two ends of the load under."""

from __future__ import annotations

from attrs import frozen


@frozen
class Route:
    """`client` and `backend` are command prefixes that enter another network namespace."""

    port: int
    host: str = "127.0.0.1"
    client: tuple[str, ...] = ()
    backend: tuple[str, ...] = ()
    backend_host: str = "127.0.0.1"
