"""The local fabric's folder: made once, kept, and valid for every node."""

from __future__ import annotations

import shutil
import socket
import stat

import pytest

from cli.exits import CommandError
from cli.local.fabric import LocalFabric, only_one
from cli.local.plan import (
    APP,
    APP_NODE,
    EDGE_NODE,
    FIRST_NODE,
    FLEET,
    MEMBERS,
    OFFERING_NODE,
    SERVICE,
)
from cli.local.setup import prepare, remembered
from fabric.config import HostPort, load_config
from fabric.core.access import parse_selector, permits
from fabric.core.records import Key, NodeRecord, ServiceRecord
from fabric.core.views import subject_of
from fabric.net.tls import load_key
from fabric.store.signed_files import load_records, load_trust_root
from services.authority import Authority, Grant
from services.authority.checking import Checker

IDLE = frozenset()


def configs(fabric):
    """Of every member, by name."""
    return {node.name: load_config(fabric.folder(node.name) / node.file) for node in MEMBERS}


def authority(fabric):
    return Authority.open(fabric.authority, to_change=False)


def record(fabric, key):
    with authority(fabric) as opened:
        return opened.held(key).record


def test_every_file_is_a_configuration_that_its_program_takes(fabric):
    assert fabric.names == tuple(sorted(node.name for node in FLEET))
    assert {name: config.name for name, config in configs(fabric).items()} == {
        node.name: node.name for node in MEMBERS
    }


def test_a_program_of_the_readers_own_is_a_member_that_up_does_not_start(fabric):
    assert APP.name not in fabric.names
    with authority(fabric) as opened:
        assert opened.node(APP.name).area == "home"


def test_the_authority_describes_each_node_as_it_was_planned(fabric):
    with authority(fabric) as opened:
        said = {node.name: node for node in opened.nodes()}
    assert said.keys() == {node.name for node in MEMBERS}
    for node in MEMBERS:
        key = load_key(fabric.folder(node.name) / "node.key")
        assert said[node.name].key_bytes == key.public
        assert said[node.name].roles == node.about.roles
        assert said[node.name].site_id == node.about.site_id


def test_all_nodes_have_one_trust_root_and_only_the_first_is_anybodys_seed(fabric):
    first = configs(fabric)[FIRST_NODE].quic.listen
    for name, config in configs(fabric).items():
        assert load_trust_root(config.trust_root).payload
        assert config.trust_root.samefile(fabric.authority / "root.json")
        assert config.seeds == (() if name == FIRST_NODE else (first,))


def test_each_node_that_up_starts_advertises_where_it_listens(fabric):
    for name in fabric.names:
        quic = fabric.config(name).quic
        assert quic.advertise == (quic.listen,)


def test_the_first_node_is_handed_all_records_and_the_others_only_their_own(fabric):
    with authority(fabric) as opened:
        everything = opened.records()
        own = {
            node.name: [opened.held(Key(NodeRecord.KIND, node.subject)).envelope]
            for node in opened.nodes()
        }
    for name, config in configs(fabric).items():
        given = load_records(config.records)
        assert given == own[name] if name != FIRST_NODE else set(given) == set(everything)


def test_every_record_counts_by_the_trust_root(fabric):
    checker = Checker()
    with authority(fabric) as opened:
        findings = [
            checker.check(envelope, now=opened.root.issued_at)
            for envelope in (*opened.roots(), *opened.records())
        ]
    assert [found.code for found in findings] == [None] * len(findings)
    assert len(findings) == 1 + len(MEMBERS) + 2


def test_only_the_node_beside_the_backend_answers_the_demo_and_it_may(fabric):
    offering = [name for name, config in configs(fabric).items() if config.services]
    assert offering == [OFFERING_NODE]
    demo = record(fabric, Key(ServiceRecord.KIND, SERVICE))
    with authority(fabric) as opened:
        may = {
            node.name
            for node in opened.nodes()
            if permits(tuple(map(parse_selector, demo.offer_by)), subject_of(node))
        }
    assert may == {OFFERING_NODE}


def test_the_edge_may_open_the_demo_and_test_1_may_not(fabric):
    demo = record(fabric, Key(ServiceRecord.KIND, SERVICE))
    with authority(fabric) as opened:
        may = {
            node.name
            for node in opened.nodes()
            if permits(tuple(map(parse_selector, demo.open_to)), subject_of(node))
        }
    assert may == {EDGE_NODE, FIRST_NODE, OFFERING_NODE, APP.name}
    assert demo.edge_exposable
    assert demo.core


def test_keys_are_their_owners_alone(fabric):
    keys = list(fabric.root.rglob("*.key"))
    assert len(keys) == len(MEMBERS) + 9
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys} == {0o600}
    assert stat.S_IMODE(fabric.authority.stat().st_mode) == 0o700


def test_a_second_run_changes_nothing(fabric):
    before = {path: path.read_bytes() for path in fabric.root.rglob("*") if path.is_file()}
    prepare(fabric, port=None, running=IDLE)
    assert {p: p.read_bytes() for p in fabric.root.rglob("*") if p.is_file()} == before


def test_what_a_person_wrote_into_a_file_stays(fabric):
    path = fabric.config_file("home-1")
    path.write_text(path.read_text().replace("[log]", "[log]\nlevel = 'debug'"))
    prepare(fabric, port=None, running=IDLE)
    assert fabric.config("home-1").log.level == "debug"


def test_what_was_said_by_the_authority_since_stays(fabric):
    with Authority.open(fabric.authority) as opened:
        opened.add_service(SERVICE, Grant(open_to=("any",)), now=opened.root.issued_at)
        gone = Key(NodeRecord.KIND, opened.node(APP_NODE).subject)
        opened.revoke(gone, now=opened.root.issued_at)
    prepare(fabric, port=None, running=IDLE)
    assert record(fabric, Key(ServiceRecord.KIND, SERVICE)).open_to == ("any",)
    assert record(fabric, gone).revoked


def test_what_grew_old_is_signed_anew_while_the_directorys_key_is_here(fabric, monkeypatch):
    demo = Key(ServiceRecord.KIND, SERVICE)
    before = record(fabric, demo)
    half = before.issued_at + ServiceRecord.LIFE // 2 + 1
    monkeypatch.setattr("cli.local.setup._this_moment", lambda: half)
    key = fabric.authority / "keys" / "directory-1.key"
    key.rename(fabric.root / "elsewhere")
    prepare(fabric, port=None, running=IDLE)
    assert record(fabric, demo) == before
    (fabric.root / "elsewhere").rename(key)
    prepare(fabric, port=None, running=IDLE)
    assert record(fabric, demo).issued_at == half


def test_nodes_without_their_authority_get_no_other(fabric):
    shutil.rmtree(fabric.authority)
    with pytest.raises(CommandError, match="is gone") as caught:
        prepare(fabric, port=None, running=IDLE)
    assert caught.value.code == "unusable_folder"
    assert not fabric.authority.exists()


def test_a_first_run_that_was_broken_off_goes_on_with_the_same_authority(fabric):
    before = (fabric.authority / "root.json").read_bytes()
    fabric.state_file.unlink()
    prepare(fabric, port=None, running=IDLE)
    assert (fabric.authority / "root.json").read_bytes() == before


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
    assert fabric.config("test-1").seeds == (HostPort("127.0.0.1", new),)


def test_ports_stay_while_a_node_runs_that_knows_them(fabric):
    old = fabric.config("home-1").quic.listen.port
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", old))
        prepare(fabric, port=None, running=frozenset(["test-1"]))
    assert fabric.config("home-1").quic.listen.port == old


@pytest.mark.parametrize("text", ["layout = 99", "not toml", "layout = 2"])
def test_a_folder_that_cannot_be_understood_is_refused_with_a_way_out(tmp_path, text):
    fabric = LocalFabric(tmp_path)
    fabric.state_file.write_text(text)
    with pytest.raises(CommandError) as caught:
        remembered(fabric)
    assert f"remove {tmp_path}" in caught.value.remedy


def test_a_folder_of_the_release_with_lists_of_peers_is_refused_and_left_alone(tmp_path):
    fabric = LocalFabric(tmp_path)
    state = 'layout = 1\nfabric_id = "ab"\ningress_port = 1\nbackend_port = 2\nquic_ports = {}\n'
    fabric.state_file.write_text(state)
    with pytest.raises(CommandError, match="of another release") as caught:
        prepare(fabric, port=None, running=IDLE)
    assert "fabricctl down" in caught.value.remedy
    assert list(tmp_path.iterdir()) == [fabric.state_file]
    assert fabric.state_file.read_text() == state


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
