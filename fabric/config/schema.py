"""Which keys each TOML table has, how each is read, and which setting it becomes.

One list for reading, and for the tests of the pages and files that show every key.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import Factory, frozen

from fabric.config import values


@frozen
class Key:
    """One key of a table; its setting has the same name, without the unit ``_s``."""

    name: str
    read: Callable[[object], object]
    setting: str = Factory(lambda self: self.name.removesuffix("_s"), takes_self=True)


_PROXY = values.choice("", "v1", "v2")
_BYTES = values.number(0, 2**62, "bytes")
_NEVER = values.duration(zero="never")

NODE = (
    Key("name", values.read_name),
    Key("trust_root", values.read_path),
    Key("key", values.read_path, "key_file"),
    Key("seeds", values.read_seeds),
    Key("records", values.read_paths),
    Key("roles", values.read_names),
    Key("state_dir", values.read_path),
    Key("drain_timeout_s", values.duration(zero="at once")),
)

QUIC = (
    Key("listen", values.read_listen),
    Key("advertise", values.read_advertised),
    Key("datagram_bytes", values.number(1200, 9000, "bytes")),
)

ADMIN = (
    Key("socket", values.read_socket_path),
    Key("group", values.read_group),
    Key("change_group", values.read_group),
)

LOG = (
    Key("format", values.choice("auto", "json", "console")),
    Key("level", values.choice("debug", "info", "warning", "error")),
)

SERVICE = (
    Key("backend", values.read_target),
    Key("max_channels", values.number(1, 1_000_000, "channels")),
    Key("quota_bytes", _BYTES),
    Key("send_proxy", _PROXY),
    Key("connect_timeout_s", values.duration(zero="")),
    Key("idle_timeout_s", _NEVER),
)

LISTENER = (
    Key("listen", values.read_listen),
    Key("service", values.read_name),
    Key("accept_proxy", values.read_switch),
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
    "services": SERVICE,
    "listeners": LISTENER,
}
"""By the table's name in the file; each of *listeners* is one of a list of tables, each of
*services* is a table under the service's name."""

MOVED = {
    "peers": "peers are learnt from signed records: remove it, and name one in node.seeds",
    "node.fabric_id": "the trust root says it: remove it, and name the file in node.trust_root",
    "node.area": "the node's signed record says it: remove it, and see `fabricctl node add`",
    "node.labels": "the node's signed record says them: remove it, and see `fabricctl node add`",
    "services.NAME.open_to": "the service's signed record says it: see `fabricctl service add`",
    "services.NAME.edge_exposable": (
        "the service's signed record says it: see `fabricctl service add --edge`"
    ),
}
"""Settings of earlier releases, and where what they said is said now."""
