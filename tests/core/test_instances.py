"""The choice among instances: least loaded, then nearest, and never one that hangs alone."""

from fabric.codes import Code
from fabric.core.identity import NodeName
from fabric.core.instances import WORTH_ANOTHER, Candidate, Loads, attempt_within, ranked

A, B, C = NodeName("a"), NodeName("b"), NodeName("c")


def test_the_least_loaded_comes_first_and_the_nearest_of_equals() -> None:
    assert ranked([Candidate(A, 2, 0.001), Candidate(B, 1, 0.2), Candidate(C, 1, 0.1)]) == [
        C,
        B,
        A,
    ]


def test_an_unmeasured_round_trip_comes_after_every_measured_one() -> None:
    assert ranked([Candidate(A, 0, None), Candidate(B, 0, 9.0)]) == [B, A]


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
