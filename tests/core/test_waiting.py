"""What waits for its signer to become known."""

from __future__ import annotations

from fabric.core.envelope import Envelope, Signature
from fabric.core.identity import NodeId
from fabric.core.records import KeyId
from fabric.core.waiting import LARGEST, MOST_OF_ONE, MOST_WAITING, Waiting

ONE, OTHER = NodeId("one"), NodeId("other")


def envelope(said: object, *signers: str) -> Envelope:
    signatures = tuple(Signature(KeyId(each), bytes(64)) for each in signers or ("signer",))
    return Envelope(str(said).encode(), signatures)


def put(waiting: Waiting[str], said: object, peer: NodeId | None = ONE, *signers: str) -> None:
    waiting.put(envelope(said, *signers), peer, str(said))


def test_it_is_given_back_once_to_whoever_knows_one_of_its_signers() -> None:
    waiting: Waiting[str] = Waiting()
    put(waiting, "a", ONE, "first", "second")
    put(waiting, "b", ONE, "third")

    assert waiting.take("nobody") == []
    assert waiting.take("second") == ["a"]
    assert waiting.take("second") == []
    assert len(waiting) == 1


def test_all_of_it_comes_in_the_order_in_which_it_went() -> None:
    waiting: Waiting[str] = Waiting()
    for each in "cab":
        put(waiting, each)

    assert waiting.take_all() == ["c", "a", "b"]
    assert len(waiting) == 0


def test_a_copy_takes_no_room_and_stays_with_whoever_sent_it_first() -> None:
    waiting: Waiting[str] = Waiting()
    put(waiting, "a", ONE)
    put(waiting, "a", OTHER)
    assert len(waiting) == 1

    waiting.drop_of(ONE)

    assert len(waiting) == 0


def test_what_no_node_says_of_itself_is_too_large() -> None:
    waiting: Waiting[str] = Waiting()
    put(waiting, "x" * LARGEST)
    put(waiting, "y" * (LARGEST + 1))

    assert waiting.take_all() == ["x" * LARGEST]


def test_one_peer_fills_a_part_only_with_the_newest_that_it_sent() -> None:
    waiting: Waiting[str] = Waiting()
    put(waiting, "mine", OTHER)
    for number in range(MOST_OF_ONE + 3):
        put(waiting, number)

    assert waiting.take_all() == ["mine", *map(str, range(3, MOST_OF_ONE + 3))]


def test_when_all_is_full_those_who_sent_most_make_room() -> None:
    waiting: Waiting[str] = Waiting()
    put(waiting, "this node's own", None)
    floods = [NodeId(f"flood-{number}") for number in range(10)]
    for number in range(MOST_OF_ONE):
        for peer in floods:
            put(waiting, f"{peer} {number}", peer)

    assert len(waiting) == MOST_WAITING
    assert waiting.take_all()[0] == "this node's own"


def test_nothing_stays_of_a_peer_that_is_not_to_be_believed() -> None:
    waiting: Waiting[str] = Waiting()
    put(waiting, "a", ONE)
    put(waiting, "b", OTHER)

    waiting.drop_of(ONE)

    assert waiting.take_all() == ["b"]
