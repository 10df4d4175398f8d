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
    QuicConfig,
    ServiceConfig,
    admin_socket_path,
    load_config,
)
from fabric.net.tls import create_key

WHOLE = """
[node]
name = "usa-los-1"
trust_root = "trust/root.json"
key = "keys/node.key"
seeds = ["home.example.net:4433", "[2001:db8::7]:4433"]
records = ["records", "own.json"]
roles = ["ingress", "relay"]
state_dir = "/var/lib/fabric"
drain_timeout_s = 1.5

[quic]
listen = "[::]:4433"
advertise = ["usa.example.net:4433", "198.51.100.7:4433"]
datagram_bytes = 1452

[admin]
socket = "run/admin.sock"
group = "root"

[log]
format = "json"
level = "debug"

[services.demo]
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
def folder(operator):
    (operator.folder / "keys").mkdir()
    create_key(operator.folder / "keys" / "node.key")
    (operator.folder / "trust").mkdir()
    (operator.folder / "trust" / "root.json").symlink_to(operator.folder / "root.json")
    operator.copy_records("home-1", "test-1")
    operator.copy("own.json", operator.fabric.signed(operator.fabric.node("usa-los-1")))
    return operator.folder


@pytest.fixture
def load(folder):
    def loaded(text):
        (folder / "fabricd.toml").write_text(text)
        return load_config(folder / "fabricd.toml")

    return loaded


def test_every_setting_of_a_file_is_read(load, folder):
    assert load(WHOLE) == NodeConfig(
        name="usa-los-1",
        trust_root=folder / "trust/root.json",
        key_file=folder / "keys/node.key",
        seeds=(HostPort("home.example.net", 4433), HostPort("2001:db8::7", 4433)),
        records=(folder / "records", folder / "own.json"),
        roles=frozenset({"ingress", "relay"}),
        state_dir=folder.__class__("/var/lib/fabric"),
        drain_timeout=1.5,
        quic=QuicConfig(
            listen=HostPort("::", 4433),
            advertise=(HostPort("usa.example.net", 4433), HostPort("198.51.100.7", 4433)),
            datagram_bytes=1452,
        ),
        admin=AdminConfig(socket=folder / "run/admin.sock", group="root"),
        log=LogConfig(format="json", level="debug"),
        services={
            "demo": ServiceConfig(
                name="demo",
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


def test_a_name_makes_a_node_and_its_paths_start_at_the_file(load, folder):
    config = load('[node]\nname = "a"')
    assert config == NodeConfig(
        name="a",
        trust_root=folder / "root.json",
        key_file=folder / "node.key",
        state_dir=folder / "state",
    )
    assert (config.seeds, config.records, config.quic.advertise) == ((), (), ())
    assert admin_socket_path(config) == folder / "state" / "admin.sock"


def test_durations_are_float_seconds_however_they_are_written(load):
    assert type(load(WHOLE.replace("= 60\n", "= 61\n")).listeners[0].idle_timeout) is float


def test_a_service_without_settings_has_no_backend_and_no_limits_of_this_node(load):
    assert load(WHOLE + "[services.quiet]").services["quiet"] == ServiceConfig(name="quiet")


def test_seeds_and_advertised_addresses_keep_their_order(load):
    turned = WHOLE.replace(
        '["usa.example.net:4433", "198.51.100.7:4433"]',
        '["198.51.100.7:4433", "usa.example.net:4433"]',
    )
    before, after = load(WHOLE).quic.advertise, load(turned).quic.advertise
    assert after == tuple(reversed(before))


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
