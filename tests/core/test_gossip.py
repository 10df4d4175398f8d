"""What one node makes of what it hears: from waves, from pages, in Hello, off its disk."""

from __future__ import annotations

import random

from fabric.core.clocks import Floor
from fabric.core.codec.envelopes import pack_envelope
from fabric.core.directory import Directory
from fabric.core.gossip import Gossip
from fabric.core.gossip_events import HeardRecords, Moment, PeerUp, Store
from fabric.core.trust import Trust
from fabric.testing.records import BORN, AFabric

FABRIC = AFabric()
NOW = Moment(100.0, float(BORN + 60))


def test_what_a_wave_brings_is_held_kept_and_passed_on() -> None:
    trust = Trust(FABRIC.id, FABRIC.signed(FABRIC.root()))
    floor = Floor.opened(NOW.clock)
    gossip = Gossip(FABRIC.node_id("me"), Directory(), trust, random.Random(1), floor)
    one, other = FABRIC.node_id("one"), FABRIC.node_id("other")
    for peer in (one, other):
        gossip.receive(PeerUp(peer, "home"), NOW)
    packed = pack_envelope(FABRIC.signed(FABRIC.node("home-1")))
    before = gossip.root()

    effects = gossip.receive(HeardRecords(one, ((packed, 3, b"w" * 8, 40),)), NOW)

    assert gossip.root() != before
    assert [each.packed for each in effects if isinstance(each, Store)] == [packed]
