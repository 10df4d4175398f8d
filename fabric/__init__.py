"""The fabric as a library: open a node, open channels to services, serve them.

Names are imported when they are first used: a program that only wants the codes or the
configuration does not load the QUIC engine.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fabric.codes import Code
    from fabric.config import NodeConfig, load_config
    from fabric.errors import (
        ChannelBroken,
        ConfigError,
        FabricError,
        LocalProtocolError,
        RefusedError,
        RemoteProtocolError,
        UnreachableError,
    )
    from fabric.node import Node, open_node
    from fabric.runtime.channels import Channel
    from fabric.runtime.inbound import InboundChannel

__version__ = "0.1.0.dev0"
__fabric_runtime__ = True
"""Tells this package from the SSH library that is also named ``fabric``."""

__all__ = [
    "Channel",
    "ChannelBroken",
    "Code",
    "ConfigError",
    "FabricError",
    "InboundChannel",
    "LocalProtocolError",
    "Node",
    "NodeConfig",
    "RefusedError",
    "RemoteProtocolError",
    "UnreachableError",
    "load_config",
    "open_node",
]

_HOMES = {
    "Channel": "fabric.runtime.channels",
    "Code": "fabric.codes",
    "InboundChannel": "fabric.runtime.inbound",
    "Node": "fabric.node",
    "NodeConfig": "fabric.config",
    "load_config": "fabric.config",
    "open_node": "fabric.node",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(importlib.import_module(_HOMES.get(name, "fabric.errors")), name)
    globals()[name] = found
    return found
