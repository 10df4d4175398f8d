"""What one node is told by its operator: read from TOML, checked whole, frozen afterwards."""

from fabric.config.address import HostPort
from fabric.config.model import (
    AdminConfig,
    ListenerConfig,
    LogConfig,
    NodeConfig,
    QuicConfig,
    ServiceConfig,
    admin_socket_path,
)
from fabric.config.parse import load_config, parse_config

__all__ = [
    "AdminConfig",
    "HostPort",
    "ListenerConfig",
    "LogConfig",
    "NodeConfig",
    "QuicConfig",
    "ServiceConfig",
    "admin_socket_path",
    "load_config",
    "parse_config",
]
