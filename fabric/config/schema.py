"""Which keys each TOML table has, what kind each is, and which setting it becomes.

One list for reading, writing, and for the pages and tests that show every key.
"""

from __future__ import annotations

from typing import Any

from attrs import field, frozen

from fabric.config import values
from fabric.config.values import Kind


@frozen
class Key:
    """One key of a table; its setting has the same name, without the unit ``_s``."""

    name: str
    kind: Kind[Any]
    setting: str = field()

    @setting.default
    def _without_unit(self) -> str:
        return self.name.removesuffix("_s")


_PROXY = values.choice("", "v1", "v2")
_BYTES = values.number(0, 2**62, "bytes")
_NEVER = values.duration(zero="never")

NODE = (
    Key("name", values.NAME),
    Key(
        "fabric_id",
        values.octets(16, "draw one for the whole fabric: openssl rand -hex 16"),
    ),
    Key("key", values.PATH, "key_file"),
    Key("area", values.NAME),
    Key("roles", values.NAMES),
    Key("labels", values.LABELS),
    Key("state_dir", values.PATH),
    Key("drain_timeout_s", values.duration(zero="at once")),
)

QUIC = (
    Key("listen", values.LISTEN),
    Key("datagram_bytes", values.number(1200, 9000, "bytes")),
)

ADMIN = (
    Key("socket", values.SOCKET_PATH),
    Key("group", values.GROUP),
    Key("change_group", values.GROUP),
)

LOG = (
    Key("format", values.choice("auto", "json", "console")),
    Key("level", values.choice("debug", "info", "warning", "error")),
)

PEER = (
    Key("name", values.NAME),
    Key("public_key", values.PUBLIC_KEY),
    Key("address", values.TARGET),
    Key("area", values.NAME),
    Key("roles", values.NAMES),
    Key("labels", values.LABELS),
    Key("offers", values.NAMES),
)

SERVICE = (
    Key("open_to", values.SELECTORS),
    Key("edge_exposable", values.SWITCH),
    Key("backend", values.TARGET),
    Key("max_channels", values.number(1, 1_000_000, "channels")),
    Key("quota_bytes", _BYTES),
    Key("send_proxy", _PROXY),
    Key("connect_timeout_s", values.duration(zero="")),
    Key("idle_timeout_s", _NEVER),
)

LISTENER = (
    Key("listen", values.LISTEN),
    Key("service", values.NAME),
    Key("accept_proxy", values.SWITCH),
    Key("max_connections", values.number(1, 1_000_000, "connections")),
    Key("quota_bytes", _BYTES),
    Key("idle_timeout_s", _NEVER),
    Key("open_timeout_s", values.duration(zero="")),
)

TABLES = {
    "node": NODE,
    "quic": QUIC,
    "admin": ADMIN,
    "log": LOG,
    "peers": PEER,
    "services": SERVICE,
    "listeners": LISTENER,
}
"""By the table's name in the file; each of *peers* and *listeners* is one of a list of tables,
each of *services* is a table under the service's name."""
