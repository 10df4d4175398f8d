"""What a node gives and takes on its sync streams."""

from __future__ import annotations

from fabric.codes import Code
from fabric.core.frames import Page, Root
from fabric.core.gossip_events import (
    Bar,
    EndSync,
    HeardRoot,
    HeardSync,
    PeerDown,
    PeerUp,
    SendSync,
    Store,
    SyncOpened,
    SyncWritten,
)
from fabric.core.holding import Heard
from fabric.core.records import FABRIC, Key, Role
from fabric.core.wave import Send
from fabric.testing.records import (
    id_of,
)
from tests.core.a_gossip import (
    KEYS,
    AGossip,
    codes,
    compare,
    forged,
    next_root,
    only,
    reached,
)

HOME = KEYS.node("home-1")
OFFERS = KEYS.offers("home-1", "demo")
POLICY = Key("policy", FABRIC)
ROOT = Key("trust_root", FABRIC)


# -- anti-entropy --
def two_ends() -> tuple[AGossip, AGossip]:
    """Return two nodes that are connected with each other and with a third."""
    ends = AGossip("third", me="one"), AGossip("third", me="other")
    ends[0].up("other")
    ends[1].up("one")
    return ends


def test_two_nodes_that_compare_hold_the_same_afterwards_ends_of_nodes_included() -> None:
    one, other = two_ends()
    gone = KEYS.node("gone", generation=2, revoked=True)
    for node, records in ((one, [HOME, OFFERS, gone]), (other, [KEYS.node("gone")])):
        for each in records:
            node.publish(each)
    other.publish(KEYS.policy())
    other.publish(next_root(KEYS))

    compare(one, other)

    assert one.gossip.root() == other.gossip.root()
    assert other.held(gone) == gone
    assert one.trust.root.version == 2
    assert one.held(POLICY) is not None


def test_what_a_page_brings_is_passed_on_to_nobody_and_has_no_wave() -> None:
    one, other = two_ends()
    one.publish(HOME)

    _, came = compare(one, other)

    assert other.held(HOME) == HOME
    assert only(came, Store) != []
    assert only(came, Send) == []
    assert other.gossip.recent_waves() == ()


def test_the_end_that_is_to_begin_says_its_root_on_each_new_stream() -> None:
    node = AGossip()
    peer = node.fabric.node_id("one")
    begins = SendSync(peer, Root(root=node.gossip.root()))

    assert node.say(PeerUp(peer, "home", compares=False)) == []
    assert node.say(SyncOpened(peer, compares=True)) == [begins]
    assert node.say(PeerUp(peer, "home", compares=True)) == [begins]
    assert node.say(SyncOpened(peer, compares=False)) == []


def test_a_difference_that_a_probe_tells_of_begins_a_round() -> None:
    node = AGossip("one")
    peer = node.fabric.node_id("one")

    assert node.say(HeardRoot(peer, node.gossip.root())) == []
    assert only(node.say(HeardRoot(peer, b"x" * 16)), SendSync) != []


def test_with_a_peer_that_is_away_nothing_is_compared() -> None:
    node = AGossip("one")
    peer = node.fabric.node_id("one")
    node.say(PeerDown(peer))

    assert node.say(HeardRoot(peer, b"x" * 16)) == []
    assert reached(node.publish(HOME)) == set()


def test_of_a_peer_that_went_half_way_through_a_round_nothing_is_awaited() -> None:
    node = AGossip("one")
    peer = node.fabric.node_id("one")
    node.say(HeardRoot(peer, b"x" * 16))
    node.say(PeerDown(peer))
    node.say(PeerUp(peer, "home", compares=False))

    assert only(node.after(60), EndSync) == []


def test_a_frame_out_of_turn_ends_the_stream_and_a_new_one_works() -> None:
    one, other = two_ends()
    (ended,) = one.say(HeardSync(other.me, Page(envelopes=())))
    assert isinstance(ended, EndSync)
    assert ended.code is Code.UNEXPECTED_FRAME

    for node, peer in ((one, other), (other, one)):
        node.pass_time(60)
        node.say(SyncOpened(peer.me, compares=False))
    one.publish(HOME)
    compare(one, other)

    assert other.held(HOME) == HOME


def test_a_round_that_stops_half_way_ends_the_stream() -> None:
    node = AGossip("one")
    peer = node.fabric.node_id("one")
    node.say(HeardRoot(peer, b"x" * 16))
    node.say(SyncWritten(peer))

    (ended,) = only(node.after(60), EndSync)

    assert ended.peer == peer


def test_who_pages_a_forgery_is_barred_and_the_rest_of_its_page_left() -> None:
    one, other = two_ends()
    one.directory.apply(HOME, forged(KEYS, HOME), Heard(), one.now.clock)
    one.publish(KEYS.policy())  # in a page after the node

    _, came = compare(one, other)

    assert [each.peer for each in only(came, Bar)] == [one.me]
    assert other.held(POLICY) is None
    other.say(PeerUp(one.me, "home", compares=False))
    assert only(other.say(HeardSync(one.me, Root(root=b"x" * 16))), SendSync) == []


def test_what_came_to_no_avail_is_asked_for_again_only_after_another_root() -> None:
    one, other = two_ends()
    (key,) = KEYS.keys(Role.ORCHESTRATOR)
    one.directory.apply(HOME, KEYS.signed(HOME, key), Heard(), one.now.clock)
    _, came = compare(one, other)
    assert codes(came) == [Code.WRONG_AUTHOR]
    for node in (one, other):
        node.pass_time(5)
        node.publish(KEYS.policy())  # something else is held: they compare again
    other.publish(KEYS.service("demo"))
    _, came = compare(one, other)
    assert codes(came) == []

    for node in (one, other):
        node.pass_time(1)
        node.publish(next_root(KEYS, more=[id_of(key)]))
    compare(one, other)

    assert other.held(HOME) == HOME


def test_a_round_that_brought_something_is_followed_by_another_at_once() -> None:
    one, other = two_ends()
    (key,) = KEYS.keys(Role.ORCHESTRATOR)
    one.directory.apply(HOME, KEYS.signed(HOME, key), Heard(), one.now.clock)
    one.publish(KEYS.policy())
    compare(one, other)
    other.pass_time(0.5)
    root = HeardRoot(one.me, one.gossip.root())

    assert only(other.say(root), SendSync) != []  # the policy came, the node did not


def test_a_round_that_brought_nothing_is_not_repeated_at_once() -> None:
    one, other = two_ends()
    (key,) = KEYS.keys(Role.ORCHESTRATOR)
    one.directory.apply(HOME, KEYS.signed(HOME, key), Heard(), one.now.clock)
    compare(one, other)
    other.pass_time(0.5)
    root = HeardRoot(one.me, one.gossip.root())

    assert only(other.say(root), SendSync) == []
