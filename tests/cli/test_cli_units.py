"""Numbers as text."""

from __future__ import annotations

import pytest

from cli.units import age, byte_count, date, milliseconds, seconds


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, "-"),
        (0, "0 B"),
        (999, "999 B"),
        (999.7, "1.0 kB"),
        (1234, "1.2 kB"),
        (9960, "10 kB"),
        (999_600, "1.0 MB"),
        (412_345_678, "412 MB"),
        (2.5e18, "2500 PB"),
    ],
)
def test_bytes_take_three_digits(count, text):
    assert byte_count(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (-0.001, "0.0 s"),
        (0.29, "0.2 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (86399, "23 h"),
        (1e8, "1157 d"),
    ],
)
def test_ages_are_rounded_down(seconds, text):
    assert age(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (0.312, "0.31 ms"), (2.14, "2.1 ms"), (183.6, "184 ms")]
)
def test_round_trips_show_two_digits_or_whole_milliseconds(value, text):
    assert milliseconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (0.024, "24 ms"), (0.9994, "999 ms"), (1.5, "1.5 s")]
)
def test_what_may_be_short_is_told_in_milliseconds(value, text):
    assert seconds(value) == text


def test_a_date_is_told_to_the_minute_and_one_beyond_all_calendars_as_a_number():
    assert date(1_800_000_000) == "2027-01-15 08:00"
    assert date(2**53 - 1) == str(2**53 - 1)
