"""The time floor and the skew: what may push a node's idea of the time, and by how much."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.codes import Code
from fabric.core.clocks import (
    HEARD_FOR,
    MOST_AHEAD,
    MOST_PEERS,
    TOLERANCE,
    WORTH_STORING,
    Alarm,
    Floor,
    Rose,
    Skew,
    Times,
)
from fabric.core.identity import NodeId
from fabric.core.records import DAY

NOW = 1_800_000_000
IN_2099 = 4_070_908_800


def codes(effects):
    return [each.code for each in effects if isinstance(each, Alarm)]


# -- the floor --
def test_the_time_is_the_later_of_clock_and_floor():
    assert Times(NOW, NOW - 5).now == NOW
    assert Times(NOW - 5, NOW).now == NOW


def test_a_signed_date_moves_a_clock_that_is_behind():
    floor = Floor.opened(NOW - 3600)

    effects = floor.raise_to(NOW, NOW - 3600)

    assert effects == [Rose(NOW)]
    assert floor.times(NOW - 3600).now == NOW


def test_the_floor_never_falls():
    floor = Floor.opened(NOW, stored=NOW)

    assert floor.raise_to(NOW - DAY, NOW) == []
    assert floor.at == NOW


def test_a_date_more_than_a_day_beyond_the_clock_alarms_and_moves_nothing():
    floor = Floor.opened(NOW)

    effects = floor.raise_to(NOW + MOST_AHEAD + 1, NOW)

    assert codes(effects) == [Code.FLOOR_TOO_FAR]
    assert floor.times(NOW).now == NOW


def test_a_date_a_day_beyond_the_clock_still_counts():
    floor = Floor.opened(NOW)

    assert floor.raise_to(NOW + MOST_AHEAD, NOW) == [Rose(NOW + MOST_AHEAD)]


def test_dates_that_lead_on_day_by_day_get_no_further_than_one():
    floor = Floor.opened(NOW)

    for days in range(1, 50):
        floor.raise_to(NOW + days * DAY, NOW)

    assert floor.at == NOW + DAY


def test_a_thief_who_dates_everything_in_2099_alarms_once():
    floor = Floor.opened(NOW)

    effects = [each for n in range(100) for each in floor.raise_to(IN_2099 + n, NOW)]

    assert codes(effects) == [Code.FLOOR_TOO_FAR]


def test_the_floor_goes_on_rising_with_the_clock():
    floor = Floor.opened(NOW)
    later = NOW + 10 * DAY

    floor.raise_to(later + MOST_AHEAD, later)

    assert floor.at == later + MOST_AHEAD


def test_a_first_boot_before_its_record_was_signed_takes_that_date_as_its_clock():
    floor = Floor.opened(0, given=(NOW - 3 * DAY, NOW))

    assert floor.times(0).now == NOW
    assert floor.raise_to(NOW + 3600, 5) == [Rose(NOW + 3600)]


def test_a_clock_that_was_lost_starts_from_the_floor_that_was_stored():
    floor = Floor.opened(0, stored=NOW)

    assert floor.times(0).now == NOW
    assert codes(floor.raise_to(NOW + MOST_AHEAD + 1, 0)) == [Code.FLOOR_TOO_FAR]


def test_a_clock_behind_the_floor_is_told_and_a_small_difference_is_not():
    floor = Floor.opened(NOW, stored=NOW + TOLERANCE)

    assert floor.complaint(NOW) is None
    assert floor.complaint(NOW - 1) is Code.CLOCK_BEHIND
    assert floor.complaint(NOW + DAY) is None


def test_the_floor_is_not_stored_again_for_every_record_of_a_fleet():
    floor = Floor.opened(NOW, stored=NOW)

    effects = [each for n in range(WORTH_STORING + 9) for each in floor.raise_to(NOW + n, NOW)]

    assert effects == [Rose(NOW + WORTH_STORING)]
    assert floor.at == NOW + WORTH_STORING + 8


@given(st.lists(st.integers(0, 2**53), max_size=30), st.integers(0, 2**33))
def test_no_dates_in_any_order_push_the_time_more_than_a_day(dates, local):
    floor = Floor.opened(local)

    for each in dates:
        floor.raise_to(each, local)

    assert local <= floor.times(local).now <= local + MOST_AHEAD


# -- the skew --
def skew_of(*offsets, areas=("home", "away"), now=0.0):
    skew = Skew()
    for n, offset in enumerate(offsets):
        skew.heard(NodeId(f"peer-{n}"), areas[n % len(areas)], offset=offset, now=now)
    return skew


def test_the_skew_is_the_median_of_what_peers_clocks_show():
    assert skew_of(-1.0, 300.0, 2.0).estimate(0.0) == 2.0


@pytest.mark.parametrize(
    ("offsets", "areas"),
    [
        pytest.param((), ("home",), id="nobody"),
        pytest.param((3600.0, 3600.0), ("home", "away"), id="two peers"),
        pytest.param((3600.0,) * 9, ("home",), id="one area"),
    ],
)
def test_without_three_peers_in_two_areas_there_is_no_skew(offsets, areas):
    skew = skew_of(*offsets, areas=areas)

    assert skew.estimate(0.0) is None
    assert skew.complaint(0.0) is None


def test_a_peer_that_is_heard_often_counts_once():
    skew = Skew()
    for area in ("home", "away") * 5:
        skew.heard(NodeId("peer"), area, offset=3600.0, now=0.0)

    assert skew.estimate(0.0) is None


def test_a_minority_of_wrong_clocks_is_no_complaint_about_ours():
    assert skew_of(0.5, IN_2099, -0.5, IN_2099, 0.1).complaint(0.0) is None


def test_enough_peers_that_agree_against_our_clock_are_a_complaint():
    assert skew_of(3600.0, 3601.0, 3599.0).complaint(0.0) is Code.CLOCK_SKEWED
    assert skew_of(-3600.0, -3601.0, -3599.0).complaint(0.0) is Code.CLOCK_SKEWED


def test_peers_that_were_not_heard_lately_do_not_count():
    skew = skew_of(3600.0, 3600.0, 3600.0)

    assert skew.estimate(HEARD_FOR) == 3600.0
    assert skew.estimate(HEARD_FOR + 1) is None


def test_the_skew_remembers_only_so_many_peers_and_those_heard_last():
    skew = skew_of(*([0.0] * MOST_PEERS), now=0.0)
    for n in range(MOST_PEERS):
        skew.heard(NodeId(f"later-{n}"), ("home", "away")[n % 2], offset=9.0, now=1.0)

    assert skew.estimate(1.0) == 9.0
