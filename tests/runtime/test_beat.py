"""Loops that began at any time wake together, and none of them twice in a row."""

import pytest

from fabric.runtime.beat import BEAT, next_beat


@pytest.mark.parametrize("now", [0.0, 0.1, 0.49, 0.5, 0.51, 0.999, 1.0, 86_400.3])
def test_the_next_beat_is_a_whole_one_and_not_just_now(now):
    beat = next_beat(now)
    assert beat % BEAT == 0.0
    assert BEAT / 2 <= beat - now <= BEAT * 3 / 2


def test_who_wakes_at_a_beat_wakes_again_at_the_next_even_if_it_was_late():
    assert next_beat(5.0) == next_beat(5.3) == 6.0
