"""The one door to logs, events and the admin socket: plain JSON and nothing else."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.codes import Code
from fabric.runtime.plain import plain, to_json

leaf = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
anything = st.recursive(
    leaf | st.binary() | st.builds(object),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=6,
)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(max_size=5), anything, max_size=5))
def test_any_value_becomes_one_line_of_json(fields):
    line = to_json(fields)
    assert line.isascii()
    assert "\n" not in line
    assert set(json.loads(line)) == set(fields)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Code.PEER_SILENT, "peer_silent"),
        (Path("/var/lib/fabric"), "/var/lib/fabric"),
        (ValueError("no such peer"), "ValueError: no such peer"),
        ({"b", "a"}, ["a", "b"]),
        ((1, None, True), [1, None, True]),
        (b"secret", "<6 bytes>"),
        ({Code.IDLE: 1}, {"idle": 1}),
    ],
)
def test_each_kind_of_value_has_one_reading(value, shown):
    assert plain(value) == shown


def test_a_cycle_ends():
    ring: list[object] = []
    ring.append(ring)
    assert "<deeper>" in to_json({"ring": ring})


def test_half_a_surrogate_pair_cannot_break_the_line():
    to_json({"client": "\udc80"}).encode()
