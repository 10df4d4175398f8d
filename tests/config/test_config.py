"""A configuration as its file says it, and where its admin socket is."""

from __future__ import annotations

import pytest
from attrs import evolve

from fabric.config import (
    AdminConfig,
    HostPort,
    ListenerConfig,
    LogConfig,
    NodeConfig,
    PeerConfig,
    QuicConfig,
    ServiceConfig,
    admin_socket_path,
    load_config,
)
from fabric.core.access import parse_selector
from fabric.net.tls import NodeKey, create_key

PEER_KEY = NodeKey.from_seed(b"p" * 32).public

WHOLE = f"""
[node]
name = "usa-los-1"
fabric_id = "000102030405060708090A0B0C0D0E0F"
key = "keys/node.key"
area = "usa"
roles = ["ingress", "relay"]
labels = {{ rack = "r 7" }}
state_dir = "/var/lib/fabric"
drain_timeout_s = 1.5

[quic]
listen = "[::]:4433"
datagram_bytes = 1452

[admin]
socket = "run/admin.sock"
group = "root"

[log]
format = "json"
level = "debug"

[[peers]]
name = "home-1"
public_key = "{PEER_KEY.hex()}"
address = "home.example.net:4433"
area = "home"
roles = ["ingress"]
offers = ["demo", "ssh"]

[services.demo]
open_to = ["any", "label:rack=r 7"]
edge_exposable = true
backend = "[::1]:8000"
max_channels = 7
quota_bytes = 1000000
send_proxy = "v2"
connect_timeout_s = 2
idle_timeout_s = 600

[[listeners]]
listen = "127.0.0.1:8080"
service = "demo"
accept_proxy = true
max_connections = 3
quota_bytes = 5
idle_timeout_s = 60
open_timeout_s = 0.5
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "keys").mkdir()
    create_key(tmp_path / "keys" / "node.key")
    create_key(tmp_path / "node.key")
    return tmp_path


@pytest.fixture
def load(folder):
    def loaded(text):
        (folder / "fabricd.toml").write_text(text)
        return load_config(folder / "fabricd.toml")

    return loaded


def test_every_setting_of_a_file_is_read(load, folder):
    assert load(WHOLE) == NodeConfig(
        name="usa-los-1",
        fabric_id=bytes(range(16)),
        key_file=folder / "keys/node.key",
        area="usa",
        roles=frozenset({"ingress", "relay"}),
        labels={"rack": "r 7"},
        state_dir=folder.__class__("/var/lib/fabric"),
        drain_timeout=1.5,
        quic=QuicConfig(listen=HostPort("::", 4433), datagram_bytes=1452),
        admin=AdminConfig(socket=folder / "run/admin.sock", group="root"),
        log=LogConfig(format="json", level="debug"),
        peers=(
            PeerConfig(
                name="home-1",
                public_key=PEER_KEY,
                address=HostPort("home.example.net", 4433),
                area="home",
                roles=frozenset({"ingress"}),
                offers=frozenset({"demo", "ssh"}),
            ),
        ),
        services={
            "demo": ServiceConfig(
                name="demo",
                open_to=(parse_selector("any"), parse_selector("label:rack=r 7")),
                edge_exposable=True,
                backend=HostPort("::1", 8000),
                max_channels=7,
                quota_bytes=1_000_000,
                send_proxy="v2",
                connect_timeout=2.0,
                idle_timeout=600.0,
            )
        },
        listeners=(
            ListenerConfig(
                listen=HostPort("127.0.0.1", 8080),
                service="demo",
                accept_proxy=True,
                max_connections=3,
                quota_bytes=5,
                idle_timeout=60.0,
                open_timeout=0.5,
            ),
        ),
    )


def test_four_lines_make_a_node_and_its_paths_start_at_the_file(load, folder):
    config = load(f'[node]\nname = "a"\narea = "home"\nfabric_id = "{"0" * 32}"\nkey = "node.key"')
    assert config == NodeConfig(
        name="a",
        area="home",
        fabric_id=bytes(16),
        key_file=folder / "node.key",
        state_dir=folder / "state",
    )
    assert admin_socket_path(config) == folder / "state" / "admin.sock"


def test_durations_are_float_seconds_however_they_are_written(load):
    assert type(load(WHOLE.replace("= 60\n", "= 61\n")).listeners[0].idle_timeout) is float


def test_a_service_is_closed_unless_it_is_opened(load):
    service = load(WHOLE + "[services.quiet]").services["quiet"]
    assert (service.open_to, service.edge_exposable, service.backend) == ((), False, None)


def test_configurations_compare_by_content(load):
    assert load(WHOLE) == load(WHOLE)
    assert load(WHOLE) != load(WHOLE.replace("max_connections = 3", "max_connections = 4"))


def test_the_admin_socket_is_where_the_file_says(load, folder):
    assert admin_socket_path(load(WHOLE)) == folder / "run/admin.sock"


def test_a_long_socket_path_moves_to_the_runtime_folder(load, folder, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    config = evolve(load(WHOLE), admin=AdminConfig(), state_dir=folder / ("x" * 100))

    path = admin_socket_path(config)
    assert path.parent == path.__class__("/run/user/7")
    assert path == admin_socket_path(config)
    assert path != admin_socket_path(evolve(config, state_dir=folder / ("y" * 100)))


def test_without_a_runtime_folder_it_moves_to_one_of_the_owners(load, folder, monkeypatch):
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/tmp")
    state_dir = folder / ("x" * 100)
    config = evolve(load(WHOLE), admin=AdminConfig(), state_dir=state_dir)
    before = admin_socket_path(config)
    state_dir.mkdir()
    owner = state_dir.stat().st_uid
    monkeypatch.setattr("os.getuid", lambda: owner + 1)  # somebody else asks, root for one

    assert before == admin_socket_path(config)
    assert str(before).startswith(f"/tmp/fabric-{owner}/fabric-")


@pytest.mark.parametrize(("extra", "moved"), [(0, False), (1, True)])
def test_a_socket_path_moves_at_a_hundred_bytes(load, folder, monkeypatch, extra, moved):
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    name = "ü" * 10 + "x" * (100 + extra - 20 - len(b"/s/"))  # bytes count, not letters
    config = evolve(
        load(WHOLE), admin=AdminConfig(socket=folder.__class__(f"/s/{name}")), state_dir=folder
    )
    assert (admin_socket_path(config) != config.admin.socket) == moved
