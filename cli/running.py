"""A node that runs as a process: its roles, its admin socket, and the signals that steer it."""

from __future__ import annotations

from collections.abc import Callable

from fabric.config import NodeConfig


async def run_node(config: NodeConfig, reload: Callable[[], NodeConfig]) -> None:
    """Run the node of *config* until a signal or its admin socket ends it."""
