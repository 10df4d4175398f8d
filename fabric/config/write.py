"""A :class:`NodeConfig` back to the TOML that makes it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import tomli_w

from fabric import durable
from fabric.config import schema
from fabric.config.model import NodeConfig


def render_config(config: NodeConfig) -> str:
    """TOML that :func:`load_config` reads as *config*, every default spelt out."""
    document = {
        "node": _table(config, schema.NODE),
        "quic": _table(config.quic, schema.QUIC),
        "admin": _table(config.admin, schema.ADMIN),
        "log": _table(config.log, schema.LOG),
        "peers": [_table(peer, schema.PEER) for peer in config.peers],
        "services": {
            name: _table(service, schema.SERVICE) for name, service in config.services.items()
        },
        "listeners": [_table(listener, schema.LISTENER) for listener in config.listeners],
    }
    return tomli_w.dumps(document)


def write_node_config(config: NodeConfig, path: Path) -> None:
    """Write *config* to the file *path*, whole or not at all. Raises :exc:`OSError`."""
    durable.replace_file(path, render_config(config).encode(), mode=0o644)


def _table(settings: object, keys: Iterable[schema.Key]) -> dict[str, object]:
    """TOML has no null: a setting of None is left out, which is what reads as None."""
    found = {key.name: (key.kind, getattr(settings, key.setting)) for key in keys}
    return {name: kind.write(value) for name, (kind, value) in found.items() if value is not None}
