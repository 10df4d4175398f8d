"""The local fabric's folder: made once, kept, and valid for every node."""

from __future__ import annotations

import socket
import stat

import pytest

from cli.exits import CommandError
from cli.local.fabric import LocalFabric, only_one
from cli.local.plan import APP, EDGE_NODE, FLEET, MEMBERS, OFFERING_NODE, SERVICE
from cli.local.setup import prepare, remembered
from fabric.config import load_config
from fabric.core.access import Subject, permits

IDLE = frozenset()


def test_every_file_is_a_configuration_that_its_program_takes(fabric):
    assert fabric.names == tuple(sorted(node.name for node in FLEET))
    for name in fabric.names:
        config = fabric.config(name)
        assert config.name == name
        assert len(config.peers) == len(MEMBERS) - 1


def test_a_program_of_the_readers_own_is_a_member_that_nobody_dials(fabric):
    config = load_config(fabric.folder(APP.name) / APP.file)
    assert {peer.name for peer in config.peers} == {node.name for node in FLEET}
    assert APP.name not in fabric.names
    told = [peer for peer in fabric.config("home-1").peers if peer.name == APP.name]
    assert [peer.address for peer in told] == [None]


def test_the_nodes_agree_on_the_fabric_and_on_each_others_addresses(fabric):
    configs = {name: fabric.config(name) for name in fabric.names}
    assert len({config.fabric_id for config in configs.values()}) == 1
    for config in configs.values():
        for peer in config.peers:
            known = configs.get(peer.name)
            assert peer.address == (known and known.quic.listen)


def test_only_the_node_beside_the_backend_offers_the_demo(fabric):
    offering = [name for name in fabric.names if fabric.config(name).services[SERVICE].backend]
    assert offering == [OFFERING_NODE]


def test_the_edge_may_open_the_demo_and_test_1_may_not(fabric):
    def may(name):
        config = fabric.config(name)
        subject = Subject(
            name=config.name, area=config.area, roles=config.roles, labels=config.labels
        )
        return permits(fabric.config(OFFERING_NODE).services[SERVICE].open_to, subject)

    assert may(EDGE_NODE)
    assert may("home-1")
    assert not may("test-1")


def test_keys_are_their_owners_alone(fabric):
    for name in fabric.names:
        mode = stat.S_IMODE((fabric.folder(name) / "node.key").stat().st_mode)
        assert mode == 0o600


def test_a_second_run_changes_nothing(fabric):
    before = {path: path.read_bytes() for path in fabric.root.rglob("*") if path.is_file()}
    prepare(fabric, port=None, running=IDLE)
    assert {p: p.read_bytes() for p in fabric.root.rglob("*") if p.is_file()} == before


def test_what_a_person_wrote_into_a_file_stays(fabric):
    path = fabric.config_file("home-1")
    path.write_text(path.read_text().replace("[log]", "[log]\nlevel = 'debug'"))
    prepare(fabric, port=None, running=IDLE)
    assert fabric.config("home-1").log.level == "debug"


def test_another_port_is_remembered_and_reaches_the_edge(fabric):
    prepare(fabric, port=18081, running=IDLE)
    prepare(fabric, port=None, running=IDLE)
    assert [one.listen.port for one in fabric.config(EDGE_NODE).listeners] == [18081]


def test_a_udp_port_that_somebody_took_is_chosen_anew_everywhere(fabric):
    old = fabric.config("home-1").quic.listen.port
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", old))
        prepare(fabric, port=None, running=IDLE)
        new = fabric.config("home-1").quic.listen.port
    assert new != old
    told = next(peer for peer in fabric.config("test-1").peers if peer.name == "home-1")
    assert told.address.port == new


def test_ports_stay_while_a_node_runs_that_knows_them(fabric):
    old = fabric.config("home-1").quic.listen.port
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", old))
        prepare(fabric, port=None, running=frozenset(["test-1"]))
    assert fabric.config("home-1").quic.listen.port == old


@pytest.mark.parametrize("text", ["layout = 99", "not toml", "layout = 1"])
def test_a_folder_of_another_release_is_refused_with_a_way_out(tmp_path, text):
    fabric = LocalFabric(tmp_path)
    fabric.state_file.write_text(text)
    with pytest.raises(CommandError) as caught:
        remembered(fabric)
    assert "remove" in caught.value.remedy


def test_two_commands_do_not_cross(fabric):
    with (
        only_one(fabric),
        pytest.raises(CommandError, match="Another") as caught,
        only_one(fabric),
    ):
        pytest.fail("both held the lock")
    assert caught.value.code == "fabric_busy"
    with only_one(fabric):
        pass  # it was given back
