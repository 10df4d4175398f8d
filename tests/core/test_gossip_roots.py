"""What another trust root changes, and what two of one version do."""

from __future__ import annotations

from fabric.codes import Code
from fabric.core.codec.envelopes import pack_envelope
from fabric.core.gossip_events import (
    Bar,
    Changed,
    Drop,
    HeardRoots,
    RootChanged,
    StoreRoot,
)
from fabric.core.records import FABRIC, Key, KeyState, Role
from fabric.core.wave import Send
from fabric.testing.records import (
    payload_with,
    signed,
)
from tests.core.a_gossip import (
    KEYS,
    AGossip,
    alarms,
    codes,
    forged,
    new_key,
    next_root,
    only,
    reached,
)

HOME = KEYS.node("home-1")
OFFERS = KEYS.offers("home-1", "demo")
POLICY = Key("policy", FABRIC)
ROOT = Key("trust_root", FABRIC)


# -- trust roots --
def test_the_root_that_is_pinned_is_part_of_what_nodes_compare() -> None:
    node = AGossip()

    trace = node.gossip.trace(ROOT)

    assert trace is not None
    assert trace.holding.top.held[0].envelope == KEYS.signed(KEYS.root())


def test_a_root_that_follows_is_in_use_kept_and_passed_on() -> None:
    node = AGossip("one", "other")
    root = next_root(KEYS)

    effects = node.hear(root)

    assert node.trust.root.version == 2
    assert only(effects, RootChanged) == [RootChanged(2)]
    assert only(effects, StoreRoot) == [StoreRoot(2, pack_envelope(root))]
    assert Changed(ROOT) in effects
    assert reached(effects) == {KEYS.node_id("other")}
    assert node.hear(root, by="other") == []


def test_nodes_with_one_root_hold_the_same_however_they_came_to_it() -> None:
    asleep, told = AGossip("one"), AGossip("one")
    roots = [next_root(KEYS), next_root(KEYS, 3)]
    told.hear(roots[0])
    told.hear(roots[1])

    effects = asleep.say(HeardRoots(tuple(map(pack_envelope, roots)), KEYS.node_id("one")))

    assert asleep.gossip.root() == told.gossip.root()
    assert [each.version for each in only(effects, StoreRoot)] == [2, 3]
    assert only(effects, RootChanged) == [RootChanged(3)]


def test_roots_of_a_forger_bar_it_and_those_of_a_stranger_are_merely_refused() -> None:
    bad = (pack_envelope(forged(KEYS, KEYS.root(version=2))),)
    node = AGossip("one")

    stranger = node.say(HeardRoots(bad))
    member = node.say(HeardRoots(bad, KEYS.node_id("one")))

    assert codes(stranger) == codes(member) == [Code.FORGED]
    assert only(stranger, Bar) == []
    assert [each.peer for each in only(member, Bar)] == [KEYS.node_id("one")]


def test_no_roots_are_no_roots() -> None:
    node = AGossip("one")

    assert node.say(HeardRoots(())) == []
    assert codes(node.say(HeardRoots((b"nonsense",)))) == [Code.RECORD_MALFORMED]


def test_nothing_of_a_compromised_key_counts_once_the_root_says_so() -> None:
    node = AGossip("one")
    node.hear(HOME)
    node.hear(OFFERS, KEYS.signed(KEYS.policy(), KEYS.keys(Role.DIRECTORY)[1]))

    effects = node.hear(next_root(KEYS, directory_0=KeyState.COMPROMISED))

    assert node.held(HOME) is None
    assert node.held(OFFERS) is None
    assert node.held(POLICY) is not None
    assert {Drop(HOME.key), Drop(OFFERS.key)} <= set(effects)
    assert {Changed(HOME.key), Changed(OFFERS.key)} <= set(effects)


def test_words_outlive_that_their_nodes_record_is_signed_anew_under_another_key() -> None:
    node = AGossip("one")
    node.hear(HOME)
    node.hear(OFFERS)
    node.hear(next_root(KEYS, directory_0=KeyState.COMPROMISED))
    again = KEYS.node("home-1", generation=2)

    node.hear(KEYS.signed(again, new_key()))

    assert node.held(HOME) == again
    assert node.held(OFFERS) == OFFERS


def test_two_roots_of_one_version_are_alarmed_and_the_proof_is_passed_on_once() -> None:
    node = AGossip("one", "other")
    root, rival = next_root(KEYS), next_root(KEYS, orchestrator_0=KeyState.RETIRED)
    node.hear(root)

    effects = node.hear(rival)

    assert codes(effects) == alarms(effects) == [Code.ROOT_CONFLICT]
    assert {each.item[0] for each in only(effects, Send)} == {
        pack_envelope(root),
        pack_envelope(rival),
    }
    assert reached(node.hear(rival)) == set()
    assert node.trust.root.version == 2


def test_a_root_that_needs_a_later_release_is_held_and_alarmed() -> None:
    node = AGossip("one", "other")
    later = signed(payload_with(KEYS.root(version=2), v=2), *KEYS.enough(Role.ROOT))

    effects = node.hear(later)

    assert alarms(effects) == [Code.NEEDS_NEWER_RELEASE]
    assert reached(effects) == {KEYS.node_id("other")}
    assert node.trust.root.version == 1
