"""What a node remembers beside records, and how all of it gets to a disk that was away."""

import random

import pytest
from attrs import define, field

from fabric.core import gossip_events as told
from fabric.core.clocks import Floor
from fabric.core.directory import Directory
from fabric.core.gossip import Gossip
from fabric.core.readings import Readings
from fabric.core.trust import Trust
from fabric.runtime.gossip import FLOOR
from fabric.runtime.knowledge import Knowledge
from fabric.runtime.memory import MOST_PEERS, Memory
from fabric.store.kept import KnownCandidate, KnownPeer, Seed, Snapshot, StoredRoot
from fabric.testing.records import BORN, AFabric

NOW = float(BORN + 60)
NOTHING = Snapshot()


@define
class Disk:
    """Stands in for the cache: notes what it was told to keep."""

    holder: Memory | None = None
    peers: dict = field(factory=dict)
    candidates: set = field(factory=set)
    seeds: list = field(factory=list)

    def held_by(self, holder):
        self.holder = holder

    def note_peer(self, seen):
        self.peers[seen.peer] = seen

    def note_candidate(self, seen):
        self.candidates.add(seen)

    def drop_candidate(self, seen):
        self.candidates.discard(seen)

    def note_seeds(self, addresses, unix_now):
        self.seeds += addresses


class Remembering:
    def __init__(self, remembered=NOTHING):
        self.fabric, self.heard, disk = AFabric(), [], Disk()
        root = self.fabric.signed(self.fabric.root())
        directory, trust = Directory(), Trust(self.fabric.id, root)
        me, floor = self.fabric.node_id("home"), Floor.opened(NOW)
        self.knowledge = Knowledge(
            me,
            trust=trust,
            directory=directory,
            floor=floor,
            readings=Readings(directory, self.fabric.id, lambda: NOW),
            gossip=Gossip(me, directory, trust, random.Random(1), floor),
            cache=disk,
            remembered=remembered,
            unix_now=lambda: NOW,
            alarms={},
        )
        self.disk = disk
        self.memory = Memory(self.knowledge, self.heard.append)

    def publish(self, record):
        event = told.Published(self.fabric.signed(record))
        self.knowledge.gossip.receive(event, told.Moment(0.0, NOW))


@pytest.fixture
def home():
    return Remembering()


def test_a_peer_that_was_met_is_remembered_with_its_address_and_how_it_was(home):
    node = home.fabric.node_id("away")
    home.memory.met(node, ("2001:db8::1", 4433), 0.02)
    home.memory.turned(node, "suspect", 7)
    seen = home.disk.peers[node]
    assert (seen.address, seen.rtt, seen.at) == ("[2001:db8::1]:4433", 0.02, NOW)
    assert (seen.state, seen.incarnation) == ("suspect", 7)


def test_where_a_peer_came_from_is_remembered_until_it_is_lost(home):
    node = home.fabric.node_id("away")
    for number in (1, 2):
        home.memory.sighted(node, (f"192.0.2.{number}", 1))
    kept = home.memory.everything().candidates
    assert [(each.address, each.provenance) for each in kept] == [
        ("192.0.2.1:1", "observed"),
        ("192.0.2.2:1", "observed"),
    ]
    assert home.disk.candidates == set(kept)
    home.memory.lost(node, ("192.0.2.1", 1))
    home.memory.lost(node, ("192.0.2.9", 1))
    assert home.disk.candidates == set(home.memory.everything().candidates) == {kept[1]}
    home.memory.forget(node)
    assert home.disk.candidates == set(home.memory.everything().candidates) == set()


def test_seeds_that_were_ever_named_are_never_forgotten():
    home = Remembering(Snapshot(seeds=(Seed("192.0.2.1:1", 5.0),)))
    home.memory.seeds([("192.0.2.2", 2)])
    assert home.disk.seeds == ["192.0.2.2:2"]
    assert [each.address for each in home.memory.everything().seeds] == [
        "192.0.2.1:1",
        "192.0.2.2:2",
    ]


def test_a_disk_that_was_away_is_told_all_that_is_held(home):
    home.publish(home.fabric.node("away"))
    home.publish(home.fabric.service("demo"))
    home.memory.met(home.fabric.node_id("away"), ("192.0.2.2", 2), None)
    found = home.disk.holder.everything()
    assert {each.kind for each in found.records} == {"node", "service"}
    assert [each.version for each in found.roots] == [1]
    assert [each.peer for each in found.peers] == [home.fabric.node_id("away")]
    assert found.known()[FLOOR] == str(home.knowledge.floor.at).encode()


def test_what_turns_up_late_on_a_disk_is_taken_in_but_older_than_what_was_seen_since(home):
    node = home.fabric.node_id("away")
    home.memory.met(node, ("192.0.2.2", 2), None)
    seed = Seed("192.0.2.1:1", 5.0)
    seen_at = KnownCandidate("other", "192.0.2.3:3", provenance="observed", worked_at=1.0, at=1.0)
    late = Snapshot(
        roots=(StoredRoot(1, b"a root"),),
        peers=(KnownPeer(node, "192.0.2.9:9", at=1.0), KnownPeer("other", at=1.0)),
        candidates=(seen_at,),
        seeds=(seed,),
    )
    home.disk.holder.take(late)
    # The roots first: by them the records are judged.
    assert home.heard == [told.HeardRoots((b"a root",)), told.Loaded(())]
    held = home.memory.everything()
    found = {each.peer: each for each in held.peers}
    assert found[node].address == "192.0.2.2:2"
    assert "other" in found
    assert (held.candidates, held.seeds) == ((seen_at,), (seed,))


def test_a_node_that_is_a_member_no_more_is_not_remembered(home):
    node = home.fabric.node_id("away")
    home.memory.met(node, ("192.0.2.2", 2), None)
    home.memory.forget(node)
    assert not home.memory.everything().peers


def test_of_too_many_peers_the_one_seen_longest_ago_goes(home):
    for number in range(MOST_PEERS):
        home.memory.turned(f"n{number}", "alive", 1)
    home.memory.turned("n0", "alive", 2)
    home.memory.turned("newcomer", "alive", 1)
    remembered = {each.peer for each in home.memory.everything().peers}
    assert len(remembered) == MOST_PEERS
    assert "n1" not in remembered
    assert {"n0", "newcomer"} <= remembered
