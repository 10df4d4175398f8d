"""Where peers were seen besides what they say: kept, bounded, and forgotten once it is wrong."""

from fabric.core.identity import NodeId
from fabric.core.sightings import MOST_OF_ONE, Sightings

PEER, OTHER = NodeId("peer"), NodeId("other")


def at(number):
    return f"192.0.2.{number}", 4433


def seen_at(*numbers):
    sightings = Sightings()
    for number in numbers:
        sightings.saw(PEER, at(number))
    return sightings


def test_the_last_place_comes_first_and_none_twice():
    assert list(seen_at(1, 2, 1).of(PEER)) == [at(1), at(2)]
    assert list(seen_at(1).of(OTHER)) == []


def test_of_too_many_the_one_seen_longest_ago_goes_and_is_told():
    sightings = seen_at(*range(MOST_OF_ONE))
    assert sightings.saw(PEER, at(1)) is None
    assert sightings.saw(PEER, at(99)) == at(0)
    assert len(list(sightings.of(PEER))) == MOST_OF_ONE


def test_a_place_where_nobody_was_is_kept_until_the_peer_turns_up_elsewhere():
    sightings = seen_at(1, 2)
    sightings.missed(PEER, at(1))
    assert list(sightings.of(PEER)) == [at(2), at(1)]
    assert sightings.connected(PEER) == [at(1)]
    assert list(sightings.of(PEER)) == [at(2)]
    assert sightings.connected(PEER) == []


def test_a_place_where_it_was_seen_again_has_not_failed():
    sightings = seen_at(1)
    sightings.missed(PEER, at(1))
    sightings.saw(PEER, at(1))
    assert sightings.connected(PEER) == []


def test_what_was_never_seen_can_be_missed_and_forgotten():
    sightings = seen_at(1)
    sightings.missed(PEER, at(2))
    sightings.missed(OTHER, at(2))
    sightings.forget(OTHER)
    assert sightings.nodes() == {PEER}
    sightings.forget(PEER)
    assert sightings.nodes() == set()
