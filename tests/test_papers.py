"""Papers of a test's fabric: what nodes are handed is valid, and never contradicts itself."""

import stat
import time

import pytest

from fabric.core.codec.records import decode_record
from fabric.net.tls import load_key
from fabric.store.signed_files import load_records, load_trust_root
from fabric.testing.pairs import Fleet
from fabric.testing.papers import Papers
from fabric.testing.records import AFabric
from services.authority.checking import Checker


@pytest.fixture
def papers(tmp_path):
    return Papers(tmp_path)


def generations(papers):
    records = [decode_record(envelope.payload) for envelope in load_records([papers.records])]
    return {record.subject: record.generation for record in records}


def test_all_that_is_written_counts_by_the_trust_root_today(papers):
    papers.publish(papers.fabric.node("home-1"))
    papers.publish(papers.fabric.service("demo"))
    checker = Checker()
    found = [
        checker.check(envelope, now=int(time.time()))
        for envelope in (load_trust_root(papers.trust_root), *load_records([papers.records]))
    ]
    assert [each.code for each in found] == [None] * 3


def test_who_says_the_same_again_on_another_day_writes_nothing(papers, tmp_path):
    papers.publish(papers.fabric.service("demo"))
    root, before = papers.trust_root.read_bytes(), load_records([papers.records])
    later = Papers(tmp_path, AFabric(now=papers.fabric.now + 86_400))
    later.publish(later.fabric.service("demo"))
    assert later.trust_root.read_bytes() == root
    assert load_records([later.records]) == before


def test_who_says_something_else_takes_the_next_generation(papers, tmp_path):
    for open_to in ("any", "area:home", "area:home", "any"):
        Papers(tmp_path).publish(papers.fabric.service("demo", open_to=(open_to,)))
    assert generations(papers) == {"demo": 3}


def test_a_key_file_is_that_of_the_nodes_record(papers, tmp_path):
    path = tmp_path / "a" / "node.key"
    papers.write_key("home-1", path)
    assert load_key(path).public == papers.fabric.node("home-1").key_bytes
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_every_node_of_a_fleet_is_handed_all_records_and_the_others_addresses(tmp_path):
    fleet = Fleet(tmp_path)
    home, away = fleet.add("home"), fleet.add("away", roles=frozenset({"egress"}))
    hidden = fleet.add("hidden", is_dialled=False)
    fleet.grant("web", "role:egress")
    configs = {name: fleet.config(name) for name in fleet.members}
    assert {
        name: [(seed.host, seed.port) for seed in config.seeds] for name, config in configs.items()
    } == {"home": [away.address], "away": [home.address], "hidden": [home.address, away.address]}
    subjects = {fleet.papers.fabric.node_id(name) for name in fleet.members}
    assert generations(fleet.papers).keys() == {*subjects, "demo", "web"}
    assert load_key(configs["hidden"].key_file).public == hidden.key.public
