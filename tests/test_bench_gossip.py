"""How a fleet is heard: by one clock, each process once; and silence makes no figure."""

import os
import time

import pytest

from tests.bench.ears import Ears
from tests.bench.gossip import percentile
from tests.bench.processes import DidNotFinish


def test_each_is_heard_once_at_its_first_line_that_matches():
    with Ears() as ears:
        pipes = {name: ears.pipe(name) for name in ("n00", "n01")}
        expected = ears.expect(b"event-7$", pipes)
        began = time.monotonic()
        os.write(pipes["n00"], b"event-70\nsomething\nev")
        os.write(pipes["n00"], b"ent-7\n")
        os.write(pipes["n01"], b"event-7\n")
        heard = expected.wait(5)
        ended = time.monotonic()
        os.write(pipes["n00"], b"event-7\n")
        for pipe in pipes.values():
            os.close(pipe)
    assert heard.keys() == pipes.keys()
    assert all(began <= at <= ended for at in heard.values())


def test_who_stays_silent_is_named_and_makes_no_figure():
    with Ears() as ears:
        pipes = {name: ears.pipe(name) for name in ("n00", "n01")}
        expected = ears.expect(b"dead", pipes)
        os.write(pipes["n00"], b"n19 is dead\n")
        for pipe in pipes.values():
            os.close(pipe)
        with pytest.raises(DidNotFinish, match=r"by n01$"):
            expected.wait(0.2)


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (0.991, 100), (1.0, 100)])
def test_a_percentile_is_a_value_that_was_measured(share, value):
    assert percentile(range(1, 101), share) == value
