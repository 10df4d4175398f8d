"""How long a suspect has: by fleet, accusers and areas."""

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.core.fleet import Fleet
from fabric.core.frames import MOST_ACCUSERS
from fabric.core.identity import NodeId
from fabric.core.suspicion import (
    MOST_CREDIT,
    Suspicion,
    is_corroborated,
    least_silence,
    needed_silence,
)

X = NodeId("x")


def a_fleet(**areas: str) -> Fleet:
    fleet = Fleet()
    for node, area in areas.items():
        fleet.admit(NodeId(node), area)
    return fleet


FLEET = a_fleet(x="home", a="north", b="south", c="west", y="home", z="north")


def accused(*accusers: str, at: float = 100.0, silent: float = 2.0) -> Suspicion:
    suspicion = Suspicion(X, since=at)
    for each in accusers:
        suspicion.add(NodeId(each), bytes(64), silent, at)
    return suspicion


@pytest.mark.parametrize(
    ("members", "least", "most"),
    [(3, 7.0, 21.0), (8, 6.6, 19.9), (20, 6.1, 18.4), (100, 7.0, 21.0), (1000, 8.2, 24.7)],
)
def test_the_table_of_the_module_holds(members: int, least: float, most: float) -> None:
    assert needed_silence(members, 3, corroborated=True) == pytest.approx(least, abs=0.06)
    assert needed_silence(members, 1, corroborated=False) == pytest.approx(most, abs=0.06)


@given(st.integers(2, 5_000))
def test_each_further_accuser_shortens_the_wait_until_three_agree(members: int) -> None:
    waits = [needed_silence(members, count, corroborated=True) for count in range(1, 9)]

    assert waits == pytest.approx(sorted(waits, reverse=True))
    assert waits[2:] == pytest.approx([least_silence(members)] * 6)
    assert max(waits) <= needed_silence(members, 8, corroborated=False)


@given(st.integers(2, 10_000))
def test_a_process_that_stops_for_five_seconds_has_time_to_speak(members: int) -> None:
    assert least_silence(members) > 6.0
    assert least_silence(members) - MOST_CREDIT > 2.5, "no claim alone makes a death at once"


def test_in_a_larger_fleet_a_refutation_has_longer_to_reach_everybody() -> None:
    assert least_silence(100) < least_silence(1_000) < least_silence(10_000)


@pytest.mark.parametrize(
    ("accusers", "is_enough"),
    [("", False), ("a", False), ("az", False), ("ab", True), ("ay", True), ("abc", True)],
)
def test_two_accusers_in_two_areas_are_enough(accusers: str, *, is_enough: bool) -> None:
    assert is_corroborated(X, map(NodeId, accusers), FLEET) is is_enough


def test_strangers_count_for_nothing() -> None:
    assert not is_corroborated(X, map(NodeId, "aqrs"), FLEET)


def test_where_all_others_share_one_area_two_of_it_are_enough() -> None:
    fleet = a_fleet(x="far", a="north", b="north", c="north")

    assert not is_corroborated(X, [NodeId("a")], fleet)
    assert is_corroborated(X, map(NodeId, "ab"), fleet)


def test_in_a_fleet_of_two_the_other_one_is_enough() -> None:
    assert is_corroborated(X, [NodeId("a")], a_fleet(x="home", a="north"))


def test_the_shortest_silence_among_the_accusers_counts() -> None:
    suspicion = accused("a", "b")
    suspicion.add(NodeId("c"), bytes(64), 0.5, 100.0)

    assert suspicion.expires(FLEET) == pytest.approx(99.5 + least_silence(len(FLEET)))


def test_of_a_claimed_silence_little_is_counted() -> None:
    suspicion = accused("a", "b", "c", silent=1e6)

    assert suspicion.expires(FLEET) == pytest.approx(100 - MOST_CREDIT + least_silence(len(FLEET)))


def test_alone_an_accusers_claim_of_silence_counts_for_nothing() -> None:
    suspicion = accused("a", silent=1e6)

    assert suspicion.expires(FLEET) == pytest.approx(100 + 3 * least_silence(len(FLEET)))


def test_who_hears_the_subject_itself_begins_the_silence_anew() -> None:
    suspicion = accused("a", "b", "c")
    suspicion.heard(103.0)
    suspicion.heard(90.0)

    assert suspicion.expires(FLEET) == pytest.approx(103 + least_silence(len(FLEET)))


def test_beyond_four_an_accuser_adds_another_area_or_a_later_sound() -> None:
    fleet = a_fleet(x="home", **{f"n{n}": "north" for n in range(20)}, b="south")
    suspicion = accused("n0", "n1", "n2", "n3")

    assert not suspicion.takes(NodeId("n4"), 2.0, 100.0, fleet)
    assert not suspicion.takes(NodeId("n0"), 0.0, 100.0, fleet), "nobody counts twice"
    assert suspicion.takes(NodeId("b"), 2.0, 100.0, fleet)
    assert suspicion.takes(NodeId("n4"), 1.0, 100.0, fleet)


def test_eight_accusers_are_held_at_most() -> None:
    fleet = a_fleet(x="home", **{f"n{n}": f"area{n}" for n in range(20)})
    suspicion = Suspicion(X, since=100.0)
    for number in itertools.takewhile(
        lambda n: suspicion.takes(NodeId(f"n{n}"), 2.0, 100.0, fleet), range(20)
    ):
        suspicion.add(NodeId(f"n{number}"), bytes(64), 2.0, 100.0)

    assert len(suspicion.accusations) == MOST_ACCUSERS


def test_when_it_expires_is_worked_out_once_for_each_change_of_what_it_follows_from() -> None:
    asked: list[NodeId] = []

    class Asked(Fleet):
        def areas_beside(self, node: NodeId) -> int:
            asked.append(node)
            return super().areas_beside(node)

    fleet, suspicion = Asked(), accused("a", "b")
    for node, area in (("x", "home"), ("a", "north"), ("b", "south"), ("c", "west")):
        fleet.admit(NodeId(node), area)
    changes: tuple[Callable[[], None], ...] = (
        lambda: suspicion.add(NodeId("c"), bytes(64), 2.0, 100.0),
        lambda: suspicion.heard(103.0),
        lambda: suspicion.forget(NodeId("c")),
        lambda: fleet.admit(NodeId("y"), "home"),
        lambda: fleet.strike(NodeId("y")),
        lambda: suspicion.spare(200.0),
    )
    found = {suspicion.expires(fleet)}
    for number, change in enumerate(changes, 1):
        change()
        found.add(suspicion.expires(fleet))
        assert suspicion.expires(fleet) in found
        assert len(asked) == 1 + number
    assert len(found) == len(changes)  # strike undoes what admit did
