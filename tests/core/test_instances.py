"""How busy instances are, and when the next of them is worth a try."""

from fabric.codes import Code
from fabric.core.identity import NodeId
from fabric.core.instances import WORTH_ANOTHER, Loads, attempt_within

A, B = NodeId("a"), NodeId("b")


def test_one_that_hangs_leaves_time_for_the_others() -> None:
    assert attempt_within(5.0, 3) == 2.5
    assert attempt_within(2.5, 2) == 1.25
    assert attempt_within(1.25, 1) == 1.25


def test_load_counts_what_others_opened_and_keeps_our_own_share_current() -> None:
    loads = Loads()
    loads.began(A, "demo")
    loads.told(A, "demo", 10)
    assert loads.of(A, "demo") == 10

    loads.began(A, "demo")
    assert loads.of(A, "demo") == 11
    loads.ended(A, "demo")
    assert loads.of(A, "demo") == 10


def test_services_and_nodes_are_counted_apart() -> None:
    loads = Loads()
    loads.began(A, "demo")

    assert (loads.of(A, "demo"), loads.of(A, "logs"), loads.of(B, "demo")) == (1, 0, 0)


def test_nothing_is_remembered_of_a_node_where_we_hold_nothing() -> None:
    loads = Loads()
    loads.began(A, "demo")
    loads.told(A, "demo", 10)
    loads.ended(A, "demo")

    assert loads == Loads()


def test_a_refusal_about_the_opener_is_not_worth_another_instance() -> None:
    about_the_opener = {
        Code.NOT_PERMITTED,
        Code.NOT_EDGE_EXPOSABLE,
        Code.CLIENT_NOT_BELIEVED,
        Code.UNEXPECTED_FRAME,
        Code.MALFORMED_FRAME,
    }

    assert not about_the_opener & WORTH_ANOTHER


def test_whatever_keeps_a_node_from_being_connected_is_about_that_node() -> None:
    about_the_connection = {
        Code.BAD_PROOF,
        Code.HANDSHAKE_TIMEOUT,
        Code.NO_HELLO,
        Code.PIN_MISMATCH,
        Code.STALE_INSTANCE,
        Code.UNKNOWN_KEY,
    }

    assert about_the_connection <= WORTH_ANOTHER
