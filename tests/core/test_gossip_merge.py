"""Whatever comes, in whatever order: in the end all nodes hold the same."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.core.envelope import Envelope
from fabric.core.records import KeyState, Role
from fabric.core.rows import BESIDE
from tests.core.a_gossip import KEYS, AGossip, ANet, compare, new_key, next_root

PEERS = ("one", "two", "three")


def some_envelopes() -> list[Envelope]:
    """Return what is said of two nodes and the fabric while its directory key is given up."""
    second = KEYS.keys(Role.DIRECTORY)[1]
    lost = [
        KEYS.node("home-1"),  # dies with the key; its words live on by the next
        KEYS.node("home-2"),  # dies, and its words with it
        KEYS.policy(),
        KEYS.service("demo", generation=2),
    ]
    kept = [
        KEYS.node("away-1"),
        KEYS.node("away-1", generation=2, area="sea"),
        KEYS.node("away-1", generation=3, area="east"),
        KEYS.node("away-1", generation=3, area="west"),
        KEYS.node("gone-1"),
        KEYS.node("gone-1", generation=2, revoked=True),
        KEYS.service("demo"),
    ]
    words = [
        KEYS.offers("home-1", "demo"),
        KEYS.endpoint("home-1", "192.0.2.1:1", sequence=2),
        KEYS.endpoint("home-1", "192.0.2.2:2", sequence=2),
        KEYS.offers("home-2", "demo"),
        *(KEYS.offers("away-1", f"s-{each}", sequence=each) for each in range(1, 6)),
        KEYS.offers("gone-1", "demo"),
    ]
    return [
        next_root(KEYS, directory_0=KeyState.COMPROMISED),
        KEYS.signed(KEYS.node("home-1", generation=2), new_key()),
        *(KEYS.signed(each, second) for each in kept),
        *(KEYS.signed(each) for each in (*lost, *words)),
    ]


POOL = some_envelopes()


def after_hearing(envelopes: list[Envelope], *, seed: int = 1) -> AGossip:
    """Return a node that heard *envelopes*, and then had time to look at what it held back."""
    node = AGossip(*PEERS, seed=seed)
    for number, envelope in enumerate(envelopes):
        node.hear(envelope, by=PEERS[number % len(PEERS)])
    node.after(30.0, step=5.0)
    return node


def test_what_is_to_be_merged_is_worth_it() -> None:
    node = after_hearing(POOL)
    held = {each.key.kind for each in node.gossip.kept()}

    assert node.trust.root.version == 2
    assert held - {BESIDE} == {"node", "service", "endpoint", "offers"}
    assert node.held(KEYS.offers("home-1")) is not None
    assert node.held(KEYS.offers("home-2")) is None
    assert node.directory.is_disputed(KEYS.node("away-1").key)
    assert node.directory.is_disputed(KEYS.endpoint("home-1").key)


@settings(max_examples=40, deadline=None)
@given(st.permutations(POOL), st.lists(st.sampled_from(POOL), max_size=5))
def test_no_order_of_delivery_changes_what_is_held(
    order: list[Envelope], twice: list[Envelope]
) -> None:
    expected = after_hearing(POOL)

    node = after_hearing([*order, *twice])

    assert node.gossip.root() == expected.gossip.root()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(POOL), unique=True), st.lists(st.sampled_from(POOL), unique=True))
def test_two_nodes_that_heard_different_things_agree_after_they_compared(
    one_heard: list[Envelope], other_heard: list[Envelope]
) -> None:
    ends = AGossip(*PEERS, me="one"), AGossip(*PEERS, me="two")
    for node, heard in zip(ends, (one_heard, other_heard), strict=True):
        for envelope in heard:
            node.hear(envelope, by="three")
    for _ in range(8):
        compare(*ends)
        for node in ends:
            node.after(11.0, step=5.5)  # what came to no avail is asked for again

    assert ends[0].gossip.root() == ends[1].gossip.root()


# -- a few nodes together --
WORDS = 10


def a_net_in_which_all_speak(*, repairs: bool) -> ANet:
    net = ANet(12, seed=7, loss=0.3, repairs=repairs)
    for at, name in enumerate(net.names[:WORDS]):
        net.publish(at, KEYS.offers(name, "demo"))
    return net


def test_waves_that_lose_copies_do_not_reach_everybody() -> None:
    net = a_net_in_which_all_speak(repairs=False)

    net.run(10.0)

    assert len(net.roots()) > 1


def test_waves_that_lose_copies_and_anti_entropy_reach_everybody_within_seconds() -> None:
    net = a_net_in_which_all_speak(repairs=True)

    net.run(4.0)

    assert len(net.roots()) == 1
    assert len(net.sent) <= WORDS * len(net.ids) * 5


def test_a_record_costs_a_fabric_no_more_copies_than_nodes_times_the_fanout() -> None:
    net = ANet(12, seed=3)
    net.publish(0, KEYS.policy(fanout=2))

    net.run(2.0)

    assert len(net.roots()) == 1
    assert len(net.sent) <= 12 * 2


def test_a_seed_means_one_history() -> None:
    nets = [a_net_in_which_all_speak(repairs=True) for _ in range(2)]
    for net in nets:
        net.run(2.0)

    assert nets[0].sent == nets[1].sent
